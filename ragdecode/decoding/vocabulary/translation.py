"""An answer in another vocabulary, kept up as it grows and shrinks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ragdecode.decoding.vocabulary.utf8 import is_start
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

#: Tokens before the end that are read again with what comes new (HF's assisted generation takes as many).
LOOK_BEHIND = 10
#: The most that are read again in search of the beginning of a word.
FARTHEST = 24


class Translation:
    """What was written in one vocabulary, in the tokens of another.

    Only the end is tokenised again when text is added, so that a step costs the same however long the answer is, and
    a model that reads the translation keeps its cache of the beginning.

    Args:
        source: The vocabulary that the answer is written in.
        target: The vocabulary that it is wanted in.
    """

    def __init__(self, source: Vocabulary, target: Vocabulary) -> None:
        self._source = source
        self._target = target
        self._text = bytearray()
        self._answer: list[int] = []
        self._ends: list[int] = []  # bytes after each token of the answer
        self._ids: list[int] = []
        self._own_ends: list[int] = []  # bytes after each token of the translation
        self._failed = False

    @property
    def ids(self) -> list[int] | None:
        """The translation, a list that is never changed afterwards; None while the target cannot write the text."""
        return None if self._failed else self._ids

    def extend(self, tokens: Sequence[int]) -> None:
        """The answer goes on."""
        for token in tokens:
            self._answer.append(token)
            self._text += self._source.writes(token) or b""
            self._ends.append(len(self._text))
        if tokens:
            self._read_end()

    def rewind(self, length: int) -> None:
        """Only the first ``length`` tokens of the answer stay."""
        if length >= len(self._answer):
            return
        del self._answer[length:], self._ends[length:]
        del self._text[self._ends[-1] if self._ends else 0 :]
        self._read_end()

    def behind(self) -> tuple[list[int], bytes]:
        """The last tokens of the answer, from the beginning of a word if one is near, and their bytes."""
        place, start = self._window(self._ends)
        return self._answer[place:], bytes(self._text[start:])

    def own_behind(self) -> tuple[list[int], bytes]:
        """The last tokens of the translation, from the beginning of a word if one is near, and their bytes."""
        place, start = self._window(self._own_ends)
        return self._ids[place:], bytes(self._text[start:])

    def _read_end(self) -> None:
        del self._own_ends[bisect_right(self._own_ends, len(self._text)) :]
        place, start = self._window(self._own_ends)
        ids = self._target.read(bytes(self._text[start:]))
        self._failed = ids is None
        self._ids = self._ids[:place]
        del self._own_ends[place:]
        for id_ in ids or ():
            start += len(self._target.writes(id_) or b"")
            self._ids.append(id_)
            self._own_ends.append(start)

    def _window(self, ends: Sequence[int]) -> tuple[int, int]:
        """Token and byte at which reading begins again: a character's beginning, a word's if one is near."""
        last = len(ends)
        fallback: tuple[int, int] | None = None
        for place in range(last - LOOK_BEHIND, max(last - FARTHEST, 0), -1):
            start = ends[place - 1]
            if start >= len(self._text) or not is_start(self._text[start]):
                continue
            if self._text[start] in b" \n\t":
                return place, start
            fallback = fallback or (place, start)
        if last <= FARTHEST:
            return 0, 0
        if fallback is not None:
            return fallback
        place = last - FARTHEST  # in a long run of broken characters any place is as good
        while place and not (ends[place - 1] < len(self._text) and is_start(self._text[ends[place - 1]])):
            place -= 1
        return place, ends[place - 1] if place else 0
