"""Prompt lookup: what followed the same tokens before, in the evidence or in the answer, may follow again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.decoding.drafting.growth import grow
from ragdecode.decoding.drafting.rates import Rates
from ragdecode.decoding.drafting.suffix_automaton import SuffixAutomaton
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request

#: Acceptance to start from. Rows: length of the match (1, 2, 3, 4, 5 to 8, more). Columns: share of what followed it
#: (below 0.15, 0.34, 0.6, above), each as first choice and as a later one. Measured on prompts of Spec-Bench.
_PRIORS = (
    (0.12, 0.05, 0.20, 0.11, 0.46, 0.15, 0.80, 0.33),
    (0.16, 0.07, 0.20, 0.13, 0.48, 0.15, 0.77, 0.35),
    (0.17, 0.08, 0.23, 0.17, 0.70, 0.25, 0.77, 0.40),
    (0.18, 0.08, 0.30, 0.18, 0.71, 0.30, 0.80, 0.40),
    (0.25, 0.10, 0.40, 0.18, 0.80, 0.35, 0.83, 0.42),
    (0.25, 0.10, 0.47, 0.18, 0.89, 0.35, 0.95, 0.45),
)


class PromptLookupSettings(Settings):
    """Settings of prompt lookup."""

    longest: int = Field(default=32, ge=1, le=256)
    """Longest run of last tokens that is looked for; a longer match counts as one of this length."""
    shortest: int = Field(default=1, ge=1, le=256)
    """Shortest run of last tokens that may match."""
    branches: int = Field(default=5, ge=1, le=16)
    """How many different next tokens are considered after each drafted one."""

    @model_validator(mode="after")
    def _ordered(self) -> PromptLookupSettings:
        if self.shortest > self.longest:
            raise ValueError(f"shortest ({self.shortest}) must not be above longest ({self.longest})")
        return self


@register("drafter", "prompt_lookup", PromptLookupSettings)
class PromptLookup(Drafter):
    """Drafts from the prompt (so from the retrieved passages) and from the answer itself, by their longest matches.

    Source: prompt lookup decoding (Saxena 2023), here over a suffix automaton as in SAM-Decoding (Hu et al. 2025),
    with a tree of continuations as in suffix decoding (Oliaro et al., arXiv 2411.04975). Costs no forward pass;
    changes speed only.
    """

    def start(self, request: Request) -> DraftSession:
        """Index the target view's prompt."""
        from ragdecode.decoding.request import TARGET

        return _Session(self.settings, request.views[TARGET].prompt)


class _Session(DraftSession):
    """The automaton over prompt and answer, and how well its drafts did."""

    def __init__(self, settings: PromptLookupSettings, prompt: Sequence[int]) -> None:
        self._settings = settings
        self._rates = Rates([rate for row in _PRIORS for rate in row])
        self._draft = Draft()
        self._answer: list[int] = []
        self._index(prompt)

    def propose(self, nodes: int) -> Draft:
        """Grow a tree from what followed the longest match and its suffixes, as likely as they were so far."""
        draft = grow(self._automaton.context(), self._children, nodes)
        self._draft = replace(draft, matched=self._automaton.match()[1])
        return self._draft

    def observe(self, verified: Verified) -> None:
        """Index what was accepted, and count which drafts were."""
        self._rates.observe(self._draft, verified)
        self._draft = Draft()
        self._automaton.extend(verified.committed)
        self._answer += verified.committed

    def rewind(self, length: int) -> None:
        """Forget the end of the answer; how often drafts of each class were right is kept."""
        self._automaton.rewind(self._prompt + length)
        del self._answer[length:]

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Draft from the new evidence instead of the old."""
        from ragdecode.decoding.request import TARGET

        if (prompt := prompts.get(TARGET)) is not None:
            self._index(prompt)

    def _index(self, prompt: Sequence[int]) -> None:
        self._prompt = len(prompt)
        self._automaton = SuffixAutomaton(self._settings.longest)
        self._automaton.extend(prompt, undoable=False)
        self._automaton.extend(self._answer)

    def _children(self, context: tuple[int, int]) -> Iterator[tuple[int, float, int, tuple[int, int]]]:
        """What followed a context, then what else followed its suffixes; the longest first."""
        state, length = context
        known: set[int] = set()
        while state and length >= self._settings.shortest:
            total, best = self._automaton.following(state, self._settings.branches)
            unsure = total + self._automaton.distinct(state)
            for token, often, _ in best:
                if token in known:
                    continue
                kind = match_class(length, often / unsure, len(known))
                yield token, self._rates[kind], kind, self._automaton.step(state, length, token)
                known.add(token)
                if len(known) == self._settings.branches:
                    return
            state, length = self._automaton.shorter(state)


def match_class(length: int, share: float, rank: int) -> int:
    """The class of a token that followed a match.

    Args:
        length: Tokens that match.
        share: How often it followed, out of how often anything did plus one for each different token (so that what
            was seen once is not taken for certain: the estimate of PPM's method C, Moffat 1990).
        rank: 0 for the first choice after its parent.
    """
    row = length - 1 if length <= 4 else 4 if length <= 8 else 5
    column = 0 if share < 0.15 else 1 if share < 0.34 else 2 if share < 0.6 else 3
    return (row * 4 + column) * 2 + (rank > 0)
