"""Look-back decoding: where the model begins to repeat itself, take a step back towards the prompt."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.contrasting import finite, only_possible
from ragdecode.decoding.rule import Company, Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request

#: The view whose distributions are compared.
_TARGET = "with_context"


class LookbackSettings(Settings):
    """Settings of look-back decoding."""

    threshold: float = Field(default=1.0, ge=0.0, le=100.0)
    """Alarm at a KL divergence to an earlier step of at most this, in nats; the paper takes 0.5 to 1.6. 0 is nearly
    never."""
    top_k: int = Field(default=8, ge=1, le=256)
    """Candidates that are looked at on alarm; 5, 8 or 10 in the paper."""
    window: int = Field(default=128, ge=1, le=4096)
    """How many earlier steps are compared."""
    prompt: int = Field(default=128, ge=1, le=8192)
    """How many of the prompt's last places a candidate may lead back to. Each keeps a distribution in memory."""
    history: Literal["answer", "all"] = "answer"
    """Which steps raise an alarm: the answer's own, or the prompt's places too, so that copying a passage does."""
    calm: Literal["greedy", "composed"] = "greedy"
    """Without an alarm: all on the best token, as published, or the composed distribution as it is. At temperature 0
    both are the same."""


@register("rule", "lookback", LookbackSettings)
class Lookback(Rule):
    """Look-back decoding: an alarm where a step repeats an earlier one, then a step back towards the prompt.

    With ``D = min_j KL(p_t || p_j)`` over the earlier steps j: if ``D <= threshold``, the distribution is
    ``softmax(-min_i KL(p(. | y, v) || p_i))`` over the ``top_k`` tokens v, for the prompt's places i; else the best
    token.
    At temperature 1 this is the published procedure, which draws on alarm alone; at temperature 0 the best candidate
    is taken. All divergences are of the target's own predictions, the candidates are the composed distribution's.
    Source: Xu et al., arXiv 2305.13477; its window is 128 steps. Whether these count the prompt's places is
    unconfirmed; the limit on the prompt is this package's.
    """

    remembers = True

    def __init__(self, settings: LookbackSettings) -> None:
        super().__init__(settings)
        self.expand = settings.top_k
        self.recalls = settings.window + 1
        self._backend: Backend | None = None
        self._tables: list[torch.Tensor] = []

    def check(self, company: Company) -> None:
        """Refuse rules behind it.

        Raises:
            InputError: One would work on what is no longer the model's prediction.
        """
        if company.rules[-1] is not self:
            raise InputError(
                f"'lookback' leaves one token or a few: '{company.rules[-1].part_name}' cannot work on it",
                hint="put it last in the chain",
            )

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Take the model whose head tells what follows a candidate.

        Raises:
            InputError: Its backend cannot project states.
        """
        backend = models[_TARGET]
        if "exit" not in backend.interventions:
            raise InputError(
                "the rule lookback asks what follows a candidate, which this backend cannot tell",
                hint="engine.backend: llama if the model is Llama-shaped",
            )
        self._backend = backend

    def start(self, request: Request) -> Rule:
        """The rule with the prompt's distributions of this request's own."""
        started = copy.copy(self)
        started._tables = []
        return started

    @property
    def views(self) -> Sequence[str]:
        """None besides the target."""
        return ()

    def reads(self, request: Request) -> Mapping[str, Sequence[range]]:
        """The last places of the prompt."""
        last = len(request.views[_TARGET].prompt) - 1
        places = range(max(0, last - self.settings.prompt), last)
        return {_TARGET: [places]} if places else {}

    def read(self, view: str, place: int, log_probs: torch.Tensor, hidden: torch.Tensor | None) -> None:
        """Keep what places of the prompt predict."""
        self._tables.append(finite(log_probs))

    def remember(self, nodes: Nodes) -> torch.Tensor:
        """What the target predicts at each node ``[N, V]``."""
        return finite(nodes.log_probs[_TARGET])

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Scores ``[N, V]``: of the candidates at nodes with an alarm, of the best token or as they were elsewhere."""
        import torch

        assert nodes.candidates is not None
        scores = nodes.composed
        if self.settings.calm == "greedy":
            best = scores.argmax(dim=-1, keepdim=True)
            scores = torch.full_like(scores, -math.inf).scatter(-1, best, 0.0)
        prompt = self._prompt(nodes)
        alarmed = self._alarmed(nodes, prompt)
        if not alarmed:
            return scores
        candidates = nodes.candidates[alarmed]
        weights = self._back(nodes, alarmed, prompt) if len(prompt) else nodes.composed[alarmed].gather(-1, candidates)
        stepped = torch.full_like(nodes.composed[alarmed], -math.inf).scatter(-1, candidates, weights)
        scores = scores.clone()
        scores[alarmed] = only_possible(stepped, nodes.composed[alarmed])
        return scores

    def _prompt(self, nodes: Nodes) -> torch.Tensor:
        """What the prompt's places predict ``[m, V]``, put together once."""
        import torch

        if len(self._tables) != 1:
            self._tables = [torch.cat(self._tables) if self._tables else nodes.composed[:0]]
        return self._tables[0]

    def _alarmed(self, nodes: Nodes, prompt: torch.Tensor) -> list[int]:
        """The nodes that predict what an earlier step predicted; all are read from the device at once."""
        import torch

        window = self.settings.window
        judged: dict[int, torch.Tensor] = {}
        for node in range(len(nodes.composed)):
            past = nodes.past(node, window + 1)
            now, before = past[-1:], past[:-1]
            if self.settings.history == "all" and len(before) < window:
                before = torch.cat([prompt[-(window - len(before)) :], before])
            if len(before):
                judged[node] = nearest(now, before)
        if not judged:
            return []
        apart = torch.cat([*judged.values()]).tolist()
        return [node for node, gap in zip(judged, apart, strict=True) if gap <= self.settings.threshold]

    def _back(self, nodes: Nodes, alarmed: Sequence[int], prompt: torch.Tensor) -> torch.Tensor:
        """How near each candidate of the alarmed nodes leads back to the prompt, negated ``[A, K]``."""
        assert self._backend is not None
        assert nodes.candidate_hidden is not None
        states = nodes.candidate_hidden[list(alarmed)]  # [A, K, H]
        logits = self._backend.project(states.flatten(0, 1), normed=False)[:, : nodes.composed.shape[-1]]
        after = finite(logits.to(nodes.composed.dtype).log_softmax(dim=-1))  # [A K, V]
        return -nearest(after, prompt).view(states.shape[:2])


def nearest(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """The smallest KL divergence in nats ``[N]`` of ``now [N, V]`` to any of ``before [m, V]``, log-probabilities."""
    p = now.exp()
    return (p * now).sum(dim=-1) - (p @ before.T).amax(dim=-1)
