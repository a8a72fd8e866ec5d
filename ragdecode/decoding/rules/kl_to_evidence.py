"""Grounding by the evidence's own predictions: of the plausible tokens those that were expected while it was read."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from ragdecode.decoding.contrasting import finite
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request

#: The view whose evidence is read.
_TARGET = "with_context"


class KlToEvidenceSettings(Settings):
    """Settings of grounding by the evidence's own predictions."""

    form: Literal["mild", "paper"] = "mild"
    """``mild`` adds ``gamma`` times the score to what is composed so far; ``paper`` puts the score in its place."""
    gamma: float = Field(default=0.5, ge=0.0, le=10.0)
    """Strength of the mild form: 0 is the composed distribution on the candidates."""
    candidates: Literal["knee", "nucleus"] = "knee"
    """Which tokens may come next: those before the largest drop of the sorted probabilities, or the smallest set with
    ``top_p`` of the mass."""
    top_p: float = Field(default=0.5, gt=0.0, le=1.0)
    """Mass of the nucleus."""
    temperature: float = Field(default=0.5, gt=0.0, le=10.0)
    """Temperature at which the nucleus is taken; not that of sampling."""

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.form == "paper" and "gamma" in self.model_fields_set and self.gamma != 0.5:
            raise ValueError("'gamma' is for the form 'mild': the paper's form has no strength; leave one out")
        return self


@register("rule", "kl_to_evidence", KlToEvidenceSettings)
class KlToEvidence(Rule):
    """Among plausible tokens, those that the model itself expected somewhere in the passages.

    The score of a token is ``max_j log p_j(y)`` over the places j from the one before each passage to its last but one:
    the negative of the smallest KL divergence between the token and what was predicted there. It is folded while the
    prompt is read and costs nothing afterwards. Source: the idea of VDGD, Ghosh et al., arXiv 2405.15683, with
    retrieved passages in place of a description of an image; formula and candidates of the paper, nucleus and its
    values of the code, which computes something else in effect. The mild form is this package's. Without known
    passages the rule leaves all as it is.
    """

    evidence = True

    def __init__(self, settings: KlToEvidenceSettings) -> None:
        super().__init__(settings)
        self._best: torch.Tensor | None = None

    @property
    def views(self) -> Sequence[str]:
        """None besides the target."""
        return ()

    def start(self, request: Request) -> Rule:
        """The rule with a score table of the request's own."""
        started = copy.copy(self)
        if not self.reads(request):
            started.notes = ("it is not known where the prompt shows passages, if any, so that it did not act",)
        return started

    def reads(self, request: Request) -> Mapping[str, Sequence[range]]:
        """Places that predict the tokens of passages."""
        spans = [range(max(one.start - 1, 0), one.stop - 1) for one in request.views[_TARGET].evidence]
        spans = [span for span in spans if span]
        return {_TARGET: spans} if spans else {}

    def read(self, view: str, place: int, log_probs: torch.Tensor, hidden: torch.Tensor | None) -> None:
        """Fold what places predict into the best score of each token."""
        best = log_probs.amax(dim=0)
        self._best = best if self._best is None else self._best.maximum(best)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Scores ``[N, V]``: of the candidates by the evidence, minus infinity for all others."""
        if self._best is None:
            return nodes.composed
        best = finite(self._best)
        scores = best.expand_as(nodes.composed)
        if self.settings.form == "mild":
            scores = nodes.composed + self.settings.gamma * best
        return scores.masked_fill(~self._candidates(nodes.composed), -math.inf)

    def _candidates(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Which tokens may come next, bool ``[N, V]``; the best is always among them, and no impossible one."""
        settings = self.settings
        if settings.candidates == "nucleus":
            warm = (log_probs / settings.temperature).log_softmax(dim=-1)
            ordered = warm.sort(dim=-1, descending=True).values
            short = (ordered.exp().cumsum(dim=-1) < settings.top_p).sum(dim=-1, keepdim=True)
            kept: torch.Tensor = warm >= ordered.gather(-1, short.clamp(max=warm.shape[-1] - 1))
        else:
            ordered = log_probs.sort(dim=-1, descending=True).values
            drops = ordered.exp().diff(dim=-1).neg()
            kept = log_probs >= ordered.gather(-1, drops.argmax(dim=-1, keepdim=True))
        return kept.logical_and(~log_probs.isneginf())
