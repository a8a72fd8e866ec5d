"""``ragdecode verify``: show that drafts change nothing but speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdecode.cli.open_pipeline import fetch_option, open_pipeline, pipeline_argument
from ragdecode.cli.set_option import set_option
from ragdecode.errors import RunError

if TYPE_CHECKING:
    from ragdecode.evaluation.verification import Checked, Summary
    from ragdecode.pipeline.pipeline import Pipeline


@click.command()
@pipeline_argument
@click.option(
    "--prompts",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Request lines, as for decode.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Longest answer; the pipeline's own if left out.")
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first prompts.")
@click.option(
    "--batch",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Decode N prompts together with drafts too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@set_option
@fetch_option
def command(
    pipeline: str,
    file: Path,
    max_new_tokens: int | None,
    limit: int | None,
    batch: int,
    as_json: bool,
    overrides: tuple[str, ...],
    fetch: bool,
) -> None:
    """Decode every prompt with and without drafts and compare token by token.

    Reports the first divergence of each answer and how far apart the undrafted run scored the two tokens there. Scores
    within rounding of each other are a tie. Exit status 1 if an answer differs by more.
    """
    from ragdecode.evaluation.verification import Summary, Verification
    from ragdecode.pipeline.request_lines import read_requests

    if max_new_tokens is not None:
        overrides = (*overrides, f"decode.max_new_tokens={max_new_tokens}")
    with open_pipeline(pipeline, overrides, fetch=fetch) as (opened, progress):
        requests = read_requests(file, opened.needs, opened.optional)[:limit]
        summary, rows = Summary(), []
        for checked in Verification(opened, requests, together=batch, progress=progress).run():
            summary.add(checked)
            rows.append(_row(checked, opened))
            if not as_json and checked.divergence is not None:
                progress.close()
                click.echo(_line(rows[-1]))
        progress.close()
        notes = _notes(opened, summary)
        found = _about(opened, len(requests), batch) | summary.to_json() | {"notes": notes, "answers": rows}
    if as_json:
        import json

        click.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        _show(found)
    if different := summary.agreement.different:
        raise RunError(
            f"{different} of {len(rows)} answers differ with drafts, and not by a tie",
            hint="drafts must change speed only: please report this with the pipeline and the prompts",
        )


def _about(pipeline: Pipeline, prompts: int, batch: int) -> dict[str, Any]:
    decode = pipeline.loaded.spec.decode
    return {
        "pipeline": pipeline.name,
        "headline": pipeline.headline,
        "prompts": prompts,
        "batch": batch,
        "max_new_tokens": decode.max_new_tokens,
        "temperature": decode.sampling.temperature,
        "dtype": str(pipeline.model.dtype).removeprefix("torch."),
    }


def _notes(pipeline: Pipeline, summary: Summary) -> list[str]:
    notes = []
    if not pipeline.loaded.spec.decode.draft:
        notes.append("the pipeline has no drafters: both runs are the same")
    elif pipeline.loaded.spec.decode.max_draft_nodes < 2:
        notes.append("max_draft_nodes: 1 leaves no room for drafts: both runs are the same")
    elif not summary.proposed:
        notes.append(
            "nothing was drafted on these prompts, so this run shows nothing about the drafters; a governor that finds "
            "drafts too dear is kept out with --set decode.governor=off"
        )
    if pipeline.model.dtype.itemsize < 4:
        notes.append("equal tokens are promised for float32 and wider: passes of other shapes round differently here")
    return notes


def _row(checked: Checked, pipeline: Pipeline) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": checked.id,
        "together": checked.together,
        "verdict": checked.verdict,
        "tokens": checked.tokens,
        "proposed": checked.proposed,
        "accepted": checked.accepted,
        "logprob_drift": checked.drift,
        "divergence": None,
    }
    if (found := checked.divergence) is not None:

        def token(id_: int | None) -> dict[str, Any] | None:
            return None if id_ is None else {"id": id_, "text": pipeline.tokenizer.token_text(id_)}

        row["divergence"] = {
            "position": found.position,
            "drafted": token(found.mine),
            "undrafted": token(found.theirs),
            "gap": found.gap,
        }
    return row


def _line(row: dict[str, Any]) -> str:
    found = row["divergence"]
    drafted, undrafted = (_token(found[key]) for key in ("drafted", "undrafted"))
    gap = "not known" if found["gap"] is None else f"{found['gap']:.3g}"
    place = f" in a batch of {row['together']}" if row["together"] > 1 else ""
    return (
        f"{row['verdict']}: {row['id']}{place}: token {found['position']} is {drafted} with drafts and {undrafted} "
        f"without; gap {gap}"
    )


def _token(token: dict[str, Any] | None) -> str:
    return "the end" if token is None else repr(token["text"])


def _show(found: dict[str, Any]) -> None:
    share = f" ({found['accepted'] / found['proposed']:.0%})" if found["proposed"] else ""
    click.echo(f"{found['headline']}   {found['prompts']} prompts, at most {found['max_new_tokens']} tokens each")
    click.echo(
        f"{found['same']} same, {found['ties']} ties, {found['different']} different; "
        f"{found['proposed']:,} tokens drafted, {found['accepted']:,} accepted{share}; "
        f"log-probabilities within {found['logprob_drift']:.2g}"
    )
    for note in found["notes"]:
        click.echo(f"note: {note}")
