"""Incremental detokenisation: whole characters only, stop strings across token borders, rewinding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"
#: Longest run of tokens that may wait for a character to be finished.
_MAX_WAIT = 16


class TextStream:
    """Turns a growing list of tokens into text, each token in amortised constant time.

    Attributes:
        text: The text so far, cut where a stop string began; unfinished characters are left out until `flush`.
        stopped: The stop string that was found, or None.
    """

    def __init__(self, detokenize: Callable[[Sequence[int]], str], stop_strings: Sequence[str] = ()) -> None:
        self._detokenize = detokenize
        self._stop_strings = tuple(stop_strings)
        self._longest = max((len(item) for item in stop_strings), default=0)
        self._tokens: list[int] = []
        self.rewind(0)

    def rewind(self, length: int) -> None:
        """Go back to the first ``length`` tokens."""
        tokens = self._tokens[:length]
        self._tokens = []
        self._ends: list[int] = []
        self._context = 0  # tokens from here on are decoded together with the waiting ones
        self._read = 0  # tokens before here are in the text
        self.text = ""
        self.stopped: str | None = None
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Add a token."""
        self._tokens.append(token)
        self._decode(final=False)
        self._ends.append(len(self.text))

    def flush(self) -> None:
        """No more tokens will come: what waits for its other bytes is text now."""
        self._decode(final=True)
        if self._ends:
            self._ends[-1] = len(self.text)

    def end_of(self, tokens: int) -> int:
        """Length of the text that the first ``tokens`` tokens cover, in characters."""
        return self._ends[tokens - 1] if tokens else 0

    def tokens_covering_text(self) -> int:
        """The fewest tokens whose text covers `text` (all of them, unless a stop string cut it)."""
        if self.stopped is None:
            return len(self._tokens)
        return next((k for k in range(len(self._ends) + 1) if self.end_of(k) >= len(self.text)), len(self._tokens))

    def showable(self) -> int:
        """How many characters may be shown: all but a tail that may turn out to begin a stop string."""
        if self.stopped is not None or not self._longest:
            return len(self.text)
        for held in range(min(self._longest - 1, len(self.text)), 0, -1):
            tail = self.text[-held:]
            if any(item.startswith(tail) for item in self._stop_strings):
                return len(self.text) - held
        return len(self.text)

    @property
    def whole(self) -> int:
        """How many tokens the text holds; the others wait for the rest of a character."""
        return self._read

    def settled(self, tokens: int) -> bool:
        """Whether the last of the first ``tokens`` tokens is part of the answer, whatever comes next.

        One that holds a part of a character waits for the rest. With stop strings, one that adds nothing to the
        text waits for the text after it: that may be cut, and then the answer ends before the token.
        """
        if tokens > self._read:
            return False
        end, limit = self.end_of(tokens), self.showable()
        if self._longest and end == limit:
            return end > self.end_of(tokens - 1)
        return end <= limit

    def _decode(self, *, final: bool) -> None:
        if self.stopped is not None:
            return
        before = self._detokenize(self._tokens[self._context : self._read]) if self._read > self._context else ""
        now = self._detokenize(self._tokens[self._context :])
        waiting = len(self._tokens) - self._read
        if now.endswith(_UNFINISHED) and not final and waiting < _MAX_WAIT:
            return
        if len(now) > len(before) or waiting >= _MAX_WAIT:  # tokens without text must not pile up
            self._append(now[len(before) :])
            self._context, self._read = self._read, len(self._tokens)

    def _append(self, piece: str) -> None:
        start = max(0, len(self.text) - self._longest + 1)
        self.text += piece
        found = [(self.text.find(item, start), -len(item), item) for item in self._stop_strings]
        hits = sorted(hit for hit in found if hit[0] >= 0)
        if hits:
            self.text = self.text[: hits[0][0]]
            self.stopped = hits[0][2]
            # earlier tokens may have ended inside the stop string
            self._ends = [min(end, len(self.text)) for end in self._ends]
