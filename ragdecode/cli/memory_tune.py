"""``ragdecode memory tune``: choose how much the votes of a memory count, on held-out text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ragdecode.cli.index_target import json_option
from ragdecode.cli.open_pipeline import fetch_option

if TYPE_CHECKING:
    from ragdecode.cli.open_memory import OpenedMemory
    from ragdecode.evaluation.knn.fitting import Fitted
    from ragdecode.models.progress import Progress
    from ragdecode.spec.tuning import TuningSpec

_NAMES = {"fixed": "fixed weight", "distance": "weight by distance", "gate": "learned gate"}


@click.command("tune")
@click.argument("target", metavar="FILE.yaml")
@click.option(
    "--text",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Text like the one that will be written, and not in the corpus: a file, or a folder of .txt and .md files.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.yaml", help="Where the tuning goes."
)
@click.option("--k", type=click.IntRange(1, 65536), default=1024, show_default=True, help="Neighbours that vote.")
@click.option(
    "--tokens", type=click.IntRange(min=320), default=20_000, show_default=True, help="Tokens of text that are read."
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="FILE",
    help="A file of the corpus whose tokens do not vote, such as one that holds the text. Can be given again.",
)
@click.option("--gate/--no-gate", default=True, help="Whether the gate is learnt too, for by: gate.  [default: gate]")
@click.option(
    "--spare",
    type=click.FloatRange(0.0, 1.0, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the tokens that the gate leaves to the model without a search; 0.5 in the paper.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the gate.")
@json_option
@fetch_option
def tune(
    target: str,
    text: Path,
    out: Path,
    k: int,
    tokens: int,
    leave_out: tuple[str, ...],
    gate: bool,
    spare: float,
    seed: int,
    as_json: bool,
    fetch: bool,
) -> None:
    """Choose temperature and weights of kNN-LM for the memory of FILE.yaml, an index or pipeline, on held-out text.

    The file that is written is named by rule knn_lm as its tuning. A fifth of the text has no part in the choice; what
    is told of perplexity is measured there. A learned gate goes to a .safetensors file beside.
    """
    from ragdecode.cli.open_memory import open_memory
    from ragdecode.cli.open_model import check_target
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.cli.whole_file import write_whole
    from ragdecode.errors import InputError

    check_target(out)
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out is {out}; a tuning is a YAML file", hint=f"--out {out.with_suffix('.yaml')}")
    progress = StageProgress("memory tune")
    try:
        from ragdecode.pipeline.memory import memory_errors

        with memory_errors("memory tune"):
            opened = open_memory(target, progress, fetch=fetch)
            found = _fitted(opened, text, k, tokens, leave_out, (spare, seed) if gate else None, progress)
    finally:
        progress.close()
    spec = _spec(opened, found, k, out)
    if found.gate is not None:
        from ragdecode.decoding.knn.gate import gate_bytes

        write_whole(out.with_suffix(".safetensors"), gate_bytes(found.gate, _facts(opened)))
    write_whole(out, _yaml(spec))
    if as_json:
        click.echo(json.dumps({"tuning": str(out), "temperature": found.temperature, **found.figures}, indent=2))
    else:
        click.echo("\n".join(_lines(found)))
    click.echo(f"written: {out}", err=True)


def _fitted(
    opened: OpenedMemory,
    text: Path,
    k: int,
    tokens: int,
    leave_out: Sequence[str],
    gate: tuple[float, int] | None,
    progress: Progress,
) -> Fitted:
    """Read the text, and choose.

    Raises:
        InputError: The memory has fewer than k entries, or the text is too short.
    """
    from ragdecode.cli.held_out import held_out
    from ragdecode.decoding.knn.corpus_store import CorpusStore
    from ragdecode.decoding.knn.tuning import temperature
    from ragdecode.errors import InputError
    from ragdecode.evaluation.knn.asked import ask
    from ragdecode.evaluation.knn.fitting import GateTraining, fit
    from ragdecode.evaluation.knn.portions import portions

    model, memory = opened.model, opened.memory
    store = CorpusStore(memory, leave_out)
    if k > len(store):
        raise InputError(f"--k is {k}; the memory has {len(store)} entries", hint="lower --k, or index more text")
    texts = [model.tokenizer.encode(one, special=False) for _, one in held_out(text)]
    read = portions(texts, memory.facts, tokens)
    if not read.tokens:
        raise InputError(f"{text} is too short: no text has {int(memory.facts['context']) + 1} tokens")
    asked = ask(opened.backend, store, read, str(memory.facts["key"]), k, model.vocab_size, progress)
    try:
        base = temperature(store.apart(64, k))
    except ValueError:  # all alike: any temperature gives the same votes
        base = 1.0
    how = None
    if gate is not None:
        from ragdecode.evaluation.knn.gating import follow_counts

        counts = follow_counts(memory.corpus.values, memory.corpus.starts, model.vocab_size)
        how = GateTraining(*counts, spare=gate[0], seed=gate[1])
    return fit(asked, base, how, progress)


def _facts(opened: OpenedMemory) -> dict[str, str]:
    return {name: str(opened.memory.facts[name]) for name in ("model", "tokenizer", "dtype", "key")}


def _spec(opened: OpenedMemory, found: Fitted, k: int, out: Path) -> TuningSpec:
    from ragdecode.spec.tuning import TuningSpec

    figures = found.figures
    told = ", ".join(f"{_NAMES[name]} {figures[name]['perplexity']:.2f}" for name in _NAMES if name in figures)
    return TuningSpec(
        description=f"Chosen on {found.tokens:,} tokens; perplexity on {figures['tokens']:,} others: "
        f"model {figures['lm']:.2f}, {told}.",
        **_facts(opened),
        k=k,
        temperature=found.temperature,
        weight=found.weight,
        buckets=found.buckets.spec,
        gate=out.with_suffix(".safetensors").name if found.gate is not None else None,
    )


def _yaml(spec: TuningSpec) -> str:
    """The tuning, a key a line."""
    data = spec.model_dump(mode="json", exclude_none=True)
    lines = ["# Written by: ragdecode memory tune\n"]
    return "".join([*lines, *(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in data.items())])


def _lines(found: Fitted) -> list[str]:
    """What was chosen and what it is worth, for people."""
    figures: Mapping[str, Any] = found.figures
    lines = [
        f"temperature {found.temperature:.4g}, weight {found.weight:.2f}, {len(found.buckets.weights)} buckets, "
        f"chosen on {found.tokens:,} tokens; measured on {figures['tokens']:,} others:",
        f"{'':20}{'perplexity':>12}{'nats a token':>28}{'lose':>8}{'searched':>10}",
        f"{'model':20}{figures['lm']:>12.2f}",
    ]
    for name, title in _NAMES.items():
        if name in figures:
            one = figures[name]
            gain = one["gain"]
            ends = f" [{gain['low']:.4f}, {gain['high']:.4f}]" if gain["low"] is not None else ""
            told = f"{gain['estimate']:+.4f}{ends}"
            lines.append(f"{title:20}{one['perplexity']:>12.2f}{told:>28}{one['hurt']:>8.1%}{one['searched']:>10.1%}")
    if found.weight == 0:
        lines.append("note: the best fixed weight is 0: on this text the memory does not help")
    return lines
