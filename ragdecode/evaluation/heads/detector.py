"""Trains what tells by attention whether a token of the context is used (Huang et al., arXiv 2501.01059)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.errors import RunError
from ragdecode.evaluation.learning.logistic import Logistic, auc, best_strength, fit, folds
from ragdecode.spec.detector import DetectorHead, DetectorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.evaluation.heads.used_context import Examples

_FOLDS = 5
#: Fewer examples of used context than this teach nothing.
_FEWEST = 20


@dataclass(frozen=True)
class Trained:
    """A detector.

    Attributes:
        spec: Heads, coefficients and intercept.
        auc: On questions that it did not see, heads chosen without them too; mean over five folds.
    """

    spec: DetectorSpec
    auc: float


def train(examples: Examples, heads: Sequence[tuple[int, int]], top: int, fingerprint: str) -> Trained:
    """Fit all heads, keep those of the largest coefficients, and fit these again.

    Args:
        examples: Shares of attention of all heads.
        heads: The heads, in the order of the features.
        top: How many are kept.
        fingerprint: Of the model.

    Raises:
        RunError: There are too few examples, or the heads do not tell used context at all.
    """
    used = sum(examples.used)
    if used < _FEWEST or used == len(examples.used):
        raise RunError(
            f"{used} tokens of used context from {examples.kept} of {examples.asked} questions teach nothing; "
            f"{_FEWEST} are the least",
            hint="give more questions, with passages that hold the answers in the same words",
        )
    features, labels = np.asarray(examples.features), np.asarray(examples.used)
    groups = np.asarray(examples.groups)
    values = []
    for part in folds(examples.groups, _FOLDS):
        kept, model = _fitted(features[~part], labels[~part], groups[~part], top)
        values.append(auc(model.logits(features[part][:, kept]), labels[part]))
    kept, model = _fitted(features, labels, groups, top)
    if model.coefficients.sum() <= 0:
        raise RunError("the heads do not tell used context from other context", hint="give more questions")
    order = np.argsort(-np.abs(model.coefficients), kind="stable")
    chosen = tuple(
        DetectorHead(
            layer=heads[kept[place]][0],
            head=heads[kept[place]][1],
            coefficient=round(float(model.coefficients[place]), 6),
        )
        for place in order
    )
    spec = DetectorSpec(model=fingerprint, intercept=round(model.intercept, 6), heads=chosen)
    return Trained(spec, float(np.nanmean(values)))


def _fitted(
    features: NDArray[np.float64], labels: NDArray[np.bool_], groups: NDArray[np.int64], top: int
) -> tuple[NDArray[np.int64], Logistic]:
    """The kept heads' places in the features, and the model on them."""
    parts = folds(groups.tolist(), _FOLDS, seed=1)
    every = fit(features, labels, best_strength(features, labels, parts))
    kept = np.sort(np.argsort(-np.abs(every.coefficients), kind="stable")[:top])
    few = features[:, kept]
    return kept, fit(few, labels, best_strength(few, labels, parts))
