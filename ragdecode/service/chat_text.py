"""The text of an answer as a client can be told it who cannot take text back."""

from __future__ import annotations

from ragdecode.pipeline.events import DoneEvent, Event, SentenceEvent, TokenEvent
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.spec.part import Part


class ChatText:
    """Pieces that join to `Answer.shown`.

    Tokens as they come; whole sentences where citations stand behind them; all of it at the end where what was written
    may be withdrawn: with a search, or monitors that act.

    Args:
        pipeline: What answers.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        decode = pipeline.loaded.spec.decode
        self._holds = decode.search is not None or any(may_withdraw(part) for part in decode.monitor)
        self._cites = pipeline.cites
        self._told = ""

    def follow(self, event: Event) -> str:
        """What to tell after an event; may be empty."""
        text = ""
        if isinstance(event, DoneEvent):
            # nothing of what was told can differ from the record but blanks at its end
            text = event.answer.shown[len(self._told) :]
        elif self._holds:
            return ""
        elif isinstance(event, SentenceEvent):
            text = (event.cited or "") if self._cites else ""
        elif isinstance(event, TokenEvent) and not self._cites:
            text = event.text
        self._told += text
        return text


def may_withdraw(monitor: Part) -> bool:
    """Whether a monitor may take text back that was shown: unless all it does is to record or to flag."""
    reaction = getattr(monitor.settings, "on_unfaithful", None)
    return monitor.name != "signals" if reaction is None else reaction.name != "flag"
