"""How the reference of a comparison scores two tokens; asked only where answers diverge, outside of all timing."""

from __future__ import annotations

from collections.abc import Sequence

from ragdecode.decoding.request import TARGET
from ragdecode.evaluation.bench.agreement import Gap
from ragdecode.evaluation.bench.own import OwnContender
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.evaluation.verification import undrafted_gap
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest


def stock_gap(stock: StockContender, pipeline: Pipeline, request: DecodeRequest) -> Gap:
    """By the logits of the stock model."""

    def gap(common: Sequence[int], mine: int | None, theirs: int | None) -> float | None:
        ends = sorted(pipeline.prepare(request).request.end_tokens)
        if not ends and None in (mine, theirs):
            return None
        logits = stock.logits(request, common)
        first, second = (logits[ends].max() if token is None else logits[token] for token in (mine, theirs))
        return abs(float(first - second))

    return gap


def composed_gap(undrafted: OwnContender, request: DecodeRequest) -> Gap:
    """By the scores of the undrafted run at that place, with everything that acts on them."""

    def gap(common: Sequence[int], mine: int | None, theirs: int | None) -> float | None:
        return undrafted_gap(undrafted.pipeline, request, common, mine, theirs)

    return gap


def is_plain(pipeline: Pipeline, request: DecodeRequest) -> bool:
    """Whether the pipeline takes the target view as it is, so that plain greedy decoding writes the same."""
    asked = pipeline.prepare(request).request
    acts = (asked.rules, asked.constraints, asked.monitors)
    plain = asked.sampling.temperature == 0 and asked.sampling.repetition_penalty == 1.0
    return not any(acts) and plain and TARGET in asked.views
