"""The features of a sentence that tell whether it is faithful to the evidence (SynCheck, arXiv 2406.13692)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

#: A token whose KL divergence is above depends heavily on the evidence, in nats; 3.0 in the paper's code.
LARGE_KL = 3.0

#: The layers of the local intrinsic dimension, as published for a model of 32; see `middle_blocks`.
LID = ("lid_15", "lid_16", "lid_17")

#: With fewer anchors than these the local intrinsic dimension means nothing.
FEWEST_ANCHORS = 30

#: All features of a sentence, in the order in which an aggregator's vector has them:
#:
#: - ``max_entropy``, ``mean_entropy``: of the target view's predictions, in nats;
#: - ``lid_15``, ``lid_16``, ``lid_17``: local intrinsic dimension of the last token's state in middle layers;
#: - ``min_prob``, ``mean_prob``: of the tokens in the target view; the arithmetic mean of probabilities;
#: - ``mean_kl``: mean over the tokens of KL(target view || view without the evidence), in nats;
#: - ``large_kl_count``: tokens whose KL is above `LARGE_KL`;
#: - ``alignment``: how far the evidence supports the sentence, from 0 to 1, as the aligner says;
#: - ``n_tokens``: length of the sentence. It is this package's: counts, minima and maxima grow with it.
FEATURES = (
    "max_entropy",
    "mean_entropy",
    *LID,
    "min_prob",
    "mean_prob",
    "mean_kl",
    "large_kl_count",
    "alignment",
    "n_tokens",
)


def middle_blocks(blocks: int) -> tuple[int, int, int]:
    """The blocks, counted from 0, whose states `LID` is measured on: after round(L * {15, 16, 17} / 32) of L blocks.

    Of a model with few blocks some may be the same.
    """
    first, second, third = (max(1, min(blocks, round(blocks * layer / 32))) - 1 for layer in (15, 16, 17))
    return first, second, third


@dataclass(frozen=True)
class TokenSignals:
    """What is known of one token of an answer.

    Attributes:
        probability: In the target view, p_t(y_t).
        entropy: Of the target view's prediction, H(p_t), in nats.
        kl: KL(p_t || r_t) against the view without the evidence, in nats; None where there is no such view.
        lid: Local intrinsic dimension of the token's own state by name of `LID`; empty where it is not measured.
    """

    probability: float
    entropy: float
    kl: float | None = None
    lid: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SentenceFeatures:
    """The features of one sentence; None for those that cannot be computed, never a number that is not finite.

    Attributes:
        values: By name, all of `FEATURES`.
    """

    values: Mapping[str, float | None]

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]

    def vector(self, names: Sequence[str] = FEATURES) -> list[float | None]:
        """The named features in order."""
        return [self.values[name] for name in names]

    @property
    def missing(self) -> tuple[str, ...]:
        """Features that could not be computed."""
        return tuple(name for name in FEATURES if self.values[name] is None)


def sentence_features(tokens: Iterable[TokenSignals], alignment: float | None = None) -> SentenceFeatures:
    """The features of a sentence from the signals of its tokens.

    Args:
        tokens: Its tokens, in order; where there are none, only ``alignment`` and ``n_tokens`` have a value.
        alignment: How far the evidence supports it.
    """
    signals = list(tokens)
    values: dict[str, float | None] = dict.fromkeys(FEATURES)
    values["n_tokens"] = float(len(signals))
    values["alignment"] = alignment
    if signals:
        entropies = [one.entropy for one in signals]
        chances = [one.probability for one in signals]
        values |= {
            "max_entropy": max(entropies),
            "mean_entropy": math.fsum(entropies) / len(entropies),
            "min_prob": min(chances),
            "mean_prob": math.fsum(chances) / len(chances),
            **{name: signals[-1].lid.get(name) for name in LID},
        }
        divergences = [one.kl for one in signals if one.kl is not None]
        if len(divergences) == len(signals):
            values["mean_kl"] = math.fsum(divergences) / len(divergences)
            values["large_kl_count"] = float(sum(value > LARGE_KL for value in divergences))
    finite = {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}
    return SentenceFeatures(finite)
