"""``ragdecode eval``: evaluation runs."""

from __future__ import annotations

import click

from ragdecode.cli.eval_compare import compare


@click.group()
def command() -> None:
    """Hold evaluation runs against each other."""


command.add_command(compare)
