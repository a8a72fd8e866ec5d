"""A finished answer with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.request import Stats, TokenRecord
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.plain_json import plain_json

if TYPE_CHECKING:
    from ragdecode.pipeline.citations import Citation


@dataclass(frozen=True)
class Seconds:
    """Wall time of an answer by stage; ``load`` is 0 where models and index were already there."""

    load: float = 0.0
    retrieve: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True)
class EvidenceRange:
    """Where a passage supports a sentence.

    Attributes:
        passage: Its id.
        start: Offset of the first character in the passage's text.
        end: Offset after the last.
    """

    passage: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """A sentence of the answer.

    Attributes:
        text: ``answer[start:end]``.
        start: Offset of its first character in the answer.
        end: Offset after its last character.
        faithfulness: How well the evidence supports it, from 0 to 1; None without a monitor that scores it.
        supported_by: Ids of the passages that support it, the best first.
        evidence: Where they do.
        faithful: Whether the monitor's threshold is reached; None without a score.
    """

    text: str
    start: int
    end: int
    faithfulness: float | None = None
    supported_by: tuple[str, ...] = ()
    evidence: tuple[EvidenceRange, ...] = ()
    faithful: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The sentence as it stands in ``ask --json``."""
        return {
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "faithfulness": self.faithfulness,
            "faithful": self.faithful,
            "supported_by": list(self.supported_by),
            "evidence": [{"passage": one.passage, "start": one.start, "end": one.end} for one in self.evidence],
        }


@dataclass(frozen=True)
class Answer:
    """The final record of a question.

    Attributes:
        question: The question as asked.
        answer: The text of the answer.
        finish_reason: ``stop``, ``length``, ``monitor`` or ``constraint``.
        passages: The evidence as the model saw it, best first.
        sentences: The answer's sentences.
        stats: What decoding cost.
        seconds: Wall time by stage.
        pipeline: Name of the pipeline.
        notes: What a user should know: cut passages, dropped rules, rewinds.
        token_ids: Ids of the answer, without end tokens.
        records: One record a token; with alternatives if a trace was asked for.
        token_texts: Text of every token id that the records mention.
        prompts: The rendered prompt of each view.
        headline: The pipeline in one line.
        monitors: What each monitor recorded, by its name.
        quotes: The quotes of the answer with their places in the passages; None without the constraint ``quote``.
        cited_answer: The answer with numbers of passages behind its sentences; None where that is not asked for.
        citations: The passages that it cites.
        search: What the search recorded; None without one.
        explained: What rules tell of each token, see `explained.explained`; empty unless asked for.
    """

    question: str
    answer: str
    finish_reason: str
    passages: tuple[Passage, ...]
    sentences: tuple[Sentence, ...]
    stats: Stats
    seconds: Seconds
    pipeline: str
    notes: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    records: Sequence[TokenRecord] = ()
    token_texts: Mapping[int, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    headline: str = ""
    monitors: Mapping[str, Any] = field(default_factory=dict)
    quotes: Sequence[Mapping[str, Any]] | None = None
    cited_answer: str | None = None
    citations: tuple[Citation, ...] = ()
    search: Mapping[str, Any] | None = None
    explained: Sequence[Mapping[str, Any]] = ()

    @property
    def shown(self) -> str:
        """The answer as people are to read it: with its citations, if there are to be any."""
        return self.answer if self.cited_answer is None else self.cited_answer

    def to_json(self) -> dict[str, Any]:
        """The one object that ``ask --json`` prints."""
        return {
            "question": self.question,
            "answer": self.answer,
            "finish_reason": self.finish_reason,
            "passages": [passage.to_json() for passage in self.passages],
            "sentences": [sentence.to_json() for sentence in self.sentences],
            "stats": stats_json(self.stats, self.seconds, self.monitors),
            "pipeline": self.pipeline,
            "notes": list(self.notes),
        } | self._more()

    def _more(self) -> dict[str, Any]:
        """What only some answers have."""
        found: dict[str, Any] = {}
        if self.quotes is not None:
            found["quotes"] = [dict(quote) for quote in self.quotes]
        if self.search is not None:
            found["search"] = plain_json(self.search)
        if self.cited_answer is not None:
            found["cited_answer"] = self.cited_answer
            found["citations"] = [citation.to_json() for citation in self.citations]
        if self.explained:
            found["tokens"] = plain_json(list(self.explained))
        return found


def stats_json(stats: Stats, seconds: Seconds, monitors: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer cost, as ``ask --json`` and ``decode`` write it; tokens a second count the prefill in."""
    whole = seconds.prefill + seconds.decode
    return {
        "prompt_tokens": stats.prompt_tokens,
        "reused_tokens": stats.reused_tokens,
        "new_tokens": stats.new_tokens,
        "steps": stats.steps,
        "forward_rows": stats.forward_rows,
        "mean_accepted": stats.mean_accepted,
        "seconds": {
            "load": seconds.load,
            "retrieve": seconds.retrieve,
            "prefill": seconds.prefill,
            "decode": seconds.decode,
        },
        "tokens_per_second": stats.new_tokens / whole if whole > 0 else 0.0,
        "forward_passes": stats.forward_passes,
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "sources": stats.sources,
        "nodes": stats.nodes,
        "asked": stats.asked,
        "draft_seconds": stats.draft_seconds,
        **({"rules": stats.rules} if stats.rules else {}),
    } | ({"monitors": plain_json(monitors)} if monitors else {})
