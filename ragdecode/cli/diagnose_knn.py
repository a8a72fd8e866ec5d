"""``ragdecode diagnose knn``: do the votes of a memory help, where, and how much?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdecode.cli.index_target import json_option, set_option
from ragdecode.cli.open_pipeline import fetch_option

if TYPE_CHECKING:
    from ragdecode.evaluation.knn.diagnosis import Case
    from ragdecode.models.progress import Progress
    from ragdecode.spec.load import LoadedDocument

_SIGNS = {"confirmed": "confirmed", "not": "not confirmed", "undecided": "undecided"}


@click.command("knn", short_help="Tell whether the votes of a memory help.")
@click.argument("file", metavar="FILE.yaml")
@set_option
@json_option
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as a page.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where intermediate results are kept, so that an interrupted run goes on; the user's cache if left out.",
)
@fetch_option
def knn(
    file: str, overrides: tuple[str, ...], as_json: bool, html: Path | None, cache: Path | None, fetch: bool
) -> None:
    """Read the held-out text that FILE.yaml names, with kNN-LM's memory and without, and tell who wins by the votes.

    The ledger tells which tokens win and lose; continuations of held-out prompts are written both ways, and what
    becomes of entropies, repetition and likeness to gold text is told. Findings of the literature are checked one by
    one. A run that was interrupted goes on where it was.
    """
    from ragdecode.cli.open_model import check_target
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.cli.whole_file import write_whole
    from ragdecode.spec.load import load_document

    check_target(html)
    document = load_document("diagnoses", file, overrides)
    progress = StageProgress("diagnose knn")
    try:
        from ragdecode.evaluation.knn.diagnosis import diagnose
        from ragdecode.pipeline.memory import memory_errors

        with memory_errors("diagnose knn"):
            result = diagnose(_case(document, cache, progress, fetch=fetch))
    finally:
        progress.close()
    if html is not None:
        from ragdecode.evaluation.report.knn import page

        write_whole(html, page(result))
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(result)))
    if html is not None:
        click.echo(f"written: {html}", err=True)


def _case(document: LoadedDocument, cache: Path | None, progress: Progress, *, fetch: bool) -> Case:
    """Everything that the diagnosis needs, opened.

    Raises:
        InputError: The index is not built or has no memory, the text is empty, or the rule does not fit the memory.
    """
    from ragdecode.cli.held_out import held_out
    from ragdecode.cli.open_memory import open_memory
    from ragdecode.decoding.request import TARGET
    from ragdecode.errors import InputError
    from ragdecode.evaluation.knn.diagnosis import Case
    from ragdecode.models.catalogue import find_model
    from ragdecode.models.encoder import load_encoder
    from ragdecode.models.store import cache_folder

    spec = document.spec
    try:
        texts = held_out(Path(spec.text))
    except InputError as error:
        raise document.located(("text",), error) from error
    opened = open_memory(spec.index, progress, fetch=fetch, located=lambda error: document.located(("index",), error))
    model, backend, memory = opened.model, opened.backend, opened.memory
    rule: Any = spec.rule.build()
    try:
        rule.meet({TARGET: backend})
        rule.equip({"memory": memory})
    except InputError as error:
        raise document.located(("rule",), error) from error
    try:
        memory.of_sources(spec.leave_out)
    except InputError as error:
        raise document.located(("leave_out",), error) from error
    encoder = None
    if spec.generate is not None:
        encoder = load_encoder(spec.encoder or find_model("minilm"), fetch=fetch, progress=progress)
    ids = [(name, model.tokenizer.encode(text, special=False)) for name, text in texts]
    needed = int(memory.facts["context"]) + 1
    if not any(len(own_ids) >= needed for _, own_ids in ids):
        raise document.located(("text",), InputError(f"no text has {needed} tokens, as the memory's keys need"))
    folder = cache or cache_folder() / "diagnoses"
    return Case(spec, model, backend, memory, opened.content, rule, ids, encoder, folder, progress=progress)


def _lines(result: Mapping[str, Any]) -> list[str]:
    """The diagnosis for people."""
    perplexity, ledger, settings = result["perplexity"], result["ledger"], result["settings"]
    top = ledger["top"][-1]
    lines = [
        f"{result['text']['tokens']:,} tokens, {result['index']['entries']:,} entries, k {settings['k']}, "
        f"temperature {settings['temperature']:.3g}, mean weight {settings['mean_weight']:.3g}",
        f"perplexity  model {perplexity['lm']:.2f}  kNN-LM {perplexity['knn_lm']:.2f}  "
        f"best of both for each token {perplexity['oracle']:.2f}",
        f"tokens that win {_shown(ledger['helped'], percent=True)}, that lose {_shown(ledger['hurt'], percent=True)}",
    ]
    if top["of_gain"] is not None:
        lines.append(f"the {top['share']:.0%} of tokens that win most make {top['of_gain']:.0%} of the gain")
    quality = result["quality"]
    if quality is not None:
        for name, title in (("gold", "gold text"), ("lm", "model"), ("knn_lm", "kNN-LM")):
            score = quality[name].get("mauve")
            likeness = "" if score is None else f", MAUVE-with-{quality['mauve']['encoder']} {score:.3f}"
            lines.append(
                f"{title}: rep-4 {quality[name]['rep'][3]:.3f}, diversity {quality[name]['diversity']:.3f}{likeness}"
            )
    lines.append("")
    lines += _findings(result["findings"])
    return [*lines, *(f"note: {note}" for note in result["notes"])]


def _findings(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{_SIGNS[one['verdict']]:>13}  {one['claim']} ({one['measured']}: {_shown(one['interval'])}) [{one['source']}]"
        for one in found
    ]


def _shown(interval: Mapping[str, float | None], *, percent: bool = False) -> str:
    write = "{:.1%}" if percent else "{:.4f}"
    estimate, low, high = interval["estimate"], interval["low"], interval["high"]
    if estimate is None:
        return "-"
    if low is None or high is None:
        return write.format(estimate)
    return f"{write.format(estimate)} [{write.format(low)}, {write.format(high)}]"
