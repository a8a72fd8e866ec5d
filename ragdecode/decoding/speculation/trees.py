"""The draft trees of a step: drafters are asked, their drafts fused, and the nodes that are worth it chosen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ragdecode.decoding.active import Active
from ragdecode.decoding.backend import Backend
from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.guard import Guarded, guard
from ragdecode.decoding.request import TARGET
from ragdecode.decoding.speculation.asking import alone, ask
from ragdecode.decoding.speculation.fusion import Room, Trie
from ragdecode.decoding.speculation.governor import Governor, Looked, Slot, candidates
from ragdecode.decoding.speculation.unpruned import unpruned
from ragdecode.decoding.tree import Tree


def draft_trees(
    active: Sequence[Active], backends: Mapping[str, Backend], vocab_size: int, governor: Governor
) -> tuple[dict[str, Guarded], dict[str, Exception]]:
    """One tree a request, by its id (one node where nothing is drafted), and the requests whose own parts failed."""
    started = time.perf_counter()
    failed: dict[str, Exception] = {}
    slots = [_begin(item, governor) for item in active]
    drafts: dict[str, list[tuple[str, Draft]]] = {item.request.id: [] for item in active}
    ready: dict[str, Tree] = {}
    if any(slot.nodes > 1 for slot in slots):
        for paid in (False, True):
            before = {name: len(found) for name, found in drafts.items()}
            names = governor.ask(slots, paid=paid)
            # where draws are tested, what is drafted decides the token: the same seed must not depend on the clock
            names = [candidates(slot, paid=paid) if slot.draws else own for slot, own in zip(slots, names, strict=True)]
            ask(list(zip(active, names, strict=True)), backends, vocab_size, drafts, failed)
            for item, slot in zip(active, slots, strict=True):
                own = drafts[item.request.id]
                if len(own) > before[item.request.id]:
                    with alone(item, failed):
                        tree = _merge(item, slot, own[before[item.request.id] :], vocab_size)
                        if tree is not None:
                            ready[item.request.id] = tree
    going = [slot for item, slot in zip(active, slots, strict=True) if item.request.id not in failed]
    if any(slot.nodes > 1 for slot in going):
        governor.choose(going)
    trees = {}
    for item, slot in zip(active, slots, strict=True):
        with alone(item, failed):
            tree = ready.get(item.request.id)
            if tree is None:
                tree = Tree.root(_last_token(item)) if slot.trie is None else slot.trie.cut(slot.kept)
            trees[item.request.id] = guard(item, tree, vocab_size)
    seconds = time.perf_counter() - started
    drafting = max(1, sum(slot.nodes > 1 for slot in slots))
    handling = max(0.0, seconds - sum(sum(slot.asked.values()) for slot in slots)) / drafting
    for item, slot in zip(active, slots, strict=True):
        if slot.nodes > 1:
            slot.handling += handling
            item.stats.draft_seconds += seconds / drafting
            for name in slot.asked:
                item.stats.asked[name] = item.stats.asked.get(name, 0) + 1
    return {name: tree for name, tree in trees.items() if name not in failed}, failed


def settle(active: Sequence[Active], governor: Governor, seconds: float | None) -> None:
    """Tell the governor what came of a step; the time that this takes is booked with the next one."""
    started = time.perf_counter()
    slots = [item.slot for item in active if item.slot is not None]
    governor.settle(slots, seconds)
    taken = (time.perf_counter() - started) / max(1, len(slots))
    for slot in slots:
        slot.owed += taken


def _begin(item: Active, governor: Governor) -> Slot:
    """The request's slot, at the start of a step."""
    if item.slot is None:
        item.slot = governor.slot({})
    looks: dict[str, Looked | None] = {}
    for part in item.request.drafters if item.request.max_draft_nodes > 1 else ():  # else their views have no rows
        seen = [item.row_of(view) for view in part.looks_at(item.request)]
        held = tuple(row.length(item.tokens) for row in seen if row.model == seen[0].model)
        look = Looked(seen[0].model, held, part.look_nodes) if seen else None
        looks[part.part_name] = looks.get(part.part_name) or look
    item.slot.drafters = looks
    item.slot.begin(
        [(row.model, row.length(item.tokens)) for row in item.verified],
        item.request.max_draft_nodes if looks and item.remaining > 1 else 1,
        expand=max((rule.expand for rule in item.rules), default=0),
        draws=item.tests_draws,
    )
    return item.slot


def _merge(item: Active, slot: Slot, drafts: Sequence[tuple[str, Draft]], vocab_size: int) -> Tree | None:
    """Put drafts into the slot's trie; draws that are to be tested make a tree of their own."""
    room: Room = {
        "nodes": slot.nodes,
        "max_depth": item.remaining - 1,
        "vocab_size": vocab_size,
        "end_tokens": item.request.end_tokens,
    }
    if slot.draws and any(draft.drawn for _, draft in drafts):
        chain = any(rule.verification for rule in item.rules)
        tree = unpruned(_last_token(item), drafts, chain=chain, **room)
        slot.drawn = tree.size
        return tree
    if slot.trie is None:
        slot.trie = Trie(
            _last_token(item), max_depth=item.remaining - 1, vocab_size=vocab_size, end_tokens=item.request.end_tokens
        )
    for name, draft in drafts:
        slot.trie.add(name, draft)
    slot.trie.judge(slot.acceptance)
    return None


def _last_token(item: Active) -> int:
    return item.tokens[-1] if item.tokens else item.rows[TARGET].prompt[-1]
