"""Lookahead decoding: the model itself guesses ahead in the room that verification leaves."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.decoding.drafting.jacobi import JacobiWindow
from ragdecode.decoding.drafting.pool import Pool
from ragdecode.decoding.drafting.rates import Rates, fed_nodes
from ragdecode.decoding.drafting.trie import Trie
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request

#: Acceptance to start from. Rows: how many later n-grams of text there are (0, 1, 2 and more), then the same for those
#: of the window. Columns: token of the continuation (1, 2, 3 and later). Measured on prompts of Spec-Bench.
_PRIORS = (
    (0.27, 0.51, 0.50),
    (0.11, 0.38, 0.38),
    (0.07, 0.20, 0.20),
    (0.20, 0.40, 0.45),
    (0.10, 0.30, 0.35),
    (0.06, 0.15, 0.20),
)
_RANKS = len(_PRIORS) // 2
_STEPS = len(_PRIORS[0])
_WINDOW = len(_PRIORS) * _STEPS
_WINDOW_PRIOR = 0.03


class LookaheadSettings(Settings):
    """Settings of lookahead decoding; all are cut to the room that a step has."""

    level: int = Field(default=4, ge=2, le=8)
    """Tokens of an n-gram (N)."""
    window: int = Field(default=4, ge=1, le=32)
    """Columns of guesses that are improved at once (W); each takes N - 1 tokens of a pass."""
    guesses: int = Field(default=6, ge=1, le=32)
    """N-grams that are kept, and verified, after each token (G), of the window and of text each; each takes up to
    N - 1 tokens of a pass."""
    prompt: bool = True
    """Whether n-grams of the prompt are in the pool from the beginning."""


@register("drafter", "lookahead", LookaheadSettings)
class Lookahead(Drafter):
    """Drafts n-grams that the model made up itself, by Jacobi iteration in unused room of its passes.

    Source: lookahead decoding (Fu et al., arXiv 2402.02057), its window and its branches as one tree. Costs no
    forward pass, but tokens of each; changes speed only.
    """

    def start(self, request: Request) -> DraftSession:
        """Begin with a window of made-up tokens and the n-grams of the prompt."""
        from ragdecode.decoding.request import TARGET

        return _Session(self.settings, request.views[TARGET].prompt)


class _Session(DraftSession):
    """The window, the pool, and how well drafts did."""

    def __init__(self, settings: LookaheadSettings, prompt: Sequence[int]) -> None:
        self._settings = settings
        self._rates = Rates([*(rate for row in _PRIORS for rate in row), _WINDOW_PRIOR])
        self._answer: list[int] = []
        self._tail: list[int] = []
        self._draft = Draft()
        self._read(prompt)

    def propose(self, nodes: int) -> Draft:
        """N-grams of the pool that begin with the last token, and the window; a half each where room is short."""
        rows = self._settings.level - 1
        columns = min(self._settings.window, nodes // 2 // rows)
        trie = self._guesses().best(nodes - columns * rows)
        # what the pool does not need goes to the window
        columns = min(self._settings.window, max(nodes - len(trie), 0) // rows)
        self._window.place(trie, columns, self._rates[_WINDOW], _WINDOW)
        self._draft = trie.draft(whole=True)
        return self._draft

    def observe(self, verified: Verified) -> None:
        """Take the window's new guesses, and the n-grams of what was accepted."""
        self._rates.observe(self._draft, verified)
        if self._draft.tokens:
            nodes = fed_nodes(self._draft, verified)
            predicted, _ = verified.top(1)
            for first, continuation in self._window.advance(nodes, predicted, len(verified.committed)):
                self._foreseen.add(first, continuation)
        self._draft = Draft()
        text = [*self._tail, *verified.committed]
        self._pool.add_text(text, len(self._tail))
        self._tail = text[-self._settings.level :]
        self._answer += verified.committed

    def rewind(self, length: int) -> None:
        """Start the window anew at the end that is left; the pool stays: n-grams hold for tokens, not for places."""
        del self._answer[length:]
        self._tail = [*self._end, *self._answer][-self._settings.level :]
        self._open()

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Take the n-grams of the new prompt, and forget the others."""
        from ragdecode.decoding.request import TARGET

        if (prompt := prompts.get(TARGET)) is not None:
            self._read(prompt)

    def _read(self, prompt: Sequence[int]) -> None:
        level = self._settings.level
        self._prompt = prompt
        self._end = list(prompt[-level:])
        # apart, so that what the window makes up does not drive out what was written
        self._pool = Pool(level - 1, self._settings.guesses)
        self._foreseen = Pool(level - 1, self._settings.guesses)
        if self._settings.prompt:
            self._pool.add_text(prompt)
        self._pool.add_text([*self._end, *self._answer], len(self._end))
        self._tail = [*self._end, *self._answer][-level:]
        self._open()

    def _open(self) -> None:
        """A window of tokens that occur in the prompt."""
        draw = random.Random(0)  # noqa: S311 - the same for the same request, no secret
        self._window = JacobiWindow(self._settings.level - 1, lambda: draw.choice(self._prompt))
        self._draft = Draft()

    def _guesses(self) -> Trie:
        """All n-grams of text and of the window that begin with the last token."""
        trie = Trie()
        for first, pool in ((0, self._pool), (_RANKS, self._foreseen)):
            for rank, continuation in enumerate(pool.after(self._tail[-1])):
                node, score = -1, 1.0
                for step, token in enumerate(continuation):
                    kind = (first + min(rank, _RANKS - 1)) * _STEPS + min(step, _STEPS - 1)
                    score *= self._rates[kind]
                    node = trie.add(node, token, score, kind)
        return trie
