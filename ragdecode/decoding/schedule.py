"""Which requests read prompt chunks and which ones decode in the next step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragdecode.decoding.active import Active
from ragdecode.decoding.row import Row


@dataclass(frozen=True)
class Work:
    """A request's share of the next step.

    Attributes:
        active: The request.
        ready: All its rows read their last pending tokens in this step, so that a tree hangs off them.
        chunks: Otherwise: prompt tokens that each view reads.
    """

    active: Active
    ready: bool
    chunks: Mapping[str, int] = field(default_factory=dict)


def plan(active: Sequence[Active], prefill_tokens: int) -> list[Work]:
    """Share out a step: everyone who decodes does; prompts are read in order of arrival, under the token budget.

    A request decodes once all its verified rows can feed all that is pending. Until then its rows keep at least
    one pending token each, since the last one's predictions are wanted together with the tree. Prompts of draft-only
    rows count too: what fits is read by the first look, what does not is read in chunks.
    """
    work = []
    budget = prefill_tokens
    for item in active:
        pending = {row.view: _pending(row, item.tokens) for row in item.rows.values() if not row.idle}
        prompt = sum(pending.values()) - len(pending)
        if prompt <= budget:
            budget -= prompt
            work.append(Work(item, ready=True))
            continue
        chunks = {}
        for view, count in pending.items():
            chunks[view] = min(count - 1, budget)
            budget -= chunks[view]
        if any(chunks.values()):
            work.append(Work(item, ready=False, chunks=chunks))
    return work


def _pending(row: Row, tokens: Sequence[int]) -> int:
    """Tokens of a row that are to be read before its request decodes, the last one included."""
    if row.verified:
        return row.length(tokens) - row.cached
    return 1 if tokens else max(len(row.prompt) - row.cached, 1)
