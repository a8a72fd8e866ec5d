"""Folds the runs of a benchmark into one object; every word as in the documentation of ``bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ragdecode.evaluation.bench.agreement import Agreement
from ragdecode.evaluation.bench.contender import Run

#: Contenders that every other one is divided by.
BASES = ("hf-greedy", "ragdecode-nodraft")


@dataclass(frozen=True)
class Rates:
    """Speed over the prompts of one repeat.

    Attributes:
        tokens_per_second: New tokens over all seconds, prefill included.
        decode_tokens_per_second: Sum of (new - 1) over the seconds after the first token; answers under two
            tokens left out. None if all are.
    """

    tokens_per_second: float
    decode_tokens_per_second: float | None

    @staticmethod
    def of(runs: Sequence[Run]) -> Rates:
        """The rates of one repeat's runs."""
        longer = [run for run in runs if len(run.tokens) >= 2]
        after_first = sum(run.seconds - run.first_token_seconds for run in longer)
        decoded = sum(len(run.tokens) - 1 for run in longer)
        return Rates(
            sum(len(run.tokens) for run in runs) / sum(run.seconds for run in runs),
            decoded / after_first if after_first > 0 else None,
        )


def summarise(
    repeats: Sequence[Mapping[str, Sequence[Run]]], agreements: Mapping[str, Agreement | None]
) -> dict[str, Any]:
    """Medians over repeats; ratios are taken within each repeat first.

    Args:
        repeats: For each repeat, each contender's runs, one a prompt.
        agreements: Each contender's agreement with its reference; None if the reference did not run.
    """
    rates = {name: [Rates.of(repeat[name]) for repeat in repeats] for name in agreements}
    return {
        "contenders": {
            name: _contender([run for repeat in repeats for run in repeat[name]], rates[name], repeats[0][name], agreed)
            for name, agreed in agreements.items()
        },
        "ratios": {
            f"{name}/{base}": _ratio(rates[name], rates[base])
            for base in BASES
            for name in rates
            if base in rates and name != base
        },
    }


def _contender(runs: Sequence[Run], rates: Sequence[Rates], once: Sequence[Run], agreed: Any) -> dict[str, Any]:
    steps = sum(run.steps for run in once)
    peaks = [run.peak_memory_mb for run in runs if run.peak_memory_mb is not None]
    return {
        "tokens_per_second": median(rate.tokens_per_second for rate in rates),
        "decode_tokens_per_second": _median([rate.decode_tokens_per_second for rate in rates]),
        "steps": steps,
        "mean_accepted": sum(run.committed for run in once) / steps if steps else 0.0,
        "first_token_seconds": median(run.first_token_seconds for run in runs),
        "peak_memory_mb": max(peaks) if peaks else None,
        "tokens_equal": agreed.to_json() if agreed is not None else None,
    }


def _ratio(mine: Sequence[Rates], base: Sequence[Rates]) -> dict[str, Any]:
    pairs = list(zip(mine, base, strict=True))
    whole = [_divide(one.tokens_per_second, other.tokens_per_second) for one, other in pairs]
    decode = [_divide(one.decode_tokens_per_second, other.decode_tokens_per_second) for one, other in pairs]
    return {"tokens_per_second": _median(whole), "decode_tokens_per_second": _median(decode)}


def _divide(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
