"""``ragdecode check``: validate a YAML file."""

from __future__ import annotations

import sys

import click

from ragdecode.cli.set_option import set_option
from ragdecode.spec.reference import FOLDERS


@click.command("check")
@click.argument("file")
@set_option
@click.option("--kind", type=click.Choice(list(FOLDERS)), help="What the file is; found out if left out.")
def command(file: str, overrides: tuple[str, ...], kind: str | None) -> None:
    """Validate FILE (or a name of the app or the catalogue) and say everything that is wrong with it.

    No model is loaded. Exit status 0 if it is fine, 2 if not.
    """
    from ragdecode.errors import SpecError
    from ragdecode.spec.headline import chain_headline, headline
    from ragdecode.spec.kind_of import kind_of
    from ragdecode.spec.load import load_document

    kind = kind or kind_of(file)
    try:
        document = load_document(kind, file, overrides)
    except SpecError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems)
        click.echo(f"{count} problem{'' if count == 1 else 's'}", err=True)
        sys.exit(error.exit_code)
    line = kind
    if kind == "pipelines":
        line = headline(document.spec)
    elif kind == "retrievers":
        line = chain_headline(document.spec)
    click.echo(f"ok  {document.name}: {line}")
