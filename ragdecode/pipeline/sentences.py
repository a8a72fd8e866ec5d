"""The sentences of an answer, for whole texts and for text that is still being written."""

from __future__ import annotations

from collections.abc import Iterable

from ragdecode.pipeline.answer import Sentence
from ragdecode.text.sentence_stream import SentenceStream
from ragdecode.text.sentences import sentence_spans


def split_sentences(text: str, start: int = 0) -> list[Sentence]:
    """Sentences of ``text`` from the offset ``start`` on, without the blanks around them.

    Offsets count from the beginning of ``text``. Blank text has no sentences.
    """
    return _sentences(text, sentence_spans(text, start))


class AnswerSentences:
    """Sentences of an answer that grows, each told once it cannot change any more.

    What was told, in order, equals `split_sentences` of the whole text, whatever the pieces.
    """

    def __init__(self) -> None:
        self._stream = SentenceStream()

    @property
    def text(self) -> str:
        """The text so far."""
        return self._stream.text

    def add(self, piece: str) -> list[Sentence]:
        """Sentences that became certain with another piece of text."""
        told = self._stream.add(piece)
        return _sentences(self.text, told)

    def retract(self, characters: int) -> None:
        """Go back to the first ``characters`` characters."""
        self._stream.retract(characters)

    def finish(self) -> list[Sentence]:
        """The sentences not yet told, now that the text is whole."""
        return _sentences(self.text, self._stream.finish())

    @property
    def told(self) -> tuple[Sentence, ...]:
        """All sentences told so far."""
        return tuple(_sentences(self.text, self._stream.told))


def _sentences(text: str, spans: Iterable[tuple[int, int]]) -> list[Sentence]:
    return [Sentence(text[first:last], first, last) for first, last in spans]
