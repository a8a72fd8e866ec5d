"""``ragdecode diagnose``: whether a method does what it promises on your own text."""

from __future__ import annotations

import click

from ragdecode.cli.diagnose_knn import knn


@click.group()
def command() -> None:
    """See whether a method does on your text what it promises."""


command.add_command(knn)
