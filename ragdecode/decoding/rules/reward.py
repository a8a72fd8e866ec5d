"""Reward-augmented decoding: add what a scorer thinks of each candidate to its log-probability."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from ragdecode.decoding.reward_head import RewardHead
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.part import Scorer
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.scorer import ScorerSession

#: The view whose hidden states a head reads.
_TARGET = "with_context"


class ArmSettings(Settings):
    """Settings of a linear reward head."""

    file: ExistingPath
    """A safetensors file with ``baseline.weight [H]``, ``baseline.bias []``, ``left [H, R]`` and ``right [R, H]``."""


class RewardSettings(Settings):
    """Settings of reward-augmented decoding; a scorer or a head, ``support`` if neither is named."""

    scorer: Scorer | None = None
    """A part that scores candidates from 0 to 1."""
    arm: ArmSettings | None = None
    """A head over the model's own hidden states, in one product for all candidates."""
    top_k: int = Field(default=20, ge=1, le=256)
    """Candidates at every token: the best ones of the distribution so far. Others are out."""
    beta: float = Field(default=30.0, ge=0.0, le=1000.0)
    """Strength: what a reward of 1 adds to a log-probability. 10 to 50 in the paper."""
    avoid: bool = False
    """Reward the opposite: ``1 - score``."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.scorer is not None and self.arm is not None:
            raise ValueError("name one: 'scorer' or 'arm'")
        return self


@register("rule", "reward", RewardSettings)
class Reward(Rule):
    """Reward-augmented decoding: ``log p(v) + beta clamp(rho(v), 0, 1)`` on the ``top_k`` tokens v, none beside them.

    rho is a scorer's opinion of the text so far with v, or the output of a linear head over the hidden state:
    ``rho(v) = baseline(h) + <left right h, e_v>``. Sources: RAD, Deng and Raffel, arXiv 2310.09520, where rho is a
    reward model; ARM, Troshin et al., arXiv 2407.04615, for the head; its exact equation is unconfirmed. Where a
    request has nothing to score by, such as no passages, the rule does not act.
    """

    evidence = True

    def __init__(self, settings: RewardSettings) -> None:
        super().__init__(settings)
        self.hidden = settings.arm is not None  # type: ignore[misc]
        part = settings.scorer
        if part is None and settings.arm is None:
            from ragdecode.spec.part import PartKind

            part = PartKind("scorer").validate("support")
        self._scorer = part.build() if part is not None else None
        self._session: ScorerSession | None = None
        self._head: RewardHead | None = None
        self._model: Backend | None = None

    @property
    def views(self) -> Sequence[str]:
        """None besides the target."""
        return ()

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Read the head for this model.

        Raises:
            InputError: It is none of this model.
        """
        if self.settings.arm is not None and self._model is not models[_TARGET]:
            self._head = RewardHead.load(Path(self.settings.arm.file), models[_TARGET])
            self._model = models[_TARGET]

    def start(self, request: Request) -> Rule:
        """The rule with this request's scorer; itself where a head scores."""
        if self._scorer is None:
            return self
        started = copy.copy(self)
        started._session = self._scorer.start(request)
        if started._session is None:
            started.notes = ("did not act: there are no passages to score by",)
        return started

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Scores ``[N, V]``, minus infinity off the candidates; composed as it is where nothing can be scored."""
        import torch

        if self._scorer is not None and self._session is None:
            return nodes.composed
        best = nodes.composed.topk(min(self.settings.top_k, nodes.composed.shape[-1]), dim=-1)
        rewards = self._rewards(nodes, best.indices).to(best.values).clamp(0.0, 1.0)
        if self.settings.avoid:
            rewards = 1.0 - rewards
        values = best.values + self.settings.beta * rewards
        return torch.full_like(nodes.composed, -math.inf).scatter(-1, best.indices, values)

    def _rewards(self, nodes: Nodes, candidates: torch.Tensor) -> torch.Tensor:
        """Rewards of candidates ``[N, k]``."""
        import torch

        if self._session is None:
            assert self._head is not None
            assert self._model is not None
            return self._head.score(nodes.hidden[_TARGET], candidates, self._model)
        session = self._session
        paths = [nodes.path(node, session.last) for node in range(len(candidates))]
        scores = session.score(paths, candidates.tolist())
        return torch.tensor(scores, dtype=nodes.composed.dtype, device=candidates.device)
