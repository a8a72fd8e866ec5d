"""Follows the engine's events of one request and tells them as a pipeline's events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ragdecode.decoding import events as engine
from ragdecode.decoding.request import Result, TokenRecord
from ragdecode.pipeline.answer import Answer, Seconds, Sentence
from ragdecode.pipeline.citations import citations, cite, cited_answer
from ragdecode.pipeline.events import ActionEvent, DoneEvent, Event, RetractEvent, SentenceEvent, TokenEvent
from ragdecode.pipeline.explained import explained
from ragdecode.pipeline.preparing import Prepared
from ragdecode.pipeline.sentences import AnswerSentences, split_sentences
from ragdecode.pipeline.verdicts import Verdicts


class AnswerStream:
    """An answer while it is written.

    Args:
        prepared: The request and its evidence.
        token_text: Token id to text, for showing.
        pipeline: Name of the pipeline.
        headline: The pipeline in one line.
        seconds: Time spent before decoding.
        cited: Whether the numbers of passages are to be printed behind sentences.
    """

    def __init__(
        self,
        prepared: Prepared,
        token_text: Callable[[int], str],
        pipeline: str,
        headline: str,
        seconds: Seconds,
        *,
        cited: bool = False,
    ) -> None:
        self._cited = cited
        self._printed = 0  # characters of the answer that stand in told sentences, and what is between them
        self._prepared = prepared
        self._token_text = token_text
        self._pipeline = pipeline
        self._headline = headline
        self._seconds = seconds
        self._sentences = AnswerSentences()
        self._verdicts = Verdicts()

    def follow(self, event: engine.Event) -> list[Event]:
        """The pipeline's events that follow from one of the engine's."""
        match event:
            case engine.TokenEvent(text=text, record=record):
                return [TokenEvent(text, record), *self._told(self._sentences.add(text))]
            case engine.VerdictEvent(verdict=verdict):
                self._verdicts.add(verdict)
            case engine.RetractEvent(characters=characters):
                self._retract(characters)
                return [RetractEvent(characters)]
            case engine.ActionEvent(monitor=monitor, action=action, detail=detail):
                return [ActionEvent(monitor, action, detail)]
            case engine.DoneEvent(result=result):
                return self._finish(result)
        return []

    def _finish(self, result: Result) -> list[Event]:
        rest: list[Event] = []
        if self._sentences.text != result.text:  # an answer that ends early may take shown text back
            common = _common_length(self._sentences.text, result.text)
            if common < len(self._sentences.text):
                self._retract(common)
                rest.append(RetractEvent(common))
            if common < len(result.text):
                rest.append(TokenEvent(result.text[common:]))
                rest += self._told(self._sentences.add(result.text[common:]))
        rest += self._told(self._sentences.finish())
        return [*rest, DoneEvent(self._answer(result))]

    def _told(self, sentences: Iterable[Sentence]) -> list[Event]:
        """Sentences that are complete; a monitor's verdict is known by then."""
        return [self._sentence(self._verdicts.apply(sentence)) for sentence in sentences]

    def _sentence(self, sentence: Sentence) -> SentenceEvent:
        if not self._cited:
            return SentenceEvent(sentence)
        text = cite(self._sentences.text, sentence, self._printed, self._prepared.passages)
        self._printed = sentence.end
        return SentenceEvent(sentence, text)

    def _retract(self, characters: int) -> None:
        self._sentences.retract(characters)
        self._printed = max([0, *(sentence.end for sentence in self._sentences.told)])

    def _answer(self, result: Result) -> Answer:
        prepared, before, verdicts = self._prepared, self._seconds, Verdicts.of(result.monitors)
        sentences = tuple(map(verdicts.apply, split_sentences(result.text)))
        cited = cited_answer(result.text, sentences, prepared.passages) if self._cited else None
        return Answer(
            question=prepared.question,
            answer=result.text,
            finish_reason=result.finish_reason,
            passages=prepared.passages,
            sentences=sentences,
            stats=result.stats,
            seconds=Seconds(before.load, before.retrieve, result.stats.prefill_seconds, result.stats.decode_seconds),
            pipeline=self._pipeline,
            notes=(*prepared.notes, *result.notes, *verdicts.notes()),
            token_ids=tuple(result.tokens),
            records=tuple(result.records),
            token_texts={token: self._token_text(token) for token in _mentioned(result.records)},
            prompts={name: prompt.text for name, prompt in prepared.prompts.items()},
            headline=self._headline,
            monitors=dict(result.monitors),
            quotes=result.constraints.get("quote"),
            cited_answer=cited,
            search=result.search,
            explained=tuple(explained(result.records, prepared.request.detokenize or _no_text)),
            citations=() if cited is None else citations(cited, prepared.passages),
        )


def _no_text(ids: Sequence[int]) -> str:
    return ""


def _mentioned(records: Iterable[TokenRecord]) -> set[int]:
    """Ids of all tokens that the records speak of."""
    found: set[int] = set()
    for record in records:
        found.add(record.token)
        found.update(record.choices.values())
        found.update(item.token for item in record.alternatives)
    return found


def _common_length(first: str, second: str) -> int:
    """Length of the longest common beginning."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))
