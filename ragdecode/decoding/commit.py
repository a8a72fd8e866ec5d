"""Committing a step: the accepted path is walked token by token through stop conditions and monitors.

The first stop or action cuts the path, so that a draft never lets a sentence run past its verdict.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from ragdecode.decoding.acting import act, tell_flag
from ragdecode.decoding.active import Active
from ragdecode.decoding.compose import Composed
from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.events import Event, TokenEvent, VerdictEvent
from ragdecode.decoding.monitor import Accepted, Action, Flag, MonitorSession
from ragdecode.decoding.request import TARGET, TokenRecord
from ragdecode.decoding.signals import NodeSignals
from ragdecode.decoding.speculation.verify import walk
from ragdecode.decoding.tree import MODEL, Tree
from ragdecode.errors import RunError


def commit(item: Composed, nodes: Sequence[NodeSignals]) -> list[Event]:
    """Accept what the composed distribution picked; move caches, tell the parts, and say what happened."""
    active, tree = item.predicted.active, item.predicted.tree
    path, picked = _walk(item, nodes)
    before = len(active.tokens)
    events: list[Event] = []
    cut: tuple[str, Action] | None = None
    seen = active.stats.committed
    for depth, (node, token) in enumerate(zip(path, picked, strict=False)):
        signal = nodes[node]
        if token < 0:
            active.finished = "constraint"
            break
        if math.isnan(signal.logprob):
            raise RunError(
                f"request {active.request.id!r}: what the model or a rule predicts at token {before + depth} is not a "
                "number",
                hint="try engine.dtype: float32, or a milder rule",
            )
        active.stats.committed += 1
        if token in active.request.end_tokens:
            _end(active, signal)
            break
        source = tree.sources[path[depth + 1]][0] if depth + 1 < len(path) else MODEL
        active.append(_record(item, node, token, signal, source))
        cut = _observe(active, item, node, signal, events)
        if active.stream and active.stream.stopped is not None:
            active.finished = "stop"
        elif active.remaining <= 0:
            active.finished = "length"
        if cut or active.finished or (active.branch is not None and active.branch.rests):
            break
    taken = len(active.tokens) - before
    active.stats.steps += active.stats.committed > seen
    _count_drafts(active, tree, path[: active.stats.committed - seen + 1])
    _keep(active, before, path[: max(taken, 1)])
    active.ruling.accept(item.remembered, path[:taken], active.rows)
    verified = Verified(
        tokens=tree.tokens,
        parents=tree.parents,
        depths=tree.depths,
        sources=tree.sources,
        accepted=path[: max(taken, 1)],
        committed=active.tokens[before:],
        log_probs=item.log_probs,
    )
    if active.slot is not None:
        active.slot.observe(tree, path)
    _tell_drafters(active, verified)
    if cut is not None:
        act(active, *cut, events)
    if active.finished:
        _last_words(active, events)
    if active.branch is not None:
        active.branch.note(active, events)  # a search tells what it settles
        return []
    _tell_verdicts(active, events)
    _announce(active, events)
    return events


def _end(active: Active, signal: NodeSignals) -> None:
    """An end token was picked after the answer's last token."""
    active.finished = "stop"
    for (_, session), measured in zip(active.monitors, signal.measured, strict=True):
        session.ending(measured)


def _tell_verdicts(active: Active, events: list[Event]) -> None:
    """Say what monitors found out in this step."""
    for name, session in active.monitors:
        events += [VerdictEvent(active.request.id, name, verdict) for verdict in session.told()]


def _record(item: Composed, node: int, token: int, signal: NodeSignals, source: str) -> TokenRecord:
    """What was known when a token was picked after a node."""
    return TokenRecord(
        position=len(item.predicted.active.tokens),
        token=token,
        logprob=signal.logprob,
        views=signal.views,
        source=source,
        choices=signal.choices,
        alternatives=signal.alternatives,
        explained={name: explain(node, token) for name, explain in item.explained.items()},
    )


def _walk(item: Composed, nodes: Sequence[NodeSignals]) -> tuple[list[int], list[int]]:
    """The accepted path and the tokens picked on it; cut where it is another view's to say what comes next."""
    path, picked = walk(item.predicted.tree, [-1 if node.dead else node.token for node in nodes])
    for depth, node in enumerate(path):
        if node in item.beyond:
            return path[: depth + 1], picked[:depth]
    return path, picked


def _tell_drafters(active: Active, verified: Verified) -> None:
    """Let every drafter observe; the governor counts what that takes."""
    for name, drafter in active.drafters:
        started = time.perf_counter()
        drafter.observe(verified)
        if active.slot is not None:
            active.slot.took(name, time.perf_counter() - started)


def _keep(active: Active, before: int, path: Sequence[int]) -> None:
    """Keep the accepted path in every row's cache; what lies beyond it is rolled back by forgetting its length."""
    for row in active.verified:
        root = len(row.prompt) + before - 1
        row.backend.keep(row.handle, root, path)
        row.cached = root + len(path)
    active.roll_back()


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
        rules=signal.rules,
    )
    cut: tuple[str, Action] | None = None
    shown = [replace(token, measured=measured) for measured in signal.measured]
    for (name, session), token in zip(active.monitors, shown, strict=True):
        action = session.observe(token)
        if isinstance(action, Flag):
            tell_flag(active, name, action, events)
        elif action is not None and cut is None:
            cut = name, action
    if active.branch is not None:
        active.branch.observe(active, shown)
    return cut


def _last_words(active: Active, events: list[Event]) -> None:
    """Let every monitor judge the whole text before the answer ends; a rewind keeps it from ending."""
    active.settle()
    rewinds = active.rewinds
    for name, session in active.monitors:
        _last_word(active, name, session, events)
        if active.finished != "monitor" and active.rewinds > rewinds:
            break
    if active.rewinds > rewinds and active.finished in ("length", "stop"):
        _last_words(active, events)


def _last_word(active: Active, name: str, session: MonitorSession, events: list[Event]) -> None:
    """Let a monitor say all that it has to say of the whole text, unless it acts on the answer."""
    before = active.rewinds, active.finished
    while (action := session.finish(active.text)) is not None:
        if before[1] == "monitor" and not isinstance(action, Flag):
            active.notes.append(f"monitor {name} asked to act, but the answer was stopped already")
        else:
            act(active, name, action, events)
        if not session.unfinished or (active.rewinds, active.finished) != before:
            return


def _announce(active: Active, events: list[Event]) -> None:
    """Show the tokens whose text is final and that no monitor holds back."""
    stream = active.stream
    last = len(active.tokens)
    if active.finished and stream:
        stream.flush()  # a monitor's last word may have cut the text again
        last = stream.tokens_covering_text()
    elif not active.finished:
        held = [count for _, session in active.monitors if (count := session.released()) is not None]
        last = min([last, *held])
    while active.announced < last:
        count = active.announced + 1
        if stream and not active.finished and not stream.settled(count):
            break
        end = stream.end_of(count) if stream else 0
        events.append(TokenEvent(active.request.id, active.records[count - 1], active.text[active.shown : end]))
        active.announced, active.shown = count, end


def _count_drafts(active: Active, tree: Tree, path: Sequence[int]) -> None:
    """Per drafter: what it proposed and what became part of the answer (or ended it)."""
    accepted, stats = set(path), active.stats
    stats.nodes += tree.size
    stats.drafted += tree.size - 1
    stats.accepted += len(path) - 1
    for node in range(1, tree.size):
        for source in tree.sources[node]:
            counts = stats.sources.setdefault(source, {"proposed": 0, "accepted": 0})
            counts["proposed"] += 1
            counts["accepted"] += node in accepted
