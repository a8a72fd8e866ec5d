"""Asking the drafters of all requests for trees; those that look at a model share its passes."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from ragdecode.decoding.active import Active
from ragdecode.decoding.backend import Backend, Segment
from ragdecode.decoding.drafter import Draft, Look
from ragdecode.decoding.intervention import EarlyExit
from ragdecode.decoding.request import TARGET
from ragdecode.decoding.row import Row
from ragdecode.decoding.segments import with_tree
from ragdecode.decoding.speculation.composing import compose_looked, composed_views
from ragdecode.decoding.speculation.row_layers import RowLayers
from ragdecode.decoding.speculation.scratch import Scratch, as_tree, fresh, more, wanted_paths

Asking = Generator[Look, torch.Tensor, Draft]


def ask(
    wanted: Sequence[tuple[Active, Collection[str]]],
    backends: Mapping[str, Backend],
    vocab_size: int,
    drafts: dict[str, list[tuple[str, Draft]]],
    failed: dict[str, Exception],
) -> None:
    """Ask the named drafters of each request; what they take is noted in the request's slot.

    Args:
        wanted: Requests and the drafters to ask; each has a slot, which says how large a draft may be.
        backends: The models.
        vocab_size: Tokens of the target (V).
        drafts: Takes the drafts, by request.
        failed: Takes the requests whose own parts failed.
    """
    asking: list[tuple[Active, str, Asking, Look]] = []
    scratches: dict[int, Scratch] = {}  # by row
    for item, names in wanted:
        assert item.slot is not None
        for name, session in item.drafters:
            if name not in names:
                continue
            with alone(item, failed), _timed(item, name):
                proposal = session.propose(item.slot.rooms.get(name, item.slot.nodes - 1))
                if isinstance(proposal, Draft):
                    _take(item, name, proposal, drafts)
                else:
                    _advance(item, name, proposal, None, asking, drafts, scratches)
    while asking:
        drafting = [1 - reading(item, look) for item, _, _, look in asking]
        started = time.perf_counter()
        answers = _look([(item, look) for item, _, _, look in asking], backends, vocab_size, scratches)
        waiting, asking = asking, []
        counts = [len(rows_of(item, look)) for item, _, _, look in waiting]
        share = (time.perf_counter() - started) / sum(counts)  # of each row
        for (item, name, generator, _), part, count, answer in zip(waiting, drafting, counts, answers, strict=True):
            with alone(item, failed), _timed(item, name, share * part * count):
                _advance(item, name, generator, answer, asking, drafts, scratches)


@contextmanager
def _timed(item: Active, name: str, share: float = 0.0) -> Iterator[None]:
    """Count the time as the drafter's, with its share of a pass before."""
    started = time.perf_counter()
    try:
        yield
    finally:
        assert item.slot is not None
        asked = item.slot.asked
        asked[name] = asked.get(name, 0.0) + share + time.perf_counter() - started


def reading(item: Active, look: Look) -> float:
    """Which share of a look's tokens are those of the views' prompts, which are read once and not for this draft."""
    rows = rows_of(item, look)
    unread = sum(max(0, len(row.prompt) - 1 - row.cached) for row in rows)  # its last token is the look's own
    return unread / max(1, sum(row.length(item.tokens) - row.cached + len(look.draft.tokens) for row in rows))


def rows_of(item: Active, look: Look) -> list[Row]:
    """The rows that a look runs: its view's, or those of all views that the rules compose."""
    if not look.composed:
        return [item.rows[look.view]]
    return [item.rows[name] for name in composed_views(item.request)]


@contextmanager
def alone(item: Active, failed: dict[str, Exception]) -> Iterator[None]:
    """A failure of a request's own parts is its own."""
    try:
        yield
    except Exception as error:
        failed.setdefault(item.request.id, error)


def _take(item: Active, name: str, draft: Draft, drafts: dict[str, list[tuple[str, Draft]]]) -> None:
    """Note a draft that is done."""
    assert item.slot is not None
    item.slot.proposed[name] = item.slot.proposed.get(name, 0) + len(draft.tokens)
    drafts[item.request.id].append((name, draft))


def _advance(
    item: Active,
    name: str,
    generator: Asking,
    answer: torch.Tensor | None,
    asking: list[tuple[Active, str, Asking, Look]],
    drafts: dict[str, list[tuple[str, Draft]]],
    scratches: dict[int, Scratch],
) -> None:
    """Resume a drafter until it looks again or returns its draft; what it wants to study, it gets at once."""
    try:
        look = next(generator) if answer is None else generator.send(answer)
        while look.study is not None:
            scratches.pop(id(item.rows[look.view]), None)  # it writes behind the row too
            look = generator.send(look.study(RowLayers(item, item.rows[look.view])))
    except StopIteration as done:
        _take(item, name, done.value, drafts)
    else:
        look = _through(item, look)
        if _read(item, look) and _fits(item, look):
            _check_look(item, look)
            asking.append((item, name, generator, look))
        else:
            generator.close()


def _through(item: Active, look: Look) -> Look:
    """A look at an early exit goes through the target, whose blocks after it are left out."""
    intervention = item.request.views[look.view].intervention
    if not isinstance(intervention, EarlyExit):
        return look
    blocks = item.rows[TARGET].backend.blocks
    return replace(look, view=TARGET, skip=look.skip | frozenset(range(2 * (intervention.layer + 1), 2 * blocks)))


def _read(item: Active, look: Look) -> bool:
    """Whether a look may read what it has to: what rules want of a prompt is told in the request's own passes alone."""
    return all(row.unread == len(row.prompt) - 1 for row in rows_of(item, look))


def _fits(item: Active, look: Look) -> bool:
    """Whether the answer in another vocabulary, and what is looked at below it, have room in the view's row."""
    if look.answer is None:
        return True
    row = item.rows[look.view]
    length = len(row.prompt) + len(look.answer)
    return length <= row.backend.max_positions and length + len(look.draft.tokens) <= row.capacity


def _check_look(item: Active, look: Look) -> None:
    """Refuse what a drafter may not ask for, before it meets the looks of others in a pass."""
    row = item.rows[look.view]
    if look.answer is not None:
        row.adopt(look.answer)
    rows = rows_of(item, look)
    if look.composed and (row not in rows or look.back or look.answer is not None):
        raise ValueError(f"a drafter looks at what rules compose of view {look.view!r}, which cannot be looked at so")
    room = min(row.capacity - row.length(item.tokens) for row in rows)
    if len(look.draft.tokens) > room:
        raise ValueError(
            f"a drafter looks at {len(look.draft.tokens)} tokens of view {look.view!r}, there is room for {room}; "
            "its `look_nodes` is too low"
        )
    for index, (token, parent) in enumerate(zip(look.draft.tokens, look.draft.parents, strict=True)):
        if not -1 <= parent < index or not 0 <= token < row.backend.vocab_size:
            raise ValueError(f"a drafter looks at token {token} under parent {parent}, which cannot be")
    if look.back and not 0 <= row.length(item.tokens) - 1 - look.back <= row.cached:
        raise ValueError(f"a drafter looks {look.back} tokens back, where view {look.view!r} is not cached")


def _last_of(item: Active, row: Row) -> int:
    """The last token of prompt and answer as a row has them."""
    answer = item.tokens if row.own is None else row.own
    return answer[-1] if answer else row.prompt[-1]


def _look(
    looks: Sequence[tuple[Active, Look]],
    backends: Mapping[str, Backend],
    vocab_size: int,
    scratches: dict[int, Scratch],
) -> list[torch.Tensor]:
    """Log-probabilities ``[1 + nodes, V]`` at the nodes of each look; a row that two look at is passed twice."""
    answers: list[torch.Tensor | None] = [None] * len(looks)
    left = list(range(len(looks)))
    while left:
        busy: set[int] = set()
        groups: dict[tuple[str, frozenset[int], bool], list[int]] = {}
        for index in left:
            item, look = looks[index]
            rows = rows_of(item, look)
            if busy.isdisjoint(id(row) for row in rows):
                busy.update(id(row) for row in rows)
                groups.setdefault((rows[0].model, look.skip, look.light), []).append(index)
        for (model, *_), indices in groups.items():
            found = _pass(backends[model], [looks[index] for index in indices], vocab_size, scratches)
            for index, table in zip(indices, found, strict=True):
                answers[index] = table
        left = [index for index in left if answers[index] is None]
    return [answer for answer in answers if answer is not None]


def _pass(
    backend: Backend, looks: Sequence[tuple[Active, Look]], vocab_size: int, scratches: dict[int, Scratch]
) -> list[torch.Tensor]:
    """One pass for looks of one kind at different rows; those that hold nothing new take no part in it."""
    fed: list[tuple[Active, Row, Look, Segment]] = []
    for item, look in looks:
        item.start_clock()
        before = len(fed)
        for row in rows_of(item, look):
            segment = _segment(item, row, look, scratches)
            # near the window's end a look may reach beyond it, where no answer can follow
            deepest = backend.max_positions - 1 - segment.start
            if segment.tokens:
                depths = [min(depth, deepest) for depth in segment.depths]
                fed.append((item, row, look, replace(segment, depths=depths)))
        item.stats.forward_passes += len(fed) > before
        item.stats.forward_rows += len(fed) - before
    tables: dict[int, torch.Tensor] = {}
    if fed:
        skip, light = fed[0][2].skip, fed[0][2].light
        output = backend.forward([segment for *_, segment in fed], skip=skip, light=light)
        start = 0
        for item, row, look, segment in fed:
            stop = start + len(segment.outputs)
            logits = output.logits[start:stop, : vocab_size if row.own is None else None]
            table = torch.log_softmax(logits if logits.dtype is torch.float64 else logits.float(), dim=-1)
            start = stop
            if (scratch := scratches.get(id(row))) is None:
                tables[id(row)] = table if look.wanted is None else table[list(look.wanted)]
            else:
                scratch.tables.append(table)
            if not skip and not light and not look.back and segment.seen is None:
                # what was accepted is cached now; the last accepted token is fed again with the next tree
                row.cached = row.length(item.tokens) - 1
    return [_answer(item, look, tables, scratches) for item, look in looks]


def _answer(
    item: Active, look: Look, tables: Mapping[int, torch.Tensor], scratches: Mapping[int, Scratch]
) -> torch.Tensor:
    """The log-probabilities that a look wants, composed or of its view."""
    found = {
        row.view: tables[id(row)] if id(row) in tables else scratches[id(row)].read(look) for row in rows_of(item, look)
    }
    return compose_looked(item, found, wanted_paths(look)) if look.composed else found[look.view]


def _segment(item: Active, row: Row, look: Look, scratches: dict[int, Scratch]) -> Segment:
    """The new tokens of a look: below the last accepted token, below drafted ones, or below one further back."""
    known = scratches.pop(id(row), None)
    if look.back:
        place = row.length(item.tokens) - 1 - look.back
        tree = as_tree(row.token(place, item.tokens), look.draft)
        return Segment(row.handle, row.cached, tree.tokens, tree.depths, tree.parents, range(tree.size), seen=place)
    root = _last_of(item, row)
    if not row.backend.grafts:
        return with_tree(row, item.tokens, as_tree(root, look.draft))
    segment = more(row, known, look, item.tokens) if known is not None else None
    if known is None or segment is None:
        segment, known = fresh(row, item.tokens, root, look)
    scratches[id(row)] = known
    return segment
