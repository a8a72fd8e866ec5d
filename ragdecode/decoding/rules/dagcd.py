"""Dynamic attention-guided context decoding: lift the tokens of the evidence that context-using heads look at."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ragdecode.decoding.contrasting import entropy, finite
from ragdecode.decoding.head_check import check_heads
from ragdecode.decoding.rule import Company, Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.detector import DetectorSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.attention_shares import Shares
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request

#: The view whose attention is read.
_TARGET = "with_context"


class DagcdSettings(Settings):
    """Settings of attention-guided decoding."""

    detector: Annotated[DetectorSpec, Reference("detectors")]
    """Which heads of the model tell context that is used, and how, as `ragdecode detector` writes it."""
    alpha: float = Field(default=4.0, ge=0.0, le=100.0)
    """Strength: at full uncertainty this much probability is added before all is normalised. The paper takes 2 for
    base models and 4 for those that follow instructions; 0 is off."""
    rank: int = Field(default=10, ge=1)
    """Only tokens among this many of the most probable are lifted."""


@register("rule", "dagcd", DagcdSettings)
class Dagcd(Rule):
    """Attention-guided context decoding (DAGCD): one pass, no second prompt.

    ``p' = p + alpha H(p) / ln V u``, normalised. u is a distribution over tokens of the evidence: of those among the
    ``rank`` most probable that a logistic regression on the attention of a few heads calls used, each in proportion to
    the weighted attention that it gets. A token that occurs several times counts with its mean. Source: Huang et al.,
    arXiv 2501.01059; where a token repeats, the mean is their code's and not the paper's sum. It adds probabilities,
    so that it is the last rule of its chain. Without known passages it leaves all as it is.
    """

    strength = "alpha"
    evidence = True

    def __init__(self, settings: DagcdSettings) -> None:
        super().__init__(settings)
        self.attends = tuple((one.layer, one.head) for one in settings.detector.heads)
        self._shares: Shares | None = None

    @property
    def views(self) -> Sequence[str]:
        """None besides the target."""
        return ()

    def check(self, company: Company) -> None:
        """Refuse rules after it, which would contrast or scale what it has added."""
        last = company.rules[-1]
        if last is not self:
            raise InputError(
                f"'dagcd' adds probabilities to what the rules make and is the last of them; '{last.part_name}' comes "
                "later",
                hint="put 'dagcd' at the end of the chain",
            )

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Refuse a model whose attention cannot be read, and another model's detector."""
        model = models[_TARGET]
        if "attention" not in model.interventions:
            raise InputError(
                "'dagcd' reads the attention of single heads, which this backend does not tell",
                hint="engine.backend: llama if the model is Llama-shaped",
            )
        spec: DetectorSpec = self.settings.detector
        check_heads("the detector of 'dagcd'", spec.model, spec.heads, model)

    def start(self, request: Request) -> Rule:
        """The rule with the places of the request's own passages."""
        from ragdecode.decoding.attention_shares import Shares

        view = request.views[_TARGET]
        spans = [range(one.start, one.stop) for one in view.evidence if one.stop > one.start]
        started = copy.copy(self)
        if spans:
            started._shares = Shares(view.prompt, spans)
        else:
            started.attends = ()
            started.notes = ("it is not known where the prompt shows passages, if any, so that it lifted nothing",)
        return started

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed log-probabilities ``[N, V]``, not normalised; what is impossible so far stays impossible."""
        import torch

        if self._shares is None or self.settings.alpha == 0:
            return nodes.composed
        composed = finite(nodes.composed)
        shares = self._shares.of(torch.stack([*nodes.attention]))  # [N, K, U]
        scores = self._scores(shares.to(composed), nodes.composed)
        total = scores.sum(dim=-1, keepdim=True)
        lifted = torch.zeros_like(composed)
        lifted[:, self._shares.tokens] = scores / total.where(total > 0, torch.ones_like(total))
        strength = self.settings.alpha * entropy(composed).clamp(min=0) / math.log(composed.shape[-1])  # [N, 1]
        return nodes.composed.logaddexp((strength * lifted).log())

    def _scores(self, shares: torch.Tensor, composed: torch.Tensor) -> torch.Tensor:
        """How much each token of the evidence is used ``[N, U]``, of its shares ``[N, K, U]``; 0 if it is not."""
        assert self._shares is not None
        spec: DetectorSpec = self.settings.detector
        coefficients = shares.new_tensor([one.coefficient for one in spec.heads])
        logits = spec.intercept + (coefficients[:, None] * shares).sum(dim=1)  # [N, U]
        weighted = ((coefficients / coefficients.sum())[:, None] * shares).sum(dim=1).clamp(min=0)
        rank = min(self.settings.rank, composed.shape[-1])
        least = composed.topk(rank, dim=-1).values[:, -1:]
        own = composed[:, self._shares.tokens]
        return weighted.masked_fill((logits <= 0) | (own < least) | own.isneginf(), 0.0)
