"""Cross-encoders for the `rerank` stage, opened when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragdecode.retrieval.stage import PairScorer
from ragdecode.spec.model import ModelSpec


def cross_encoders(*, device: str = "auto") -> Callable[[ModelSpec], PairScorer]:
    """A function that gives the scorer of a cross-encoder; each is opened once."""
    opened: dict[str, PairScorer] = {}

    def scorer_of(model: ModelSpec) -> PairScorer:
        key = model.model_dump_json()
        if key not in opened:
            opened[key] = _open(model, device)
        return opened[key]

    return scorer_of


def _open(model: ModelSpec, device: str) -> PairScorer:
    from ragdecode.models.cross_encoder import load_cross_encoder

    encoder = load_cross_encoder(model, device=device)

    def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [float(value) for value in encoder.score(pairs)]

    return score
