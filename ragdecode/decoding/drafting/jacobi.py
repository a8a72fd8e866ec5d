"""The window of lookahead decoding: guesses for the coming tokens that every pass improves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragdecode.decoding.drafting.trie import Trie


@dataclass
class _Column:
    """Guesses along a diagonal, the oldest first, and how many of the last are the model's own."""

    tokens: list[int]
    own: int = 0


class JacobiWindow:
    """Columns of guesses of different age (Jacobi iteration, sheet of arXiv 2402.02057).

    Row 0 is a chain below the root; below its token in column c hang that column's other rows, one under the other.
    So row r of column c stands at depth 1 + c + r and sees row 0 up to its column and its own diagonal, which is the
    mask of the paper written as a tree. After a pass each column gets the model's guess after its last row, gives an
    n-gram, and moves up by a row.

    Args:
        rows: Rows (N - 1 for n-grams of N tokens).
        fill: Makes up a token where nothing was guessed yet.
    """

    def __init__(self, rows: int, fill: Callable[[], int]) -> None:
        self._rows = rows
        self._fill = fill
        self._columns: list[_Column] = []
        self._ends: list[int] = []

    def place(self, trie: Trie, columns: int, score: float, kind: int) -> None:
        """Put that many columns into a draft; ``score`` is the probability of a step from a guess to the next."""
        del self._columns[columns:]
        while len(self._columns) < columns:
            self._columns.append(_Column([self._fill() for _ in range(self._rows)]))
        self._ends = []
        chain, chain_score = -1, 1.0
        for column in self._columns:
            chain_score *= score
            chain = trie.add(chain, column.tokens[0], chain_score, kind)
            node, node_score = chain, chain_score
            for token in column.tokens[1:]:
                node_score *= score
                node = trie.add(node, token, node_score, kind)
            self._ends.append(node)

    def advance(
        self, nodes: Sequence[int], predicted: Sequence[Sequence[int]], committed: int
    ) -> list[tuple[int, list[int]]]:
        """Take the model's guesses after the last rows and slide over the committed tokens.

        Args:
            nodes: The fed node of each node of the draft, -1 where it was cut off; such a column starts anew.
            predicted: The best tokens after each fed node ``[N][1]``.
            committed: Tokens that the answer grew by.

        Returns:
            N-grams as (first token, continuation), where all of the continuation is the model's.
        """
        grams = []
        kept = []
        for column, end in zip(self._columns, self._ends, strict=True):
            if nodes[end] < 0:
                break  # those to its right hang below it
            tokens = [*column.tokens, predicted[nodes[end]][0]]
            own = min(column.own + 1, self._rows)
            if own == self._rows:
                grams.append((tokens[0], tokens[1:]))
            kept.append(_Column(tokens[1:], own))
        # moving up by a row is moving on by one token
        self._columns = kept[max(committed - 1, 0) :]
        self._ends = []
        return grams
