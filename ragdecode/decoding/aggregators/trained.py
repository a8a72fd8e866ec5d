"""A trained aggregator: logistic regression or boosted trees over standardised features, calibrated."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from ragdecode.decoding.faithfulness.aggregator import Aggregator
from ragdecode.decoding.faithfulness.features import FEATURES, LID, SentenceFeatures
from ragdecode.decoding.faithfulness.scoring_trees import FlatTrees
from ragdecode.errors import InputError
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings
from ragdecode.spec.trained_monitor import Isotonic, Platt, TrainedMonitorSpec

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend

_ANOTHER = "train one for this model: ragdecode monitor train"
_TREES = ("roots", "feature", "threshold", "missing_left", "left", "right", "value")


class TrainedSettings(Settings):
    """Settings of a trained aggregator."""

    bare: ClassVar[str] = "monitor"

    monitor: Annotated[TrainedMonitorSpec, Reference("monitors")]
    """What was learned, as `ragdecode monitor train` writes it; a file of `configs/monitors/` by name."""


@register("aggregator", "trained", TrainedSettings)
class Trained(Aggregator):
    """What was learned from labelled answers. A sentence that lacks a feature is not scored, unless such were seen.

    Source: Wu et al., arXiv 2406.13692, with standardised features and calibration instead of raw features in an MLP.
    """

    def __init__(self, settings: TrainedSettings) -> None:
        super().__init__(settings)
        spec = settings.monitor
        self.features: Sequence[str] = tuple(one.name for one in spec.features)
        self.anchors: Mapping[str, torch.Tensor] = {}
        self.threshold = spec.threshold
        self.aligner = spec.aligner
        self._spec = spec
        self._trees: FlatTrees | None = None
        if unknown := set(self.features) - set(FEATURES):
            raise InputError(
                f"the trained monitor reads features that there are not: {', '.join(sorted(unknown))}",
                hint=f"there are {', '.join(FEATURES)}",
            )
        if spec.arrays is not None:
            self._file = Path(spec.arrays)

    def meet(self, model: Backend) -> None:
        """Open the trees and the anchors.

        Raises:
            InputError: It was trained for another model, or its file is damaged.
        """
        spec = self._spec
        if spec.model != model.fingerprint:
            raise InputError(
                f"the trained monitor was made for another model: its fingerprint is {spec.model}, the model's "
                f"{model.fingerprint or 'unknown'}",
                hint=_ANOTHER,
            )
        if spec.arrays is None or self._trees is not None or self.anchors:
            return
        arrays = self._read()
        try:
            if spec.kind == "trees":
                self._trees = FlatTrees(*(arrays[name].tolist() for name in _TREES))
                self._check(self._trees)
            self.anchors = {name: arrays[name].float() for name in LID if name in self.features}
        except (KeyError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{spec.arrays}: {reason}", hint=_ANOTHER) from error
        for name, anchors in self.anchors.items():
            if anchors.ndim != 2 or anchors.shape[1] != model.hidden_size:
                raise InputError(
                    f"{spec.arrays}: the anchors {name} have the shape {tuple(anchors.shape)}; the model's states have "
                    f"{model.hidden_size} numbers",
                    hint=_ANOTHER,
                )
        if self.anchors and "exit" not in model.interventions:
            raise InputError(
                "the trained monitor reads states of middle layers, which this backend does not tell",
                hint="train one without them: ragdecode monitor train --without lid",
            )

    def score(self, features: SentenceFeatures) -> float | None:
        """Calibrated probability that the sentence is faithful; None if a feature lacks that never did in training."""
        spec = self._spec
        values = features.vector(self.features)
        if any(value is None and one.missing is None for value, one in zip(values, spec.features, strict=True)):
            return None
        if spec.kind == "trees":
            assert self._trees is not None, "it met its model"
            return calibrated(spec.intercept + self._trees.logit(values), spec.calibration)
        logit = spec.intercept
        for value, one in zip(values, spec.features, strict=True):
            logit += (one.missing or 0.0) if value is None else one.coefficient * (value - one.mean) / one.scale
        return calibrated(logit, spec.calibration)

    def _read(self) -> dict[str, torch.Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            data = self._file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {self._file}: {error.strerror}", hint=_ANOTHER) from error
        if self._spec.sha256 and hashlib.sha256(data).hexdigest() != self._spec.sha256:
            raise InputError(f"{self._file} is not the file that was written: its hash differs", hint=_ANOTHER)
        try:
            return load(data)
        except SafetensorError as error:
            raise InputError(f"{self._file} is no safetensors file: {error}", hint=_ANOTHER) from error

    def _check(self, trees: FlatTrees) -> None:
        if any(feature >= len(self.features) for feature in trees.feature):
            raise ValueError("a tree asks for more features than there are")


def calibrated(logit: float, curve: Platt | Isotonic) -> float:
    """The probability that log-odds mean."""
    if isinstance(curve, Platt):
        value = curve.slope * logit + curve.offset
        return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else 1.0 - 1.0 / (1.0 + math.exp(min(value, 700.0)))
    place = bisect_right(curve.logits, logit)
    if place == 0 or place == len(curve.logits):
        return curve.probabilities[0 if place == 0 else -1]
    low, high = curve.logits[place - 1], curve.logits[place]
    one, other = curve.probabilities[place - 1], curve.probabilities[place]
    return one + (other - one) * (logit - low) / (high - low)
