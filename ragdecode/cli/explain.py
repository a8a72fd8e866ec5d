"""``ragdecode explain``: the resolved pipeline, its views, and what a step costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ragdecode.cli.set_option import set_option


@click.command("explain")
@click.argument("pipeline")
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(pipeline: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print PIPELINE (a file or a name) with every name and default filled in.

    The output is YAML that loads to the same pipeline; comments above it say where each name came from, which
    views the model is shown, and what a step costs at most.
    """
    from ragdecode.spec.explanation import explanation
    from ragdecode.spec.load import load_pipeline

    loaded = load_pipeline(pipeline, overrides)
    facts = explanation(loaded)
    if as_json:
        import json

        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    from ragdecode.spec.dump import to_yaml

    for line in _comments(facts):
        click.echo(f"# {line}".rstrip())
    click.echo(to_yaml(loaded.spec), nl=False)


def _comments(facts: dict[str, Any]) -> list[str]:
    step = facts["step"]
    views = [
        (
            view["name"],
            view["prompt"],
            view["passages"],
            ", ".join(text for text in (view["model"], view["inside"]) if text),
            " + ".join(view["used_by"]),
        )
        for view in facts["views"]
    ]
    names = [(item["path"], item["name"], f"{item['file']} ({item['from']})") for item in facts["names"]]
    cost = (
        f"at most {_count(step['passes'], 'forward pass', 'es')} of {_count(step['rows'], 'row')}, "
        f"{_count(step['nodes'], 'tree node')} each: {_count(step['tokens'], 'new token')}"
    )
    lines = [f"{facts['pipeline']}: {facts['headline']}", f"file: {facts['file']}", ""]
    if names:
        lines += ["names", *_table(("path", "name", "file"), names), ""]
    lines += ["views", *_table(("view", "prompt", "passages", "model", "used by"), views), ""]
    lines += ["cost", f"  step     {cost}"]
    if step["automatic"]:
        lines.append(f"  auto     draft: auto stands for {', '.join(step['automatic'])}")
    if step["governor"] != "off":
        lines.append(
            f"  govern   {step['governor']}: trees of 1 to {step['nodes']} nodes, as they pay by step costs that are "
            "measured once on this machine"
        )
    for name in step["switching"]:
        lines.append(f"  switch   {name} runs one of its views a step; one that takes over reads what it missed first")
    if step["expanding"]:
        lines.append(
            f"  expand   a pass of these is for the candidates that {' and '.join(step['expanding'])} asks to see"
        )
    if step["looks"]:
        at = f" at {', '.join(step['draft_views'])}" if step["draft_views"] else ""
        lines.append(f"  draft    at most {_count(step['looks'], 'further pass', 'es')} for the drafters' looks{at}")
    elif step["draft_views"]:
        lines.append(f"  draft    further passes for the drafter's looks at {', '.join(step['draft_views'])}")
    if asking := [stage["stage"] for stage in facts["retrieve"] if stage["uses_model"]]:
        lines.append(f"  search   passes of the pipeline's own model for {' and '.join(asking)}, before the first step")
    lines.append(f"  prefill  all views' prompts together, at most {step['prefill_tokens']} tokens a pass")
    return [*lines, ""]


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
