"""``ragdecode monitor``: train what tells faithful sentences, and see how well it does."""

from __future__ import annotations

import click

from ragdecode.cli.monitor_eval import evaluate
from ragdecode.cli.monitor_train import train


@click.group()
def command() -> None:
    """Train what tells faithful sentences on labelled answers, and see how well it does.

    DATA is a JSONL file whose lines have a source, a response and labels, a folder with such a file data.jsonl, or a
    folder with RAGTruth's response.jsonl and source_info.jsonl.
    """


for _one in (train, evaluate):
    command.add_command(_one)
