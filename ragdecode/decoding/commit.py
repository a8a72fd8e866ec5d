"""Committing a step: the accepted path is walked token by token through stop conditions and monitors.

The first stop or action cuts the path, so that a draft never lets a sentence run past its verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragdecode.decoding.active import Active
from ragdecode.decoding.compose import Composed
from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.events import ActionEvent, Event, RetractEvent, TokenEvent
from ragdecode.decoding.monitor import Accepted, Action, Flag, Retrieve, Rewind, Stop
from ragdecode.decoding.request import TARGET, TokenRecord
from ragdecode.decoding.signals import NodeSignals
from ragdecode.decoding.tree import MODEL
from ragdecode.decoding.verify import walk


def commit(item: Composed, nodes: Sequence[NodeSignals]) -> list[Event]:
    """Accept what the composed distribution picked; move caches, tell the parts, and say what happened."""
    active, tree = item.predicted.active, item.predicted.tree
    path, picked = walk(tree, [-1 if node.dead else node.token for node in nodes])
    before = len(active.tokens)
    events: list[Event] = []
    cut: tuple[str, Action] | None = None
    active.stats.steps += 1
    _count_drafts(active, item, path)
    for depth, (node, token) in enumerate(zip(path, picked, strict=True)):
        signal = nodes[node]
        if token < 0:
            active.finished = "constraint"
            break
        active.committed += 1
        if token in active.request.end_tokens:
            active.finished = "stop"
            break
        source = tree.sources[path[depth + 1]][0] if depth + 1 < len(path) else MODEL
        active.append(
            TokenRecord(
                before + depth, token, signal.logprob, signal.views, source, signal.choices, signal.alternatives
            )
        )
        cut = _observe(active, item, node, signal, events)
        if active.stream and active.stream.stopped is not None:
            active.finished = "stop"
        elif active.remaining <= 0:
            active.finished = "length"
        if cut or active.finished:
            break
    taken = len(active.tokens) - before
    _keep(active, before, path[: max(taken, 1)])
    verified = Verified(tree.tokens, tree.parents, path[: max(taken, 1)], active.tokens[before:], item.log_probs)
    for _, drafter in active.drafters:
        drafter.observe(verified)
    if cut is None and active.finished:
        cut = _last_word(active, events)
    if cut is not None:
        _act(active, *cut, events)
    _announce(active, events)
    return events


def _keep(active: Active, before: int, path: Sequence[int]) -> None:
    """Keep the accepted path in every row's cache; what lies beyond it is rolled back by forgetting its length."""
    for row in active.verified:
        root = len(row.prompt) + before - 1
        row.backend.keep(row.handle, root, path)
        row.cached = root + len(path)
    for row in active.rows.values():
        row.clamp(active.tokens)


def _observe(
    active: Active, item: Composed, node: int, signal: NodeSignals, events: list[Event]
) -> tuple[str, Action] | None:
    """Show the newest token to the monitors; the first one that acts cuts the path."""
    if not active.monitors:
        return None
    hidden = item.predicted.hidden.get(TARGET)
    token = Accepted(
        position=len(active.tokens) - 1,
        token=active.tokens[-1],
        text=active.text,
        logprob=signal.logprob,
        views=signal.views,
        entropy=signal.entropy,
        hidden=None if hidden is None else hidden[node],
        divergence=signal.divergence,
    )
    cut: tuple[str, Action] | None = None
    for name, session in active.monitors:
        action = session.observe(token)
        if isinstance(action, Flag):
            events.append(ActionEvent(active.request.id, name, "flag", dict(action.detail)))
        elif action is not None and cut is None:
            cut = name, action
    return cut


def _last_word(active: Active, events: list[Event]) -> tuple[str, Action] | None:
    """Let the monitors judge the whole text before the answer ends."""
    for name, session in active.monitors:
        action = session.finish(active.text)
        if isinstance(action, Flag):
            events.append(ActionEvent(active.request.id, name, "flag", dict(action.detail)))
        elif action is not None:
            return name, action
    return None


def _act(active: Active, name: str, action: Action, events: list[Event]) -> None:
    """Carry out what a monitor asked for."""
    request = active.request
    if isinstance(action, Stop):
        if action.keep < len(active.tokens):
            _retract(active, action.keep, events)
            active.rewind(action.keep, {}, ())
        active.finished = "monitor"
        events.append(ActionEvent(request.id, name, "stop", dict(action.detail)))
    elif isinstance(action, Rewind):
        if active.rewinds >= request.max_rewinds:
            active.notes.append(
                f"monitor {name} asked for a rewind, but max_rewinds = {request.max_rewinds} is used up"
            )
            events.append(ActionEvent(request.id, name, "flag", dict(action.detail)))
            return
        _retract(active, action.to, events)
        active.rewind(action.to, action.overrides, action.bans)
        active.notes.append(f"monitor {name} rewound the answer to {action.to} tokens")
        events.append(ActionEvent(request.id, name, "rewind", dict(action.detail)))
    elif isinstance(action, Retrieve):
        if request.retrieve is None:
            active.notes.append(f"monitor {name} asked for more evidence, but this run cannot retrieve")
            return
        for view, prompt in request.retrieve(action.query).items():
            if view in active.rows:
                active.rows[view].replace_prompt(prompt, active.tokens)
        active.notes.append(f"monitor {name} retrieved again with {action.query!r}")
        events.append(ActionEvent(request.id, name, "retrieve", {"query": action.query, **action.detail}))


def _retract(active: Active, to: int, events: list[Event]) -> None:
    """Say that text which was shown is withdrawn."""
    if active.announced > to:
        active.announced = to
        active.shown = min(active.shown, active.stream.end_of(to) if active.stream else 0)
        events.append(RetractEvent(active.request.id, to, active.shown))


def _announce(active: Active, events: list[Event]) -> None:
    """Show the tokens whose text is final and that no monitor holds back."""
    stream = active.stream
    last = len(active.tokens)
    if active.finished:
        if stream:
            stream.flush()
            last = stream.tokens_covering_text()
    else:
        held = [count for _, session in active.monitors if (count := session.released()) is not None]
        last = min([last, *held])
    limit = len(active.text) if active.finished else (stream.showable() if stream else 0)
    while active.announced < last:
        end = stream.end_of(active.announced + 1) if stream else 0
        if end > limit:
            break
        text = active.text[active.shown : end]
        active.shown = end
        events.append(TokenEvent(active.request.id, active.records[active.announced], text))
        active.announced += 1


def _count_drafts(active: Active, item: Composed, path: Sequence[int]) -> None:
    """Per drafter: what it proposed and what was accepted."""
    tree, stats = item.predicted.tree, active.stats
    accepted = set(path)
    stats.drafted += tree.size - 1
    stats.accepted += len(path) - 1
    for node in range(1, tree.size):
        for source in tree.sources[node]:
            counts = stats.sources.setdefault(source, {"proposed": 0, "accepted": 0})
            counts["proposed"] += 1
            counts["accepted"] += node in accepted
