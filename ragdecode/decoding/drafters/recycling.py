"""Token recycling: what the model predicted after a token before, taken or not, may be what follows it now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.decoding.drafting.growth import grow
from ragdecode.decoding.drafting.rates import Rates
from ragdecode.decoding.drafting.successors import BINS, Successors
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request

#: Acceptance to start from. Rows: rank (0, 1, 2, 3 and below). Columns: bin of the probability then (below 0.05, 0.2,
#: 0.6, above), each without and with the same pair of tokens in the prompt. Measured on prompts of Spec-Bench.
_PRIORS = (
    (0.03, 0.10, 0.06, 0.30, 0.21, 0.40, 0.45, 0.62),
    (0.03, 0.08, 0.07, 0.15, 0.14, 0.25, 0.14, 0.25),
    (0.02, 0.06, 0.05, 0.12, 0.10, 0.18, 0.10, 0.18),
    (0.015, 0.05, 0.03, 0.08, 0.06, 0.12, 0.06, 0.12),
)
#: The same for pairs of tokens of the prompt alone, by rank (0, 1, 2 and below).
_PROMPT_PRIORS = (0.3, 0.07, 0.06)
_RANKS = len(_PRIORS)
_OWN = _RANKS * BINS * 2


class RecyclingSettings(Settings):
    """Settings of token recycling."""

    candidates: int = Field(default=8, ge=1, le=64)
    """How many predictions are remembered after each token."""
    scope: Literal["request", "process"] = "request"
    """Whose predictions are recycled: this request's alone, or those of all requests since the pipeline was loaded.
    The latter drafts better, but how fast an answer comes can then tell what others were answered."""
    prompt: bool = True
    """Whether pairs of neighbours in the prompt stand in where nothing was predicted yet."""


@register("drafter", "recycling", RecyclingSettings)
class Recycling(Drafter):
    """Drafts from the model's own earlier predictions, those of rejected drafts included.

    Source: Token Recycling (Luo et al., arXiv 2408.08696). The tree is not the paper's template of 80 nodes but
    grown for the room there is, by the acceptance measured for each rank and probability. Costs no forward pass;
    changes speed only.
    """

    def __init__(self, settings: RecyclingSettings) -> None:
        super().__init__(settings)
        self._shared = Successors(settings.candidates)

    def start(self, request: Request) -> DraftSession:
        """Begin with an empty table, or with that of all requests."""
        from ragdecode.decoding.request import TARGET

        own = self.settings.scope == "request"
        table = Successors(self.settings.candidates) if own else self._shared
        return _Session(table, request.views[TARGET].prompt, self.settings)


class _Session(DraftSession):
    """The table, the pairs of the prompt, and how well drafts did."""

    def __init__(self, table: Successors, prompt: Sequence[int], settings: RecyclingSettings) -> None:
        self._table = table
        self._settings = settings
        self._rates = Rates([*(rate for row in _PRIORS for rate in row), *_PROMPT_PRIORS])
        self._draft = Draft()
        self._answer: list[int] = []
        self._read(prompt)

    def propose(self, nodes: int) -> Draft:
        """Grow a tree of successors of successors, as likely as they were so far."""
        self._draft = grow(self._answer[-1] if self._answer else self._end, self._children, nodes)
        return self._draft

    def observe(self, verified: Verified) -> None:
        """Remember what was predicted after every fed token."""
        self._rates.observe(self._draft, verified)
        self._draft = Draft()
        self._table.write(verified)
        self._answer += verified.committed

    def rewind(self, length: int) -> None:
        """Forget the end of the answer; predictions stay: they hold for tokens, not for places."""
        del self._answer[length:]

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Take the pairs of the new prompt."""
        from ragdecode.decoding.request import TARGET

        if (prompt := prompts.get(TARGET)) is not None:
            self._read(prompt)

    def _read(self, prompt: Sequence[int]) -> None:
        """Note what followed each token of the prompt, the latest last."""
        self._end = prompt[-1]
        self._pairs: dict[int, dict[int, None]] = {}
        if self._settings.prompt:
            for token, after in pairwise(prompt):
                known = self._pairs.setdefault(token, {})
                known.pop(after, None)
                known[after] = None

    def _children(self, token: int) -> Iterator[tuple[int, float, int, int]]:
        """What was predicted after a token, best first, then what else follows it in the prompt, latest first."""
        pairs = self._pairs.get(token, {})
        known: set[int] = set()
        for rank, (after, level) in enumerate(zip(*self._table.after(token), strict=True)):
            if after >= 0:
                kind = (min(rank, _RANKS - 1) * BINS + level) * 2 + (after in pairs)
                known.add(after)
                yield after, self._rates[kind], kind, after
        for rank, after in zip(range(self._settings.candidates), reversed(pairs), strict=False):
            if after not in known:
                kind = _OWN + min(rank, len(_PROMPT_PRIORS) - 1)
                yield after, self._rates[kind], kind, after
