"""SynCheck: is each sentence faithful to the evidence, judged while it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ragdecode.decoding.faithfulness.acting import OnUnfaithful, reaction
from ragdecode.decoding.faithfulness.aggregator import Aggregator
from ragdecode.decoding.faithfulness.aligner import Aligner
from ragdecode.decoding.faithfulness.features import LID, middle_blocks
from ragdecode.decoding.faithfulness.watching import ENTROPY, KL, Judging, Watch
from ragdecode.decoding.monitor import Monitor, Seen
from ragdecode.spec import part
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request

_TARGET = "with_context"


class SynCheckSettings(Settings):
    """Settings of SynCheck."""

    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """A sentence below is unfaithful; the aggregator's own if left out."""
    on_unfaithful: OnUnfaithful = "flag"
    """What is done about it."""
    hold: Literal["sentence", "none"] = "none"
    """``sentence`` shows a sentence only when its verdict is in."""
    aggregator: part.Aggregator = Field(default="unsupervised", validate_default=True)
    """Makes a probability of the features: ``unsupervised`` needs no labels."""
    align: part.Aligner = Field(default="lexical", validate_default=True)
    """Compares a sentence with the evidence."""
    without: str | None = "without_context"
    """The view that does not show the evidence, for the KL divergence; null leaves these features and the view out."""


@register("monitor", "syncheck", SynCheckSettings)
class SynCheck(Monitor):
    """Judges every sentence of the answer by what the step has and by its alignment with the evidence.

    Source: Wu et al., arXiv 2406.13692.
    """

    evidence = True
    scores = True

    def __init__(self, settings: SynCheckSettings) -> None:
        super().__init__(settings)
        self.aligner: Aligner = settings.align.build()
        self.aggregator: Aggregator = settings.aggregator.build()
        self.views = (settings.without,) if settings.without is not None else ()
        self.models = self.aligner.models

    @property
    def threshold(self) -> float:
        """Below this a sentence is unfaithful."""
        own: float | None = self.settings.threshold
        return self.aggregator.threshold if own is None else own

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Find the middle blocks, if there are anchors.

        Raises:
            InputError: The aggregator was trained for another model.
        """
        model = models[_TARGET]
        self.aggregator.meet(model)
        self._anchors = self.aggregator.anchors
        self._blocks = dict(zip(LID, middle_blocks(model.blocks), strict=True))
        self.layers = tuple(sorted({self._blocks[name] for name in self._anchors}))

    def measure(self, seen: Seen) -> Mapping[str, torch.Tensor]:
        """Entropy of the target, KL against the view without the evidence, and LID of the nodes' own tokens."""
        from ragdecode.decoding.divergence import entropy, kl
        from ragdecode.decoding.faithfulness.dimension import local_dimension

        target = seen.log_probs[_TARGET]
        measured = {ENTROPY: entropy(target)}
        for view in self.views:
            measured[KL] = kl(target, seen.log_probs[view])
        for name, anchors in self.aggregator.anchors.items():
            measured[name] = local_dimension(seen.states[self._blocks[name]], anchors)
        return measured

    def start(self, request: Request) -> Watch:
        """Read the evidence of a request."""
        settings: Any = self.settings
        judging = Judging(self.aligner, self.aggregator, self.threshold, settings.hold == "sentence", request.resources)
        return Watch(judging, request.passages, reaction(settings.on_unfaithful))
