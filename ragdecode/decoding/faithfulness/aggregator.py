"""The contract of aggregators: from the features of a sentence to the probability that it is faithful."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ragdecode.decoding.faithfulness.features import FEATURES, SentenceFeatures
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend


class Aggregator(ABC):
    """An aggregator as declared: a part, ``@register("aggregator", NAME, Settings)`` in ``decoding/aggregators``.

    Deterministic, and a function of the features alone.

    Attributes:
        features: Those of `FEATURES` that it reads.
        anchors: States ``[A, H]`` of faithful sentences' last tokens by name of `LID`, for the local intrinsic
            dimension; empty where it is not measured. Known once it met the model.
        threshold: Below this a sentence counts as unfaithful, unless YAML says otherwise.
        aligner: Label of the aligner that its ``alignment`` was trained with; empty if any will do.
    """

    features: Sequence[str] = FEATURES
    anchors: Mapping[str, torch.Tensor] = {}
    threshold: float = 0.5
    aligner: str = ""

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    def meet(self, model: Backend) -> None:  # noqa: B027
        """Look at the target's model, before any request.

        Raises:
            InputError: It was trained for another one.
        """

    @abstractmethod
    def score(self, features: SentenceFeatures) -> float | None:
        """Probability that the sentence is FAITHFUL, from 0 to 1, higher is more faithful.

        None where it cannot tell, because features that it needs have no value.
        """
