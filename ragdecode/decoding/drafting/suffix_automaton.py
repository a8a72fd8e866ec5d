"""A suffix automaton that grows token by token, counts, and can be taken back.

Construction: Blumer et al., "The smallest automaton recognizing the subwords of a text", 1985 (the online form).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest
from itertools import islice

#: Most continuations of one context that are compared; of more, those that were first met last.
_WIDEST = 256


class SuffixAutomaton:
    """All substrings of a text as states: substrings that end at the same places share one.

    The state of the whole text has, by its suffix link, the longest suffix that occurs elsewhere too: the longest
    match, kept up to date for nothing. A token costs amortised O(1) for states and links. How often and where last a
    state ended is kept for contexts of up to ``longest`` tokens, which bounds that work to ``longest`` + 1 a token.

    Args:
        longest: Contexts longer than this are cut to it.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._next: list[dict[int, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        self._count = [0]
        self._latest = [0]
        self._last = 0
        # the state of the last `longest` + 1 tokens, a continuation of the longest context included
        self._counted = 0
        self._size = 0
        self._undo: list[tuple[int, int, int, int, list[int], list[int], list[int]]] = []

    def __len__(self) -> int:
        """Tokens of the text."""
        return self._size

    def extend(self, tokens: Sequence[int], *, undoable: bool = True) -> None:
        """Append tokens; ``undoable`` ones can be taken back by `rewind` and cost a little more memory."""
        following, link, length, count, latest = self._next, self._link, self._length, self._count, self._latest
        last, counted, size, depth = self._last, self._counted, self._size, self._longest + 1
        for token in tokens:
            size += 1
            new = len(link)
            following.append({})
            length.append(size)
            count.append(0)
            latest.append(0)
            link.append(0)
            before, old_counted, split = last, counted, -1
            gained: list[int] = []
            moved: list[int] = []
            state = last
            while state >= 0 and token not in (table := following[state]):
                table[token] = new
                gained.append(state)
                state = link[state]
            if state >= 0:
                target = following[state][token]
                if length[target] != length[state] + 1:
                    # only the shorter substrings of the target end here too: they become a state of their own
                    split, target = target, new + 1
                    following.append(dict(following[split]))
                    length.append(length[state] + 1)
                    count.append(count[split])
                    latest.append(latest[split])
                    link.append(link[split])
                    while state >= 0 and following[state].get(token) == split:
                        following[state][token] = target
                        moved.append(state)
                        state = link[state]
                    link[split] = target
                link[new] = target
            last = new
            counted = following[counted][token]
            while length[link[counted]] >= depth:
                counted = link[counted]
            state = counted
            places: list[int] = []
            while state:
                places.append(latest[state])
                count[state] += 1
                latest[state] = size
                state = link[state]
            if undoable:
                self._undo.append((token, before, old_counted, split, gained, moved, places))
        self._last, self._counted, self._size = last, counted, size
        if not undoable:
            self._undo.clear()

    def rewind(self, length: int) -> None:
        """Take back all but the first ``length`` tokens: the state is that of an automaton that never saw them.

        Raises:
            ValueError: Some of them were not appended as undoable.
        """
        if not self._size - len(self._undo) <= length:
            raise ValueError(f"cannot go back to {length} tokens: the first {self._size - len(self._undo)} are fixed")
        while self._size > length:
            token, before, counted, split, gained, moved, places = self._undo.pop()
            state = self._counted
            for place in places:
                self._count[state] -= 1
                self._latest[state] = place
                state = self._link[state]
            new = self._last
            for state in moved:
                self._next[state][token] = split
            if split >= 0:
                self._link[split] = self._link[new + 1]
            for state in gained:
                del self._next[state][token]
            for column in (self._next, self._link, self._length, self._count, self._latest):
                del column[new:]
            self._last, self._counted, self._size = before, counted, self._size - 1

    def context(self) -> tuple[int, int]:
        """The state of the text's last tokens, at most ``longest`` of them, and how many they are."""
        return self._capped(self._counted, self._size)

    def match(self) -> tuple[int, int]:
        """The state of the longest suffix, of at most ``longest`` tokens, that something has followed before."""
        state, length = self.context()
        while state and not self._next[state]:
            state, length = self.shorter(state)
        return state, length

    def shorter(self, state: int) -> tuple[int, int]:
        """The state of the longest suffix that occurs at more places, and its length; the empty one is (0, 0)."""
        link = self._link[state]
        return link, self._length[link]

    def step(self, state: int, length: int, token: int) -> tuple[int, int]:
        """The context after a token that has followed a context before.

        Raises:
            KeyError: It never has.
        """
        return self._capped(self._next[state][token], length + 1)

    def following(self, state: int, most: int) -> tuple[int, list[tuple[int, int, int]]]:
        """What followed a context: how often anything did, and (token, how often, where last) of the best.

        The most frequent come first, of equally frequent ones the latest.
        """
        count, latest, table = self._count, self._latest, self._next[state]
        items = table.items() if len(table) <= _WIDEST else islice(reversed(table.items()), _WIDEST)
        found = [(count[target], latest[target], token) for token, target in items]
        best = found if len(found) == 1 else nlargest(most, found)
        return sum(often for often, _, _ in found), [(token, often, place) for often, place, token in best]

    def distinct(self, state: int) -> int:
        """How many different tokens followed a context."""
        return len(self._next[state])

    def _capped(self, state: int, length: int) -> tuple[int, int]:
        if length > self._longest:
            length = self._longest
            while self._length[self._link[state]] >= length:
                state = self._link[state]
        return state, length
