"""``ragdecode init``: make a new app in a folder."""

from __future__ import annotations

from pathlib import Path

import click

_TEMPLATE = Path(__file__).resolve().parent / "new_app"


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--add", is_flag=True, help="Add the missing files to a folder that is not empty; overwrites nothing.")
def command(folder: Path, add: bool) -> None:
    """Make a new app in FOLDER: four folders of YAML, a few documents, and a README that says what to type."""
    from ragdecode.errors import InputError

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", hint="name a new folder")
    try:
        if not add and folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty", hint="name a new folder, or add what is missing with --add")
        for source in sorted(_TEMPLATE.rglob("*")):
            if source.is_file() and source.suffix in (".yaml", ".md"):
                _copy(source, folder / source.relative_to(_TEMPLATE))
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}", hint="name another folder") from error
    click.echo(f'\nnext:\n  cd {folder}\n  ragdecode ask app "What is this app?"')


def _copy(source: Path, target: Path) -> None:
    """Write a file unless there is one."""
    from ragdecode.cli.whole_file import write_whole

    target.parent.mkdir(parents=True, exist_ok=True)
    done = write_whole(target, source.read_text(encoding="utf-8"), replace=False)
    click.echo(f"{'wrote' if done else 'kept '}  {target}")
