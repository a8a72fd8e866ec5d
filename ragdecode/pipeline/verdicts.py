"""What monitors found out about an answer's sentences, put beside the sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ragdecode.pipeline.answer import EvidenceRange, Sentence


class Verdicts:
    """Verdicts by the place of their sentence; of several monitors the first one's count."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Mapping[str, Any]] = {}

    @staticmethod
    def of(monitors: Mapping[str, Any]) -> Verdicts:
        """The verdicts in the records of an answer's monitors."""
        verdicts = Verdicts()
        for record in reversed(list(monitors.values())):
            for item in record.get("sentences", ()) if isinstance(record, Mapping) else ():
                verdicts.add(item)
        return verdicts

    def add(self, verdict: Mapping[str, Any]) -> None:
        """A verdict as a monitor tells it."""
        self._known[verdict["start"], verdict["end"]] = verdict

    def apply(self, sentence: Sentence) -> Sentence:
        """The sentence with what is known of it."""
        verdict = self._known.get((sentence.start, sentence.end))
        if verdict is None or verdict["text"] != sentence.text:
            return sentence
        return replace(
            sentence,
            faithfulness=verdict["faithfulness"],
            faithful=verdict["faithful"],
            supported_by=tuple(verdict["supported_by"]),
            evidence=tuple(EvidenceRange(**item) for item in verdict["evidence"]),
        )

    def notes(self) -> list[str]:
        """How many sentences have no verdict, and why."""
        reasons: dict[str, int] = {}
        for verdict in self._known.values():
            if reason := verdict["unscored"]:
                reasons[reason] = reasons.get(reason, 0) + 1
        return [
            f"{count} sentence{'s' * (count != 1)} could not be scored: {reason}" for reason, count in reasons.items()
        ]
