"""Contrastive search: the probable token whose state is least like those of the tokens before it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.rule import Company, Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request

#: The view whose states are compared.
_TARGET = "with_context"


class ContrastiveSearchSettings(Settings):
    """Settings of contrastive search."""

    alpha: float = Field(default=0.6, ge=0.0, le=1.0)
    """How much likeness to earlier tokens counts against probability; 0 is greedy decoding."""
    top_k: int = Field(default=5, ge=1, le=256)
    """Candidates at every token: each costs a row of one token; 4 to 8 in the paper."""
    against: Literal["generated", "prompt", "all"] = "generated"
    """The tokens that are not to be repeated: those of the answer; the prompt's too, but for the passages; or all of
    them, as published, which makes copying from passages costly."""


@register("rule", "contrastive_search", ContrastiveSearchSettings)
class ContrastiveSearch(Rule):
    """Contrastive search: ``argmax (1 - alpha) p(v) - alpha max_j cos(h_v, h_j)`` over the ``top_k`` tokens v.

    h are last hidden states, h_v once v is read, h_j of the tokens before. It is a search and no distribution: the
    temperature has to be 0. Before the first token of an answer nothing counts against a candidate unless the prompt
    does. Source: SimCTG, Su et al., arXiv 2202.06417, and their code; the choice of earlier tokens is this package's.
    """

    hidden = True
    remembers = True
    reads_hidden = True

    def __init__(self, settings: ContrastiveSearchSettings) -> None:
        super().__init__(settings)
        self.expand = settings.top_k
        self._states: list[torch.Tensor] = []

    @property
    def evidence(self) -> bool:  # type: ignore[override]
        """Whether passages have to be told from the rest of the prompt."""
        return bool(self.settings.against == "prompt")

    def check(self, company: Company) -> None:
        """Refuse sampling, and rules behind it.

        Raises:
            InputError: There is nothing to sample from, or a rule would take scores for a prediction.
        """
        if company.sampling.temperature != 0:
            raise InputError(
                f"'contrastive_search' scores tokens and gives no distribution to sample from at a temperature of "
                f"{company.sampling.temperature:g}",
                hint="set sampling.temperature: 0",
            )
        if company.rules[-1] is not self:
            raise InputError(
                f"'contrastive_search' gives scores: '{company.rules[-1].part_name}' cannot work on it",
                hint="put it last in the chain",
            )

    @property
    def views(self) -> Sequence[str]:
        """None besides the target."""
        return ()

    def start(self, request: Request) -> Rule:
        """The rule with the prompt's states of this request's own; itself where they do not count."""
        if self.settings.against == "generated":
            return self
        started = copy.copy(self)
        started._states = []
        return started

    def reads(self, request: Request) -> Mapping[str, Sequence[range]]:
        """The places of the prompt that count, but for its last token, which is remembered like the answer's."""
        if self.settings.against == "generated":
            return {}
        view = request.views[_TARGET]
        left, spans = 0, []
        for one in sorted(view.evidence, key=lambda one: one.start) if self.settings.against == "prompt" else ():
            spans.append(range(left, one.start))
            left = max(left, one.stop)
        spans.append(range(left, len(view.prompt) - 1))
        return {_TARGET: [span for span in spans if span]}

    def read(self, view: str, place: int, log_probs: torch.Tensor, hidden: torch.Tensor | None) -> None:
        """Keep the states of places in the prompt."""
        assert hidden is not None
        self._states.append(_unit(hidden))

    def remember(self, nodes: Nodes) -> torch.Tensor:
        """The state of each node's token ``[N, H]``."""
        return _unit(nodes.hidden[_TARGET])

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Scores ``[N, V]`` whose largest is the search's choice, minus infinity for all but the candidates."""
        import torch

        assert nodes.candidates is not None
        assert nodes.candidate_hidden is not None
        alpha = self.settings.alpha
        probs = nodes.composed.gather(-1, nodes.candidates).exp()
        states = _unit(nodes.candidate_hidden)  # [N, K, H]
        likeness = torch.stack([self._likeness(nodes, node, own) for node, own in enumerate(states)])
        values = ((1.0 - alpha) * probs - alpha * likeness.to(probs)).masked_fill(probs == 0, -math.inf)
        return torch.full_like(nodes.composed, -math.inf).scatter(-1, nodes.candidates, values)

    def _likeness(self, nodes: Nodes, node: int, states: torch.Tensor) -> torch.Tensor:
        """The largest cosine of each of a node's candidates ``[K]`` with what came before."""
        past = nodes.past(node)
        if self.settings.against == "generated":
            past = past[1:]  # the first is the prompt's last token
        found = [(states @ table.T).amax(dim=-1) for table in [*self._states, past] if len(table)]
        largest = found[0] if found else states.new_zeros(len(states))
        for one in found[1:]:
            largest = largest.maximum(one)
        return largest


def _unit(states: torch.Tensor) -> torch.Tensor:
    """States ``[..., H]`` of length 1."""
    from torch.nn.functional import normalize

    return normalize(states if states.dtype.itemsize >= 4 else states.float(), dim=-1)
