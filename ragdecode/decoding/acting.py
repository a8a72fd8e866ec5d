"""What monitors may do to an answer: flag, stop, abstain, rewind, retrieve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ragdecode.decoding.active import Active
from ragdecode.decoding.events import ActionEvent, Event, RetractEvent
from ragdecode.decoding.monitor import Abstain, Action, Adjust, Flag, Retrieve, Rewind, Stop


def act(active: Active, name: str, action: Action, events: list[Event]) -> None:
    """Carry out what a monitor asked for."""
    if isinstance(action, Flag):
        tell_flag(active, name, action, events)
    elif isinstance(action, Adjust):
        if active.branch is None:
            active.adjust(action.overrides)
        if action.flag is not None:
            tell_flag(active, name, action.flag, events)
    elif active.branch is not None:
        active.notes.append(f"monitor {name} asked to act; it only flagged, because a search acts on the answer")
        tell(active, name, "flag", action.detail, events)
    elif isinstance(action, Rewind):
        _rewind(active, name, action, events)
    elif isinstance(action, Retrieve):
        _retrieve(active, name, action, events)
    else:
        _end(active, name, action, events)


def _end(active: Active, name: str, action: Stop | Abstain, events: list[Event]) -> None:
    """End the answer after the tokens that stay."""
    if _place(active, name, action.keep) < len(active.tokens):
        _back(active, action.keep, events)
    active.finished = "monitor"
    if isinstance(action, Abstain):
        if active.stream:
            active.stream.flush()
        text = active.text
        active.closing = ("" if not text or text[-1].isspace() else " ") + action.text
        active.notes.append(f"monitor {name} abstained: the evidence does not hold the answer")
        tell(active, name, "abstain", {**action.detail, "says": action.text}, events)
    else:
        tell(active, name, "stop", action.detail, events)


def _rewind(active: Active, name: str, action: Rewind, events: list[Event]) -> None:
    """Go back and decode again, or do what is to be done where no rewind is left."""
    if _may_rewind(active, name):
        _back(active, _place(active, name, action.to), events, action.overrides, action.bans)
        active.notes.append(f"monitor {name} rewound the answer to {action.to} tokens")
        tell(active, name, "rewind", action.detail, events)
    else:
        _otherwise(active, name, action, events)


def _otherwise(active: Active, name: str, action: Rewind | Retrieve, events: list[Event]) -> None:
    """What a monitor wants where it cannot have what it asked for."""
    if action.otherwise is None:
        tell(active, name, "flag", action.detail, events)
    else:
        act(active, name, action.otherwise(), events)


def tell_flag(active: Active, name: str, flag: Flag, events: list[Event]) -> None:
    """Say what a monitor noted."""
    for detail in (flag.detail, *flag.more):
        tell(active, name, "flag", detail, events)


def _retrieve(active: Active, name: str, action: Retrieve, events: list[Event]) -> None:
    """Put new evidence before the answer; of what was written, as much stays as the monitor says."""
    find = active.request.retrieve
    if find is None:
        active.notes.append(f"monitor {name} asked for more evidence, but this run cannot retrieve")
        if action.otherwise is not None:
            _otherwise(active, name, action, events)
        return
    if action.to is not None:
        if not _may_rewind(active, name):
            _otherwise(active, name, action, events)
            return
        _back(active, _place(active, name, action.to), events)
    if active.finished:
        active.notes.append(f"monitor {name} asked for more evidence, but the answer was at its end")
        if action.otherwise is not None and active.finished != "monitor" and action.to is None:
            _otherwise(active, name, action, events)
        return
    active.replace_prompts(find(action.query))
    active.notes.append(f"monitor {name} retrieved again with {action.query!r}")
    tell(active, name, "retrieve", {"query": action.query, **action.detail}, events)


def _place(active: Active, name: str, tokens: int) -> int:
    """A number of tokens that stay, as a monitor gave it."""
    if tokens < 0:
        raise ValueError(f"monitor {name} wants to keep {tokens} tokens")
    return min(tokens, len(active.tokens))


def _may_rewind(active: Active, name: str) -> bool:
    if active.rewinds < active.request.max_rewinds:
        return True
    active.notes.append(f"monitor {name} asked for a rewind, but max_rewinds = {active.request.max_rewinds} is used up")
    return False


def tell(active: Active, name: str, action: str, detail: Mapping[str, Any], events: list[Event]) -> None:
    """Say what a monitor did."""
    events.append(ActionEvent(active.request.id, name, action, dict(detail)))


def _back(
    active: Active,
    to: int,
    events: list[Event],
    overrides: Mapping[str, Any] | None = None,
    bans: Sequence[int] = (),
) -> None:
    """Go back to the first ``to`` tokens, and say that text which was shown is withdrawn."""
    announced, shown = active.announced, active.stream.end_of(to) if active.stream else 0
    active.rewind(to, overrides, bans)
    # the border may run through a character, whose first tokens wait for another rest now
    to = min(to, active.stream.whole) if active.stream else to
    if announced > to:
        active.announced, active.shown = to, min(active.shown, shown)
        events.append(RetractEvent(active.request.id, to, active.shown))
