"""The sentences of a text that is still being written."""

from __future__ import annotations

from itertools import pairwise

from ragdecode.text.sentences import MARKS, WIDE_CLOSERS, WIDE_MARKS, sentence_spans


class SentenceStream:
    """Sentences of a text that grows, each told once it cannot change any more.

    What was told, in order, equals `sentence_spans` of the whole text, whatever the pieces.
    """

    def __init__(self) -> None:
        self._text = ""
        self._told: list[tuple[int, int]] = []
        self._may_end = False  # whether the open part holds a mark that may end a sentence

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text

    def add(self, piece: str) -> list[tuple[int, int]]:
        """Sentences that became certain with another piece of text, as offsets from the text's beginning."""
        if not piece:
            return []
        self._text += piece
        self._may_end = self._may_end or not MARKS.isdisjoint(piece)
        if not self._may_end:
            return []
        start = self._told[-1][1] if self._told else 0
        certain: list[tuple[int, int]] = []
        for (first, last), (following, _) in pairwise(sentence_spans(self._text, start)):
            # A border depends on the word after it: that word must be complete, and a blank shows that it is.
            complete = len(self._text[following:].split(maxsplit=1)) > 1
            if not complete and self._text[first:last].rstrip(WIDE_CLOSERS)[-1:] not in WIDE_MARKS:
                break
            certain.append((first, last))
        self._told += certain
        if certain:
            self._may_end = not MARKS.isdisjoint(self._text[certain[-1][1] :])
        return certain

    def retract(self, characters: int) -> None:
        """Go back to the first ``characters`` characters."""
        self._text = self._text[:characters]
        self._told = [span for span in self._told if span[1] <= characters]
        self._may_end = True

    def finish(self) -> list[tuple[int, int]]:
        """The sentences not yet told, now that the text is whole."""
        rest = sentence_spans(self._text, self._told[-1][1] if self._told else 0)
        self._told += rest
        return rest

    def reopen(self) -> None:
        """The text goes on after `finish`: the last sentence may not have been whole."""
        del self._told[-1:]
        self._may_end = True

    def copy(self) -> SentenceStream:
        """One that holds the same and grows by itself."""
        made = SentenceStream()
        made._text, made._told, made._may_end = self._text, list(self._told), self._may_end
        return made

    @property
    def told(self) -> tuple[tuple[int, int], ...]:
        """All sentences told so far."""
        return tuple(self._told)
