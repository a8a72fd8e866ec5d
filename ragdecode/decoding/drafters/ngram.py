"""N-grams: an n-gram model that learns from the prompt and from every accepted token drafts what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.decoding.drafting.averages import MeanPredictions
from ragdecode.decoding.drafting.coupled import draw
from ragdecode.decoding.drafting.growth import grow
from ragdecode.decoding.drafting.ngrams import NgramCounts
from ragdecode.decoding.drafting.rates import Rates
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request

#: Acceptance to start from. Rows: tokens of context (1, 2, 3, 4 and more). Columns: share of what followed it (below
#: 0.15, 0.34, 0.6, above), each as first choice and as a later one. Measured on prompts of Spec-Bench.
_PRIORS = (
    (0.12, 0.05, 0.20, 0.11, 0.46, 0.15, 0.80, 0.33),
    (0.16, 0.07, 0.20, 0.13, 0.48, 0.15, 0.77, 0.35),
    (0.17, 0.08, 0.23, 0.17, 0.70, 0.25, 0.77, 0.40),
    (0.22, 0.09, 0.40, 0.18, 0.80, 0.32, 0.88, 0.42),
)
#: For means of predictions. Rows: tokens of context (1, 2, 3). Columns: mean probability (below 0.3, 0.7, above), each
#: at rank 0, 1, 2 and below.
_MEAN_PRIORS = (
    (0.18, 0.08, 0.04, 0.40, 0.14, 0.07, 0.65, 0.15, 0.08),
    (0.22, 0.10, 0.05, 0.48, 0.16, 0.08, 0.75, 0.17, 0.09),
    (0.26, 0.12, 0.06, 0.55, 0.18, 0.09, 0.82, 0.18, 0.10),
)
_ROWS = len(_PRIORS)
_COUNTED = _ROWS * len(_PRIORS[0])


class NgramSettings(Settings):
    """Settings of n-gram drafting."""

    order: int = Field(default=5, ge=2, le=9)
    """Tokens of the longest n-grams; shorter ones are asked where those know nothing."""
    branches: int = Field(default=4, ge=1, le=16)
    """How many different next tokens are considered after each drafted one."""
    stochastic: bool = False
    """Learn the distributions that the model predicted, not only the tokens that were accepted, and draw drafts from
    them with verification's own noise; for sampling at a temperature."""


@register("drafter", "ngram", NgramSettings)
class Ngram(Drafter):
    """Drafts from n-grams of the prompt and the answer, the longest that is known first.

    Source: ANPD (Ou et al., arXiv 2404.08698); with ``stochastic``, STAND (Song et al., arXiv 2506.04708). Costs no
    forward pass; changes speed only.
    """

    def start(self, request: Request) -> DraftSession:
        """Count the n-grams of the target view's prompt."""
        return _Session(self.settings, request)


class _Session(DraftSession):
    """Counts, mean predictions, and how well drafts did."""

    def __init__(self, settings: NgramSettings, request: Request) -> None:
        from ragdecode.decoding.request import TARGET

        self._settings = settings
        self._request = request
        self._rates = Rates([rate for table in (_PRIORS, _MEAN_PRIORS) for row in table for rate in row])
        self._means = MeanPredictions() if settings.stochastic else None
        self._draft = Draft()
        self._answer: list[int] = []
        self._epoch = 0
        self._count(request.views[TARGET].prompt)

    def propose(self, nodes: int) -> Draft:
        """Grow a tree of what followed the longest known n-grams, as likely as they were so far."""
        self._draft = grow((self._counts.tail, len(self._answer)), self._children, nodes)
        return self._draft

    def observe(self, verified: Verified) -> None:
        """Count what was accepted, never what was drafted; a wrong draft would confirm itself."""
        self._rates.observe(self._draft, verified)
        self._draft = Draft()
        if self._means is not None and verified.tokens:
            self._means.learn(self._counts.tail, verified)
        self._counts.extend(verified.committed)
        self._answer += verified.committed

    def rewind(self, length: int) -> None:
        """Take back the counts of the end of the answer; mean predictions hold for contexts, and stay."""
        self._counts.rewind(self._prompt + length)
        del self._answer[length:]
        self._epoch += 1

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Count the new prompt instead of the old."""
        from ragdecode.decoding.request import TARGET

        if (prompt := prompts.get(TARGET)) is not None:
            self._count(prompt)

    def _count(self, prompt: Sequence[int]) -> None:
        self._prompt = len(prompt)
        # the means need contexts of three tokens
        self._counts = NgramCounts(max(self._settings.order - 1, 3 if self._settings.stochastic else 1))
        self._counts.extend(prompt, undoable=False)
        self._counts.extend(self._answer)

    def _children(
        self, state: tuple[tuple[int, ...], int]
    ) -> Iterator[tuple[int, float, int, tuple[tuple[int, ...], int]]]:
        """What may follow a context at a position: drawn from mean predictions, then by counts, longest first."""
        context, position = state
        known: set[int] = set()
        for token, kind in (*self._drawn(context, position), *self._counted(context)):
            if token not in known:
                known.add(token)
                after = (*context, token)[-max(len(context), self._settings.order - 1) :]
                yield token, self._rates[kind], kind, (after, position + 1)

    def _drawn(self, context: tuple[int, ...], position: int) -> Iterator[tuple[int, int]]:
        if self._means is None:
            return
        request = self._request
        length, probs = self._means.after(context)
        order = draw(probs, request.sampling, request.id, self._epoch, position)
        for rank, token in enumerate(order[: self._settings.branches]):
            column = 0 if probs[token] < 0.3 else 1 if probs[token] < 0.7 else 2
            yield token, _COUNTED + (length - 1) * 9 + column * 3 + min(rank, 2)

    def _counted(self, context: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        rank = 0
        for start in range(max(0, len(context) - self._settings.order + 1), len(context)):
            row = min(len(context) - start, _ROWS) - 1
            total, distinct, best = self._counts.after(context[start:], self._settings.branches)
            for token, count in best:
                share = count / (total + distinct)
                column = 0 if share < 0.15 else 1 if share < 0.34 else 2 if share < 0.6 else 3
                yield token, (row * 4 + column) * 2 + (rank > 0)
                rank += 1
            if rank >= self._settings.branches:
                return
