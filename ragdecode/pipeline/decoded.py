"""What comes out for a request line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ragdecode.decoding.request import Result
from ragdecode.pipeline.answer import Seconds, stats_json
from ragdecode.pipeline.plain_json import plain_json


@dataclass(frozen=True)
class Decoded:
    """A decoded request.

    Attributes:
        result: What the engine answered.
        notes: What was cut or dropped, and what happened.
    """

    result: Result
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The request's id."""
        return self.result.id

    @property
    def text(self) -> str:
        """The answer."""
        return self.result.text

    def to_json(self) -> dict[str, Any]:
        """The line that ``decode`` writes; ``logprobs`` are the composed ones, null for minus infinity."""
        result = self.result
        seconds = Seconds(prefill=result.stats.prefill_seconds, decode=result.stats.decode_seconds)
        stats = stats_json(result.stats, seconds, result.monitors) | {"finish_reason": result.finish_reason}
        return {
            "id": result.id,
            "text": result.text,
            "token_ids": list(result.tokens),
            "logprobs": plain_json([record.logprob for record in result.records]),
            "stats": stats,
        } | {key: value for key, value in self._more().items() if value is not None}

    def _more(self) -> dict[str, Any]:
        """What only some requests have."""
        search = self.result.search
        return {
            "notes": list(self.notes) or None,
            "quotes": self.result.constraints.get("quote"),
            "search": None if search is None else plain_json(search),
        }
