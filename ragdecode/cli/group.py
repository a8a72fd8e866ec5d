"""The commands by name; each is imported when it is called."""

from __future__ import annotations

import importlib

import click

from ragdecode import __version__

#: command -> (module that holds the click command ``command``, help line); modules load only when used
COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("ragdecode.cli.ask", "Answer one question."),
    "chat": ("ragdecode.cli.chat", "Ask again and again, with history."),
    "serve": ("ragdecode.cli.serve", "Answer over HTTP, with a page."),
    "init": ("ragdecode.cli.init", "Make a new app in a folder."),
    "check": ("ragdecode.cli.check", "Validate a YAML file."),
    "explain": ("ragdecode.cli.explain", "Print the resolved pipeline and what a step costs."),
    "schema": ("ragdecode.cli.schema", "Print the JSON Schema of the YAML language."),
    "list": ("ragdecode.cli.list", "List pipelines, models, parts, ..."),
    "index": ("ragdecode.cli.index", "Build, look into, search and verify indexes."),
    "models": ("ragdecode.cli.models", "List, fetch and remove model weights."),
    "heads": ("ragdecode.cli.heads", "Find the attention heads of a model that copy."),
    "detector": ("ragdecode.cli.detector", "Train a detector of used context on a model's attention."),
    "memory": ("ragdecode.cli.memory", "Tune memories of a language model, make grounding spaces."),
    "monitor": ("ragdecode.cli.monitor", "Train what tells faithful sentences, and see how well it does."),
    "diagnose": ("ragdecode.cli.diagnose", "See whether a method does on your text what it promises."),
    "eval": ("ragdecode.cli.eval", "Hold evaluation runs against each other."),
    "decode": ("ragdecode.cli.decode", "Decode a file of requests, without retrieval."),
    "verify": ("ragdecode.cli.verify", "Show that drafts change nothing but speed."),
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
