"""The option ``--set``, the same for every command that loads YAML."""

from __future__ import annotations

import click

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a value, such as decode.rule.cad.alpha=0.3; again for more.",
)
