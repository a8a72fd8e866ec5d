"""``ragdecode index``: build, look into, search and verify indexes."""

from __future__ import annotations

import click

from ragdecode.cli.index_build import build
from ragdecode.cli.index_info import info, verify
from ragdecode.cli.index_search import search


@click.group()
def command() -> None:
    """Build, look into, search and verify indexes.

    TARGET is a pipeline or an index: a YAML file or a name. All but build also take the folder of an index.
    """


for _one in (build, info, search, verify):
    command.add_command(_one)
