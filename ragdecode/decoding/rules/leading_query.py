"""Leading query contrastive decoding: less of what the model says when the question presses it to agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from ragdecode.decoding.contrasting import begins_from, contrasted, head, within
from ragdecode.decoding.own_view import OwnViewSettings
from ragdecode.decoding.rule import Company, Nodes, Rule
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    import torch

#: The view that the rule brings.
VIEW = "leading_query"


class LeadingQuerySettings(OwnViewSettings):
    """Settings of leading query contrastive decoding."""

    alpha: float = Field(default=1.0, ge=0.0, le=10.0)
    """Strength: 0 is plain decoding within the mask."""
    ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    """Tokens with less than this share of the neutral view's best probability are out; 0 keeps all."""
    neutral: str | None = None
    """A view of ``decode.views`` that asks the question without its suggestion; left out, the target, or what the
    rule before in the chain made of it."""

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        if self.neutral is not None and self.neutral in (self.view, VIEW):
            raise ValueError(f"the view '{self.neutral}' cannot be both neutral and leading; name another view")
        return self


@register("rule", "leading_query", LeadingQuerySettings)
class LeadingQuery(Rule):
    """Leading query contrastive decoding: a neutral question's prediction against that of a leading one.

    ``log p = (1 + alpha) log p(y | neutral) - alpha log p(y | leading)``, normalised on the tokens that the neutral
    view finds plausible. Source: Zhao et al., arXiv 2408.11261, where both questions are about an image; the formula
    is taken from a survey, the values of alpha and the ratio are unconfirmed. Reconstructed for text: the question
    as it was asked is taken for neutral, and the leading view asks it under a prompt that calls all that it
    suggests true. The paper's second version has a model rewrite a leading question and scales by its sentiment, which
    is left out; a rewritten question can be given as the view ``neutral``.
    """

    strength = "alpha"

    def __init__(self, settings: LeadingQuerySettings) -> None:
        super().__init__(settings)
        self._leading, self.declares = settings.brings(VIEW, "leading")

    @property
    def views(self) -> Sequence[str]:
        """The leading view, and the neutral one if it is not the target."""
        neutral = self.settings.neutral
        return tuple(view for view in (self._leading, neutral) if view not in (None, "with_context"))

    def check(self, company: Company) -> None:
        """Refuse a chain that begins with another rule, if the neutral view is not what that rule makes.

        Raises:
            InputError: What it makes would be lost.
        """
        begins_from(self.settings.neutral, self, company)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``; what is impossible in the composed distribution so far stays so."""
        neutral = nodes.composed if self.settings.neutral is None else nodes.log_probs[self.settings.neutral]
        scores = contrasted(neutral, nodes.log_probs[self._leading], self.settings.alpha)
        return within(head(neutral, self.settings.ratio), scores, nodes.composed)
