"""The aggregator that needs no labels: every feature turned so that higher is more faithful, and averaged."""

from __future__ import annotations

import math

from ragdecode.decoding.faithfulness.aggregator import Aggregator
from ragdecode.decoding.faithfulness.features import SentenceFeatures
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings


@register("aggregator", "unsupervised", NoSettings)
class Unsupervised(Aggregator):
    """Half the support by the evidence, half how sure the model was and how much it leant on the evidence.

    Every feature is turned into a number from 0 to 1 that is higher for faithful sentences, by fixed curves.
    """

    features = ("alignment", "mean_entropy", "max_entropy", "mean_prob", "min_prob", "mean_kl", "large_kl_count")

    def score(self, features: SentenceFeatures) -> float | None:
        """From 0 to 1; None without an alignment."""
        support = features["alignment"]
        if support is None:
            return None
        signs = [value for value in _signs(features) if value is not None]
        if not signs:
            return support
        return 0.5 * support + 0.5 * math.fsum(signs) / len(signs)


def _signs(features: SentenceFeatures) -> list[float | None]:
    entropy, probability, influence = features["mean_entropy"], features["mean_prob"], features["mean_kl"]
    return [
        None if entropy is None else math.exp(-entropy),
        probability,
        None if influence is None else 1.0 - math.exp(-influence),
    ]
