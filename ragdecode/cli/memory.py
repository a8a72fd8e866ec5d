"""``ragdecode memory``: what rules with a memory are tuned with and read."""

from __future__ import annotations

import click

from ragdecode.cli.memory_ground import ground


@click.group()
def command() -> None:
    """Tune memories of a language model, and make grounding spaces."""


for _one in (ground,):
    command.add_command(_one)
