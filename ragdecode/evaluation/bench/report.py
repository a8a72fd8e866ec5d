"""Folds the turns of a benchmark into one object; every word as in the documentation of ``bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ragdecode.evaluation.bench.agreement import Agreement
from ragdecode.evaluation.bench.contender import Turn
from ragdecode.evaluation.bench.rates import Figure, Speed

#: Contenders that every other one is divided by.
BASES = ("hf-greedy", "ragdecode-nodraft", "hf-prompt-lookup", "hf-assisted", "llama-cpp")

#: For each repeat, each contender's turns.
Repeats = Sequence[Mapping[str, Sequence[Turn]]]


def summarise(
    repeats: Repeats, agreements: Mapping[str, Agreement | None], notes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Medians over repeats; ratios are taken within each repeat first.

    Args:
        repeats: For each repeat, each contender's turns, in the order of the prompts.
        agreements: Each contender's agreement with its reference; None if the reference did not run.
        notes: What should be known about a contender.
    """
    whole = {name: Speed.whole([repeat[name] for repeat in repeats]) for name in agreements}
    decoding = {name: Speed.decoding([repeat[name] for repeat in repeats]) for name in agreements}
    return {
        "contenders": {
            name: _rates(whole[name].figure(), decoding[name].figure())
            | _contender([repeat[name] for repeat in repeats])
            | {
                "tokens_equal": agreed.to_json() if agreed is not None else None,
                "note": (notes or {}).get(name) or None,
            }
            for name, agreed in agreements.items()
        },
        "ratios": {
            f"{name}/{base}": _rates(whole[name].over(whole[base]), decoding[name].over(decoding[base]))
            for base in BASES
            for name in agreements
            if base in agreements and name != base
        },
    }


def _rates(whole: Figure, decoding: Figure) -> dict[str, Any]:
    return {
        "tokens_per_second": whole.value,
        "decode_tokens_per_second": decoding.value,
        "tokens_per_second_interval": whole.interval,
        "decode_tokens_per_second_interval": decoding.interval,
    }


def _contender(repeats: Sequence[Sequence[Turn]]) -> dict[str, Any]:
    """What is no rate: counts of the first repeat, seconds and memory of all."""
    once = [run for turn in repeats[0] for run in turn.runs]
    turns = [turn for repeat in repeats for turn in repeat]
    steps = sum(run.steps for run in once)
    drafted = [run.drafted for run in once if run.drafted is not None]
    peaks = [turn.peak_memory_mb for turn in turns if turn.peak_memory_mb is not None]
    return {
        "steps": steps,
        "new_tokens": sum(len(run.tokens) for run in once),
        "mean_accepted": sum(run.committed for run in once) / steps if steps else 0.0,
        "nodes_per_step": 1 + sum(drafted) / steps if steps and len(drafted) == len(once) else None,
        "sources": _sources([run.sources for run in once]),
        "first_token_seconds": median(run.first_token_seconds for turn in turns for run in turn.runs),
        "peak_memory_mb": max(peaks) if peaks else None,
    }


def _sources(runs: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, Any]]:
    """Of each drafter: tokens proposed and accepted, and the share of those in these."""
    counts: dict[str, dict[str, Any]] = {}
    for run in runs:
        for name, found in run.items():
            own = counts.setdefault(name, {"proposed": 0, "accepted": 0})
            own["proposed"] += found["proposed"]
            own["accepted"] += found["accepted"]
    for own in counts.values():
        own["share"] = own["accepted"] / own["proposed"] if own["proposed"] else None
    return counts
