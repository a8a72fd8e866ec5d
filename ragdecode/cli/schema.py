"""``ragdecode schema``: the JSON Schema of the YAML language."""

from __future__ import annotations

from pathlib import Path

import click

from ragdecode.spec.reference import FOLDERS


@click.command("schema")
@click.argument("kind", type=click.Choice(list(FOLDERS)), default="pipelines")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
def command(kind: str, out: Path | None) -> None:
    """Print the JSON Schema of a KIND of file, for completion in editors; pipelines by default.

    Name it in a file's first line for editors that run the YAML language server:
    "# yaml-language-server: $schema=FILE".
    """
    import json

    from ragdecode.spec.json_schema import json_schema

    text = json.dumps(json_schema(kind), indent=2, ensure_ascii=False)
    if out is None:
        click.echo(text)
        return
    from ragdecode.cli.whole_file import write_whole

    write_whole(out, text + "\n")
