"""What a monitor found out about one sentence of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragdecode.decoding.faithfulness.aligner import Alignment
from ragdecode.decoding.faithfulness.features import SentenceFeatures


@dataclass(frozen=True)
class Verdict:
    """A sentence that cannot change any more, and how faithful it is to the evidence.

    Attributes:
        index: Which sentence of the answer, counted from 0.
        text: The sentence; ``answer[start:stop]``.
        start: Offset of its first character in the answer.
        stop: Offset after its last.
        tokens: Its tokens, as positions in the answer. ``tokens.start`` of them stay if it is dropped.
        score: Probability that it is faithful, from 0 to 1; None where it could not be scored.
        faithful: Whether the score reaches the threshold; None without a score.
        features: What the score was made from.
        alignment: How the evidence supports it; None without evidence.
        unscored: Why there is no score; empty where there is one.
        passages: Ids of the passages that the alignment counts.
    """

    index: int
    text: str
    start: int
    stop: int
    tokens: range
    score: float | None
    faithful: bool | None
    features: SentenceFeatures
    alignment: Alignment | None = None
    unscored: str = ""
    passages: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain data, passages by their ids."""
        return {
            "index": self.index,
            "text": self.text,
            "start": self.start,
            "end": self.stop,
            "tokens": [self.tokens.start, self.tokens.stop],
            "faithfulness": self.score,
            "faithful": self.faithful,
            "unscored": self.unscored,
            "features": dict(self.features.values),
            "alignment": None if self.alignment is None else self.alignment.score,
            "parts": {} if self.alignment is None else dict(self.alignment.parts),
            "supported_by": []
            if self.alignment is None
            else [self.passages[place] for place in self.alignment.passages],
            "evidence": []
            if self.alignment is None
            else [
                {"passage": self.passages[one.passage], "start": one.start, "end": one.end}
                for one in self.alignment.spans
            ],
        }
