"""Which tokens of held-out texts are read, and in which windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragdecode.indexing.memory.windows import Reading, Window, windows


@dataclass(frozen=True)
class Portions:
    """Parts of texts, read as a memory's corpus was read.

    Attributes:
        texts: Tokens of each text that is read, from its beginning on.
        windows: The windows; a window's document is the number of its text.
        tokens: Tokens that are predicted in all of them.
    """

    texts: Sequence[Sequence[int]]
    windows: Sequence[Window]
    tokens: int


def portions(texts: Sequence[Sequence[int]], facts: Mapping[str, Any], most: int) -> Portions:
    """Equal parts of all texts, the whole of short ones, ``most`` tokens together at most.

    Args:
        texts: Tokens of each; texts that are too short for a key are passed over.
        facts: Those of the memory: ``window``, ``stride`` and ``context``.
        most: Tokens that are predicted.
    """
    reading = Reading(int(facts["window"]), int(facts["stride"]), int(facts["context"]))
    long_enough = [ids for ids in texts if reading.entries(len(ids)) > 0]
    room = _shares([reading.entries(len(ids)) for ids in long_enough], most)
    taken = [ids[: count + reading.context] for ids, count in zip(long_enough, room, strict=True) if count]
    found = [one for number, ids in enumerate(taken) for one in windows(number, len(ids), 0, reading)]
    return Portions(taken, found, sum(room))


def _shares(lengths: Sequence[int], most: int) -> list[int]:
    """How much of each is taken: all of it, or equal parts as long as there is room."""
    taken = [0] * len(lengths)
    left = most
    for rank, at in enumerate(sorted(range(len(lengths)), key=lambda at: lengths[at])):
        taken[at] = min(lengths[at], left // (len(lengths) - rank))
        left -= taken[at]
    return taken
