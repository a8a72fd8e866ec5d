"""``ragdecode memory``: what rules with a memory are tuned with and read."""

from __future__ import annotations

import click

from ragdecode.cli.memory_ground import ground
from ragdecode.cli.memory_tune import tune


@click.group()
def command() -> None:
    """Tune memories of a language model, and make grounding spaces."""


for _one in (ground, tune):
    command.add_command(_one)
