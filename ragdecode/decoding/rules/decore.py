"""Decoding by contrasting retrieval heads: away from what the model says with its copying heads switched off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from ragdecode.decoding.contrasting import contrasted, entropy, finite, head, within
from ragdecode.decoding.head_check import check_heads
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.decode import HeadsSpec, InterventionSpec, ViewSpec
from ragdecode.spec.heads import HeadListSpec, check_top
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend

#: The view that it brings.
_MASKED = "masked"


class DecoreSettings(Settings):
    """Settings of decoding by contrasting retrieval heads."""

    heads: Annotated[HeadListSpec, Reference("heads")]
    """The model's retrieval heads, best first, as `ragdecode heads` writes them."""
    top: int = Field(default=10, ge=1)
    """How many of them are switched off, from the best."""
    how: Literal["zero", "uniform"] = "zero"
    """``zero``: a head adds nothing, as in the paper. ``uniform``: it sees all alike, as in the paper's code."""
    prompt: bool = False
    """Whether the prompt is read without them too; else it is shared with the target, but for its last token."""
    alpha: float | None = Field(default=None, ge=-1.0, le=10.0)
    """A constant weight, 0.5 in the paper. Left out, the weight is the target's entropy at each token, in nats."""
    normalise: bool = False
    """Divide the entropy by its largest value, the logarithm of the vocabulary's size."""
    cap: float | None = Field(default=None, gt=0.0)
    """The most that the entropy may weigh; without limit if left out."""
    ratio: float = Field(default=0.0, ge=0.0, le=1.0)
    """Tokens with less than this share of the best one's probability are out; 0, as in the paper, keeps all."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if "top" in self.model_fields_set:
            check_top(self.top, self.heads)
        if self.alpha is not None and (self.normalise or self.cap is not None):
            raise ValueError("'normalise' and 'cap' are about the entropy, which a constant 'alpha' replaces")
        return self


@register("rule", "decore", DecoreSettings)
class Decore(Rule):
    """Decoding by contrasting retrieval heads (DeCoRe), weighted by how unsure the model is.

    ``log p = (1 + alpha) log p_b - alpha log p_m``, normalised: p_b is the target, p_m the same model with its
    retrieval heads switched off, ``alpha`` the entropy of p_b in nats, or a constant. Source: Gema et al., arXiv
    2410.18860. The paper writes a head's output as 0; the published code makes it look at all tokens alike.
    """

    strength = "alpha"

    def __init__(self, settings: DecoreSettings) -> None:
        super().__init__(settings)
        top = min(settings.top, len(settings.heads.heads))
        heads = HeadsSpec(list=settings.heads, top=top, how=settings.how, prompt=settings.prompt)
        self.declares: Mapping[str, ViewSpec] = {_MASKED: ViewSpec(intervention=InterventionSpec(heads=heads))}

    @property
    def views(self) -> Sequence[str]:
        """The view without the heads, which it brings itself."""
        return (_MASKED,)

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Refuse a list of heads that is another model's."""
        if _MASKED in models:
            spec: HeadListSpec = self.settings.heads
            check_heads("the list of heads of 'decore'", spec.model, spec.heads[: self.settings.top], models[_MASKED])

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; later in a chain, the composed distribution so far takes the target's part.

        What is impossible there stays impossible.
        """
        composed = nodes.composed
        scores = contrasted(composed, nodes.log_probs[_MASKED], self._weight(composed))
        return scores if self.settings.ratio == 0 else within(head(composed, self.settings.ratio), scores, composed)

    def _weight(self, composed: torch.Tensor) -> torch.Tensor | float:
        """The weight of the contrast, for all nodes or of each ``[N, 1]``."""
        settings = self.settings
        if settings.alpha is not None:
            return float(settings.alpha)
        weight = entropy(finite(composed))
        if settings.normalise:
            weight = weight / math.log(composed.shape[-1])
        return weight if settings.cap is None else weight.clamp(max=settings.cap)
