"""The pool of lookahead decoding: n-grams by their first token."""

from __future__ import annotations

from collections.abc import Sequence


class Pool:
    """For each token the last ``most`` different continuations of ``length`` tokens that were put in.

    Args:
        length: Tokens of a continuation.
        most: Continuations that are kept for each token.
    """

    def __init__(self, length: int, most: int) -> None:
        self._length = length
        self._most = most
        self._entries: dict[int, dict[tuple[int, ...], None]] = {}

    def add(self, first: int, continuation: Sequence[int]) -> None:
        """Put one in as the latest; the oldest of its token goes."""
        entry = tuple(continuation)
        known = self._entries.setdefault(first, {})
        known.pop(entry, None)
        known[entry] = None
        if len(known) > self._most:
            del known[next(iter(known))]

    def add_text(self, tokens: Sequence[int], start: int = 0) -> None:
        """Put in all n-grams of a text that end at ``start`` or later."""
        for end in range(max(start, self._length), len(tokens)):
            self.add(tokens[end - self._length], tokens[end - self._length + 1 : end + 1])

    def after(self, first: int) -> list[tuple[int, ...]]:
        """The continuations of a token, the latest first."""
        return list(reversed(self._entries.get(first, {})))
