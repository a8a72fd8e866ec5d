"""``configs/monitors/*.yaml``: what tells faithful sentences, as ``ragdecode monitor train`` writes it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ragdecode.spec.reference import RelativePath
from ragdecode.spec.settings import Settings

Finite = Annotated[float, Field(allow_inf_nan=False)]


class TrainedFeature(Settings):
    """One feature of a sentence, and what the regression makes of it."""

    name: str
    """Its name, as the monitor calls it."""
    mean: Finite
    """Its mean over the training sentences, which is subtracted."""
    scale: float = Field(gt=0.0, allow_inf_nan=False)
    """Its standard deviation over them, which it is divided by."""
    coefficient: Finite = 0.0
    """Log-odds of a faithful sentence for each standard deviation; only of a logistic regression."""
    missing: Finite | None = None
    """Log-odds where it has no value, as learned from such sentences; a sentence without it is not scored if null."""


class Platt(Settings):
    """Calibration by a logistic curve: the log-odds become ``slope x + offset``."""

    slope: float = Field(ge=0.0, allow_inf_nan=False)
    """Its slope."""
    offset: Finite
    """Its offset."""


class Isotonic(Settings):
    """Calibration by a curve of straight lines; level beyond its ends."""

    logits: tuple[Finite, ...] = Field(min_length=1)
    """Log-odds of its corners, ascending."""
    probabilities: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...]
    """Probability at each of them, not descending."""

    @model_validator(mode="after")
    def _curve(self) -> Self:
        if len(self.logits) != len(self.probabilities):
            raise ValueError(f"{len(self.logits)} corners have {len(self.probabilities)} probabilities")
        if any(one >= other for one, other in zip(self.logits, self.logits[1:], strict=False)):
            raise ValueError("'logits' must ascend")
        if any(one > other for one, other in zip(self.probabilities, self.probabilities[1:], strict=False)):
            raise ValueError("'probabilities' must not descend")
        return self


class TrainedOn(Settings):
    """Data that a monitor learned from."""

    name: str
    """Its name."""
    licence: str = ""
    """Under which licence it is."""
    sources: int = Field(ge=0)
    """Texts that answers were written about; folds never split one."""
    answers: int = Field(ge=0)
    """Answers to them."""
    sentences: int = Field(ge=0)
    """Sentences of these."""
    unfaithful: int = Field(ge=0)
    """How many of the sentences are not supported."""


class TrainedMonitorSpec(Settings):
    """From features of a sentence to the probability that it is faithful, learned for one model."""

    description: str = ""
    """One line about it: on what it was trained, and how well it tells."""
    model: str = Field(min_length=1)
    """Fingerprint of the model that it was trained for; another one is refused."""
    kind: Literal["logistic", "trees"]
    """Logistic regression, or gradient-boosted trees."""
    prompt: str = ""
    """The prompt that the answers were read under; it is not checked."""
    aligner: str = ""
    """Label of the aligner that it was trained with; any will do if left out."""
    features: tuple[TrainedFeature, ...] = Field(min_length=1)
    """What it reads, in order."""
    intercept: Finite
    """Log-odds before any feature counts."""
    calibration: Platt | Isotonic
    """From log-odds to a probability that holds."""
    threshold: float = Field(ge=0.0, le=1.0)
    """Below this a sentence is called unfaithful, unless YAML says otherwise; see ``criterion``."""
    criterion: str = ""
    """How the threshold was chosen."""
    arrays: Annotated[str, RelativePath()] | None = None
    """A safetensors file beside this one with the trees and the anchors of the local intrinsic dimension."""
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """Its hash; nothing is checked if left out."""
    data: tuple[TrainedOn, ...] = ()
    """What it was trained on."""
    figures: dict[str, Finite | None] = Field(default_factory=dict)
    """How well it did on sentences of sources that it had not seen."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [one.name for one in self.features]
        if len(set(names)) < len(names):
            raise ValueError("a feature stands twice")
        if self.arrays is None and (self.kind == "trees" or any(name.startswith("lid_") for name in names)):
            raise ValueError("'arrays' is missing: trees and the local intrinsic dimension need that file")
        return self
