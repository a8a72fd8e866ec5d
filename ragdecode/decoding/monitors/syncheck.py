"""SynCheck: is each sentence faithful to the evidence, judged while it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.faithfulness.aggregator import Aggregator
from ragdecode.decoding.faithfulness.aligner import Aligner
from ragdecode.decoding.faithfulness.features import FEWEST_ANCHORS, LID, middle_blocks
from ragdecode.decoding.faithfulness.reaction import Reaction
from ragdecode.decoding.faithfulness.watching import ENTROPY, KL, Judging, Watch
from ragdecode.decoding.monitor import Monitor, Seen
from ragdecode.errors import InputError
from ragdecode.spec import part
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.rule import Company

_TARGET = "with_context"


class SynCheckSettings(Settings):
    """Settings of SynCheck."""

    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """A sentence below is unfaithful; the aggregator's own if left out."""
    on_unfaithful: part.Reaction = Field(default="flag", validate_default=True)
    """What is done about it: ``flag``, ``stop``, ``abstain``, ``rewind`` or ``retrieve``, with settings if need be."""
    hold: Literal["sentence", "none"] = "none"
    """``sentence`` shows a sentence only when its verdict is in."""
    aggregator: part.Aggregator = Field(default="unsupervised", validate_default=True)
    """Makes a probability of the features: ``unsupervised`` needs no labels, ``{trained: NAME}`` is one of
    `ragdecode monitor train`, for the model that it was trained for."""
    align: part.Aligner = Field(default="lexical", validate_default=True)
    """Compares a sentence with the evidence: ``lexical`` by words and an encoder, ``entailment`` by a model of
    natural-language inference."""
    without: str | None = "without_context"
    """The view that does not show the evidence, for the KL divergence; null leaves these features and the view out."""


@register("monitor", "syncheck", SynCheckSettings)
class SynCheck(Monitor):
    """SynCheck: the probability that each sentence is faithful to the evidence, known as soon as it is written.

    The features are those of `ragdecode.decoding.faithfulness.features`, made of what the step predicts anyway: p_t is
    the target view's prediction, r_t that of the view ``without`` the evidence, both of the tokens that were accepted,
    whatever rule composed them. With CAD beside it, its second view is shared; else it is one row more. The local
    intrinsic dimension is measured where the aggregator brings at least 30 anchors, and else is no feature.
    Source: Wu et al., arXiv 2406.13692, and its released code where the paper leaves a choice; of the bugs there
    (the prompt with the evidence in the place of the one without, states of a repeated prompt, sentences found by
    their decoded text) none is kept. Whether the layers count the embeddings is unconfirmed: here they do, so that
    layer m is the state after m blocks.
    """

    measures = True
    scores = True

    def __init__(self, settings: SynCheckSettings) -> None:
        super().__init__(settings)
        self.aligner: Aligner = settings.align.build()
        self.aggregator: Aggregator = settings.aggregator.build()
        self.reaction: Reaction = settings.on_unfaithful.build()
        self.retrieves = self.reaction.retrieves
        self.views = (settings.without,) if settings.without is not None else ()
        self.models = self.aligner.models
        self._anchors: Mapping[str, torch.Tensor] = {}
        self._blocks: Mapping[str, int] = {}
        trained = self.aggregator.aligner
        if trained and "alignment" in self.aggregator.features and trained != self.aligner.label:
            raise InputError(
                f"the aggregator '{self.aggregator.part_name}' was trained with the alignment {trained!r}, and this "
                f"one is {self.aligner.label!r}",
                hint="take that aligner, or another aggregator",
            )

    @property
    def threshold(self) -> float:
        """Below this a sentence is unfaithful."""
        own: float | None = self.settings.threshold
        return self.aggregator.threshold if own is None else own

    def check(self, company: Company) -> None:
        """Ask the reaction.

        Raises:
            InputError: It does not go with what acts beside it.
        """
        self.reaction.check(company)

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Find the middle blocks, if there are anchors, and put these where the model is.

        Raises:
            InputError: The aggregator was trained for another model.
        """
        import torch

        model = models[_TARGET]
        self.aggregator.meet(model)
        self._blocks = dict(zip(LID, middle_blocks(model.blocks), strict=True))
        wide = torch.float64 if model.dtype is torch.float64 else torch.float32
        known = {name: bank for name, bank in self.aggregator.anchors.items() if len(bank) >= FEWEST_ANCHORS}
        if known.keys() != self._anchors.keys() or any(bank.device != model.device for bank in self._anchors.values()):
            self._anchors = {name: bank.to(model.device, wide) for name, bank in known.items()}
        self.layers = tuple(sorted({self._blocks[name] for name in self._anchors}))

    def measure(self, seen: Seen) -> Mapping[str, torch.Tensor]:
        """Entropy of the target, KL against the view without the evidence, and LID of the nodes' own tokens."""
        from ragdecode.decoding.divergence import entropy, kl
        from ragdecode.decoding.faithfulness.dimension import local_dimension

        target = seen.log_probs[_TARGET]
        measured = {ENTROPY: entropy(target)}
        for view in self.views:
            measured[KL] = kl(target, seen.log_probs[view])
        for name, anchors in self._anchors.items():
            measured[name] = local_dimension(seen.states[self._blocks[name]], anchors)
        return measured

    def start(self, request: Request) -> Watch:
        """Read the evidence of a request.

        Raises:
            InputError: The request cannot turn tokens into text, or lacks what the aligner asks for.
        """
        if request.detokenize is None:
            raise InputError("syncheck judges sentences: the request cannot turn tokens into text")
        settings = self.settings
        judging = Judging(
            self.aligner,
            self.aggregator,
            self.threshold,
            hold=settings.hold == "sentence",
            states=bool(self._anchors),
            resources=request.resources,
        )
        return Watch(judging, request.passages, self.reaction.start(request))
