"""The sentences of an answer, for whole texts and for text that is still being written."""

from __future__ import annotations

from itertools import pairwise

from ragdecode.documents.sentences import MARKS, WIDE_MARKS, sentence_spans
from ragdecode.pipeline.answer import Sentence


def split_sentences(text: str, start: int = 0) -> list[Sentence]:
    """Sentences of ``text`` from the offset ``start`` on, without the blanks around them.

    Offsets count from the beginning of ``text``. Blank text has no sentences.
    """
    return [Sentence(text[first:last], first, last) for first, last in sentence_spans(text, start)]


class SentenceStream:
    """Sentences of a text that grows, each told once it cannot change any more.

    What was told, in order, equals `split_sentences` of the whole text, whatever the pieces.
    """

    def __init__(self) -> None:
        self._text = ""
        self._told: list[Sentence] = []
        self._may_end = False  # whether the open part holds a mark that may end a sentence

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text

    def add(self, piece: str) -> list[Sentence]:
        """Sentences that became certain with another piece of text."""
        if not piece:
            return []
        self._text += piece
        self._may_end = self._may_end or not MARKS.isdisjoint(piece)
        if not self._may_end:
            return []
        start = self._told[-1].end if self._told else 0
        open_ones = split_sentences(self._text, start)
        certain: list[Sentence] = []
        for sentence, following in pairwise(open_ones):
            # A border depends on the word after it: that word must be complete, and a blank shows that it is.
            complete = len(self._text[following.start :].split(maxsplit=1)) > 1
            if not complete and sentence.text.rstrip("”’」』）")[-1:] not in WIDE_MARKS:
                break
            certain.append(sentence)
        self._told += certain
        if certain:
            self._may_end = not MARKS.isdisjoint(self._text[certain[-1].end :])
        return certain

    def retract(self, characters: int) -> None:
        """Go back to the first ``characters`` characters."""
        self._text = self._text[:characters]
        self._told = [sentence for sentence in self._told if sentence.end <= characters]
        self._may_end = True

    def finish(self) -> list[Sentence]:
        """The sentences not yet told, now that the text is whole."""
        rest = split_sentences(self._text, self._told[-1].end if self._told else 0)
        self._told += rest
        return rest

    @property
    def told(self) -> tuple[Sentence, ...]:
        """All sentences told so far."""
        return tuple(self._told)
