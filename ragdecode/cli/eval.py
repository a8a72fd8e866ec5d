"""``ragdecode eval``: evaluation runs."""

from __future__ import annotations

import click

from ragdecode.cli.eval_compare import compare
from ragdecode.cli.eval_report import report


@click.group()
def command() -> None:
    """Hold evaluation runs against each other."""


command.add_command(compare)
command.add_command(report)
