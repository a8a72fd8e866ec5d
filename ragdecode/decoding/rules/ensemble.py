"""An ensemble over passages: each is read alone, and what they predict is mixed token by token."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.contrasting import entropy, finite
from ragdecode.decoding.nesting import check_nested
from ragdecode.decoding.rule import Company, Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.decode import ViewPassages, ViewSpec
from ragdecode.spec.part import Rules
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request, View

#: The softmax over scores is taken at this temperature where none is given.
_TEMPERATURE = {"relative": 0.25, "raw": 1.0}


class EnsembleSettings(Settings):
    """Settings of the ensemble over passages."""

    passages: int = Field(default=4, ge=1, le=64)
    """How many passages vote, from the first: a row of the model each. A request with fewer has fewer voters."""
    weights: Literal["scores", "uniform", "rank", "entropy"] = "scores"
    """How much each vote counts: by the retriever's score, all alike, by the inverse of the place (1, 1/2, 1/3, ...),
    or at every token by how sure the view is, with the weight ``exp(-entropy / temperature)``."""
    scale: Literal["relative", "raw"] = "relative"
    """Retrievers score on scales of their own. ``relative`` divides the scores by the largest absolute one first;
    ``raw`` takes them as they are, as the papers do with the similarity of a dense retriever."""
    temperature: float | None = Field(default=None, gt=0.0, le=1000.0)
    """Of the softmax that makes weights of scores or entropies. Left out, 0.25 for relative scores, else 1."""
    mix: Literal["probabilities", "product"] = "probabilities"
    """``probabilities`` averages them: one sure view is enough. ``product`` averages log-probabilities: a token
    that one view rules out is out."""
    whole: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the vote that the target has, which shows all passages at once. With 0 it is not read."""
    of: Rules = ()
    """Rules that act on each view first, such as ``cad``; they see it in the place of the target."""


@register("rule", "ensemble", EnsembleSettings)
class Ensemble(Rule):
    """One view a passage, mixed at every token: the passages vote, and need not be read together.

    ``p(y) = sum_i w_i p(y | passage i, question)``, with ``w = softmax(scores / temperature)`` over the passages that
    the request has, set once for an answer. Source: REPLUG (Shi et al., arXiv 2301.12652) and RA-DIT (Lin et al.,
    arXiv 2310.01352), which weigh by the retriever's own scores. Weights by entropy are after the document ensemble
    of arXiv 2406.17519, whose contrast with an inner layer is left out; its exact equation is unconfirmed. The relative
    scale, the ranks and the nesting of rules are this package's. Where a score is not known, all weigh alike.
    """

    reweighs = "evidence"
    evidence = True

    def __init__(self, settings: EnsembleSettings) -> None:
        super().__init__(settings)
        self.rules: list[Rule] = [part.build() for part in settings.of]
        check_nested(self, self.rules)
        self._members = tuple(f"passage_{place}" for place in range(1, settings.passages + 1))
        brought = {view: spec for rule in self.rules for view, spec in rule.declares.items()}
        own = {
            name: ViewSpec(passages=ViewPassages(only=place), role="rule")
            for place, name in enumerate(self._members, start=1)
        }
        self.declares: Mapping[str, ViewSpec] = {**own, **brought}
        self.optional: Collection[str] = frozenset(self._members[1:])
        self._log_weights: dict[str, float] | None = None

    @property
    def views(self) -> Sequence[str]:
        """A view a passage, then those that the nested rules read."""
        nested = [view for rule in self.rules for view in rule.views]
        return tuple(dict.fromkeys([*self._members, *nested]))

    def check(self, company: Company) -> None:
        """Refuse a chain that begins with another rule.

        Raises:
            InputError: What that rule makes would be thrown away.
        """
        if company.rules[0] is not self:
            raise InputError(
                f"'ensemble' begins from the views of the passages: what '{company.rules[0].part_name}' makes of the "
                "target would be lost",
                hint="put it first in the chain, and rules that should act on every passage under 'ensemble.of'",
            )

    def start(self, request: Request) -> Rule:
        """The rule with this request's weights; itself where they do not depend on the request."""
        if self.settings.weights != "scores":
            return self
        started = copy.copy(self)
        started._log_weights = self._by_score(request.views)
        if started._log_weights is None:
            started.notes = ("the score of a passage is not known, so that all weigh alike",)
        return started

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """The mixture, scores ``[N, V]``; composed as it is for a request without passages."""
        import torch

        names = [name for name in self._members if name in nodes.log_probs]
        if not names:
            return nodes.composed
        votes = torch.stack([self._ruled(nodes, nodes.log_probs[name]) for name in names])  # [M, N, V]
        weights = self._weigh(names, votes)  # [M, N, 1]
        whole = self.settings.whole
        if whole > 0:
            target = self._ruled(nodes, nodes.composed)
            votes = torch.cat([votes, target[None]])
            own = torch.full_like(weights[:1], math.log(whole))
            weights = torch.cat([weights + math.log1p(-whole), own])
        if self.settings.mix == "probabilities":
            return (votes + weights).logsumexp(dim=0)
        mean = (finite(votes) * weights.exp()).sum(dim=0)
        out = votes.isneginf().any(dim=0)
        return mean.masked_fill(out & ~out.all(dim=-1, keepdim=True), -math.inf)

    def _ruled(self, nodes: Nodes, view: torch.Tensor) -> torch.Tensor:
        """A view's log-probabilities ``[N, V]`` after the nested rules, to which it is the target."""
        voice = view
        for rule in self.rules:
            own = {**nodes.log_probs, "with_context": view}
            voice = rule.compose(replace(nodes, composed=voice, log_probs=own)).log_softmax(dim=-1)
        return voice

    def _weigh(self, names: Sequence[str], votes: torch.Tensor) -> torch.Tensor:
        """Logarithms of the weights of M members ``[M, N, 1]``, of their votes ``[M, N, V]``; they sum to 1."""
        import torch

        if self.settings.weights == "entropy":
            surest: torch.Tensor = -entropy(finite(votes)) / (self.settings.temperature or 1.0)
            return surest.log_softmax(dim=0)
        logs = [0.0] * len(names)
        if self.settings.weights == "rank":
            logs = [-math.log(1 + self._members.index(name)) for name in names]
        elif self._log_weights is not None:
            logs = [self._log_weights.get(name, 0.0) for name in names]
        table = torch.tensor(logs, dtype=votes.dtype, device=votes.device).log_softmax(dim=0)
        return table[:, None, None].expand(-1, votes.shape[1], 1)

    def _by_score(self, views: Mapping[str, View]) -> dict[str, float] | None:
        """Scores over the temperature by view; None if one is not known."""
        names = [name for name in self._members if name in views]
        found = [views[name].evidence for name in names]
        if not all(found):
            return None
        scores = [one[0].score for one in found]
        largest = max((abs(score) for score in scores), default=0.0)
        if not math.isfinite(largest):
            return None
        relative = self.settings.scale == "relative"
        unit = (largest or 1.0) if relative else 1.0
        unit *= self.settings.temperature or _TEMPERATURE[self.settings.scale]
        return {name: score / unit for name, score in zip(names, scores, strict=True)}
