"""Prompt lookup: what followed the same few tokens before, in the evidence or in the answer, may follow again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request


class PromptLookupSettings(Settings):
    """Settings of prompt lookup."""

    longest: int = Field(default=4, ge=1, le=16)
    """Longest run of last tokens that is looked for; longer matches are tried first."""
    shortest: int = Field(default=1, ge=1, le=16)
    """Shortest run of last tokens that may match."""
    branches: int = Field(default=3, ge=1, le=16)
    """How many different places to draft from at once; the drafts share a tree."""

    @model_validator(mode="after")
    def _ordered(self) -> PromptLookupSettings:
        if self.shortest > self.longest:
            raise ValueError(f"shortest ({self.shortest}) must not be above longest ({self.longest})")
        return self


@register("drafter", "prompt_lookup", PromptLookupSettings)
class PromptLookup(Drafter):
    """Drafts from the prompt (so from the retrieved passages) and from the answer itself, by n-gram match.

    Source: prompt lookup decoding (Saxena 2023), here with several continuations as a tree and the latest place
    first. Costs no forward pass; changes speed only.
    """

    def start(self, request: Request) -> DraftSession:
        """Index the target view's prompt."""
        from ragdecode.decoding.request import TARGET

        return _Session(self.settings, request.views[TARGET].prompt)


class _Session(DraftSession):
    """Tokens so far, and for every n-gram the places after it, latest last."""

    def __init__(self, settings: PromptLookupSettings, prompt: Sequence[int]) -> None:
        self._settings = settings
        self._prompt = len(prompt)
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], list[int]] = {}
        self._extend(prompt)

    def propose(self, nodes: int) -> Draft:
        """Continue from the latest places of the longest matching run of last tokens."""
        draft = _Trie()
        tried: set[int] = set()
        for size in range(min(self._settings.longest, len(self._tokens) - 1), self._settings.shortest - 1, -1):
            for place in reversed(self._places.get(tuple(self._tokens[-size:]), [])):
                if len(tried) == self._settings.branches:
                    return draft.build()
                if place < len(self._tokens) and place not in tried:
                    tried.add(place)
                    draft.add(self._tokens[place : place + nodes], size)
        return draft.build()

    def observe(self, verified: Verified) -> None:
        """Index what was accepted."""
        self._extend(verified.committed)

    def rewind(self, length: int) -> None:
        """Forget the end of the answer."""
        keep = self._prompt + length
        while len(self._tokens) > keep:
            for size in range(1, min(self._settings.longest, len(self._tokens)) + 1):
                self._places[tuple(self._tokens[-size:])].pop()
            self._tokens.pop()

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Draft from the new evidence instead of the old."""
        from ragdecode.decoding.request import TARGET

        if (prompt := prompts.get(TARGET)) is not None:
            answer = self._tokens[self._prompt :]
            self._prompt, self._tokens, self._places = len(prompt), [], {}
            self._extend([*prompt, *answer])

    def _extend(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            self._tokens.append(token)
            for size in range(1, min(self._settings.longest, len(self._tokens)) + 1):
                self._places.setdefault(tuple(self._tokens[-size:]), []).append(len(self._tokens))


class _Trie:
    """Continuations merged by common prefix, with scores that fall with depth and with later branches."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._scores: list[float] = []
        self._children: dict[tuple[int, int], int] = {}
        self._branches = 0

    def add(self, tokens: Sequence[int], size: int) -> None:
        """Add a continuation that followed a match of ``size`` tokens."""
        # longer matches are more often right; a second branch is worth less than the first one's next tokens
        step = 1.0 - 0.5 / (1 + size)
        score, node = 0.5**self._branches, -1
        self._branches += 1
        for token in tokens:
            score *= step
            child = self._children.get((node, token))
            if child is None:
                child = len(self._tokens)
                self._children[node, token] = child
                self._tokens.append(token)
                self._parents.append(node)
                self._scores.append(score)
            node = child

    def build(self) -> Draft:
        return Draft(self._tokens, self._parents, self._scores)
