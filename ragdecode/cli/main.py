"""Entry point: finds the command, turns errors into one clear message and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress

import click

from ragdecode import __version__
from ragdecode.errors import RagDecodeError

#: command -> (module that holds the click command ``command``, help line); modules load only when used
COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("ragdecode.cli.ask", "Answer one question."),
    "chat": ("ragdecode.cli.chat", "Ask again and again, with history."),
    "init": ("ragdecode.cli.init", "Make a new app in a folder."),
    "check": ("ragdecode.cli.check", "Validate a YAML file."),
    "explain": ("ragdecode.cli.explain", "Print the resolved pipeline and what a step costs."),
    "schema": ("ragdecode.cli.schema", "Print the JSON Schema of the YAML language."),
    "list": ("ragdecode.cli.list", "List pipelines, models, parts, ..."),
    "index": ("ragdecode.cli.index", "Build, look into and verify indexes."),
    "models": ("ragdecode.cli.models", "List, fetch and remove model weights."),
    "decode": ("ragdecode.cli.decode", "Decode a file of requests, without retrieval."),
    "bench": ("ragdecode.cli.bench", "Measure a pipeline against others."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ragdecode")
def cli() -> None:
    """Retrieval-augmented generation in which decoding is a stage of the pipeline."""


def main() -> None:
    """Run the command line; exit 0 fine, 1 the run failed, 2 the input was wrong, 130 interrupted."""
    try:
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except RagDecodeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        _silence_stdout()
        if not isinstance(error, BrokenPipeError):  # the reader has left: nothing to tell
            click.echo(f"error: {error.strerror or error}", err=True)
        sys.exit(1)


def _silence_stdout() -> None:
    """Keep the interpreter from writing the rest of stdout at its exit, and failing again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
