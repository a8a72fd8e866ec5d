"""Suffix arrays of token ids, in numpy: where every run of tokens stands, in the order of the tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: suffixes are sorted by so many first tokens; equal ones stand in order of their position
DEPTH = 64
#: bytes of memory a token while an array is built, temporaries included
BYTES_PER_TOKEN = 56


def suffix_array(tokens: NDArray[Any], separator: int, depth: int = DEPTH) -> NDArray[np.uint32]:
    """Start positions of all suffixes in lexicographic order, those that begin with a separator left out.

    Prefix doubling (Manber and Myers 1993) that sorts only groups still undecided (Larsson and Sadakane 2007). A
    suffix ends at the first separator behind it, so that documents do not see each other: taking a document out
    leaves the order of the others as it is.

    Args:
        tokens: Token ids [M], below the separator; the last one is a separator.
        separator: Ends a document; above all ids.
        depth: A power of two; suffixes that agree in so many tokens stand in order of their position.

    Returns:
        Positions [M - separators].

    Raises:
        ValueError: The last token is no separator, or there are too many tokens.
    """
    size = len(tokens)
    if not size:
        return np.empty(0, np.uint32)
    if int(tokens[-1]) != separator or size >= 1 << 31:
        raise ValueError("the tokens do not end with a separator" if size < 1 << 31 else "too many tokens")
    ids = tokens.astype(tokens.dtype.newbyteorder("="), copy=False)
    order = np.argsort(ids, kind="stable").astype(np.int32)
    placed = ids[order]
    head = np.empty(size, bool)  # whether a slot begins a group of suffixes that are equal so far
    head[0] = True
    np.not_equal(placed[1:], placed[:-1], out=head[1:])
    head |= placed == separator  # each separator is another one, so nothing is equal beyond it
    ends = int(np.count_nonzero(placed == separator))
    rank = np.empty(size, np.int32)
    rank[order] = np.maximum.accumulate(np.where(head, np.arange(size, dtype=np.int32), np.int32(0)))
    slots = np.flatnonzero(_shared(head)).astype(np.int32)
    del placed, head
    length = 1
    while len(slots) and length < depth:
        suffixes = order[slots]
        key = rank[suffixes].astype(np.int64) << 32
        key |= rank[suffixes + length]  # in range: what is equal so far holds no separator, and the last token is one
        turn = np.argsort(key, kind="stable")
        suffixes, key = suffixes[turn], key[turn]
        order[slots] = suffixes
        head = np.empty(len(slots), bool)
        head[0] = True
        np.not_equal(key[1:], key[:-1], out=head[1:])
        rank[suffixes] = slots[np.maximum.accumulate(np.where(head, np.arange(len(slots)), 0))]
        slots = slots[_shared(head)]
        length *= 2
    return order[: size - ends].astype(np.uint32)


def without(suffixes: NDArray[np.uint32], keep: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """The suffix array of what is left when whole documents are taken out; nothing is sorted again.

    Args:
        suffixes: Suffix array [S].
        keep: Tokens that stay [M].
    """
    moved = np.cumsum(keep, dtype=np.int64) - 1
    kept: NDArray[np.uint32] = moved[suffixes[keep[suffixes]]].astype(np.uint32)
    return kept


def _shared(head: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Slots of groups that hold more than one suffix."""
    alone = head.copy()
    alone[:-1] &= head[1:]
    result: NDArray[np.bool_] = ~alone
    return result
