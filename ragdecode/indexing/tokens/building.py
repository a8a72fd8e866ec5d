"""Builds the token datastore: documents that are there already stay where they are, new ones make a shard."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.documents.tokens import blocks
from ragdecode.indexing.tokens.shard import Shard, id_type, numbers, separator, take_over

if TYPE_CHECKING:
    from ragdecode.indexing.store import CorpusTokenizer

#: tokens of a shard that is not merged with others; its suffix array is what a build has in memory
LARGE = 1 << 24
#: shards below that size, at most
MANY = 8


@dataclass
class Totals:
    """What a datastore holds, and what a build did.

    Attributes:
        documents: Different documents.
        tokens: Their tokens.
        fresh: Documents that were tokenised.
        shards: Shards.
    """

    documents: int = 0
    tokens: int = 0
    fresh: int = 0
    shards: int = 0


@dataclass
class _Known:
    """A shard of the datastore before.

    Attributes:
        number: Its number there.
        shard: Its arrays.
        stay: Documents that are still in the corpus [D].
    """

    number: int
    shard: Shard
    stay: Any

    @property
    def size(self) -> int:
        """Tokens that stay, separators included."""
        return int(np.diff(self.shard.starts.astype(np.int64))[self.stay].sum())


@dataclass
class _Fresh:
    """New documents that are no shard yet."""

    dtype: np.dtype[Any]
    ids: array[int] = field(default_factory=lambda: array("I"))
    keys: list[bytes] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])

    def add(self, key: bytes, ids: Iterable[int]) -> None:
        self.ids.extend(ids)
        self.ids.append(separator(self.dtype))
        self.keys.append(key)
        self.starts.append(len(self.ids))

    @property
    def size(self) -> int:
        return len(self.ids)

    def unsorted(self) -> Shard:
        """The documents without their suffix array."""
        tokens = np.frombuffer(self.ids, np.uint32).astype(self.dtype)
        keys = np.frombuffer(b"".join(self.keys), np.uint8).reshape(-1, 16)
        return Shard(tokens, np.empty(0, np.uint32), keys, np.array(self.starts, np.uint32))


def build(
    documents: Iterable[str],
    folder: Path,
    tokenizer: CorpusTokenizer,
    previous: Path | None = None,
    progress: Callable[[int], None] = lambda tokens: None,
    large: int = LARGE,
) -> Totals:
    """Write the shards of the documents into a folder. A text that stands twice is taken once.

    Documents of the datastore before are not tokenised again, and a shard that holds nothing else is taken over as
    it is. Shards below ``large`` are merged whenever one is not half as large as the one before, as in a
    log-structured merge tree: each token is sorted again O(log M) times over all builds.

    Args:
        documents: Their texts.
        folder: An empty folder.
        tokenizer: Gives the ids.
        previous: Folder of the datastore before, made with the same tokenizer.
        progress: Told how many new tokens there are.
        large: Shards of that many tokens stay as they are.

    Raises:
        OSError: The disk is full.
    """
    dtype = id_type(tokenizer.vocab_size)
    known = _opened(previous, dtype) if previous else []
    place = {key.tobytes(): (at, row) for at, one in enumerate(known) for row, key in enumerate(one.shard.keys)}
    seen: set[bytes] = set()
    fresh, new, totals = _Fresh(dtype), 0, Totals()
    for text in documents:
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in seen:
            continue
        seen.add(key)
        if key in place:
            at, row = place[key]
            known[at].stay[row] = True
            continue
        before = fresh.size
        fresh.add(key, token_ids(text, tokenizer))
        new += fresh.size - before
        totals.fresh += 1
        progress(new)
        if fresh.size >= large:
            _write(Shard.join([fresh.unsorted()]), folder, totals)
            fresh = _Fresh(dtype)
    rest: list[_Known | _Fresh] = [one for one in known if one.stay.any()]
    rest += [fresh] if fresh.keys else []
    for group in _groups(rest, large):
        _settle(group, folder, previous, totals)
    return totals


def _opened(folder: Path, dtype: np.dtype[Any]) -> list[_Known]:
    """The shards of the datastore before; none if one cannot be read, so that everything is built anew."""
    try:
        shards = [(number, Shard.open(folder, number)) for number in numbers(folder)]
    except (OSError, ValueError):
        return []
    return [
        _Known(number, shard, np.zeros(len(shard.keys), bool))
        for number, shard in shards
        if shard.tokens.dtype == dtype
    ]


def token_ids(text: str, tokenizer: CorpusTokenizer) -> Iterable[int]:
    """Ids of a text, taken in pieces because the tokenizer's memory grows with what it is given."""
    borders = blocks(text)
    for start, end in pairwise(borders):
        yield from tokenizer.encode(text[start:end], special=False)


def _groups(shards: list[_Known | _Fresh], large: int) -> list[list[_Known | _Fresh]]:
    """Which shards become one: the larger first, each less than half of the one before, and not too many."""
    groups: list[list[_Known | _Fresh]] = [[one] for one in shards if one.size >= large]
    small = sorted(([one] for one in shards if one.size < large), key=_size, reverse=True)
    at = len(small) - 1
    while at > 0:
        pair = _size(small[at - 1]) + _size(small[at])
        if pair < large and (2 * _size(small[at]) > _size(small[at - 1]) or len(small) > MANY):
            small[at - 1] += small.pop(at)
            small.sort(key=_size, reverse=True)
            at = len(small)
        at -= 1
    return groups + small


def _size(group: list[_Known | _Fresh]) -> int:
    return sum(one.size for one in group)


def _settle(group: list[_Known | _Fresh], folder: Path, previous: Path | None, totals: Totals) -> None:
    """Write a group as one shard."""
    if len(group) == 1 and isinstance(one := group[0], _Known):
        if one.stay.all() and previous is not None:
            take_over(previous, one.number, folder, totals.shards)
            _count(one.shard, totals)
        else:
            _write(one.shard.only(one.stay), folder, totals)
        return
    parts = [one.unsorted() if isinstance(one, _Fresh) else one.shard.only(one.stay) for one in group]
    _write(Shard.join(parts), folder, totals)


def _write(shard: Shard, folder: Path, totals: Totals) -> None:
    shard.write(folder, totals.shards)
    _count(shard, totals)


def _count(shard: Shard, totals: Totals) -> None:
    totals.shards += 1
    totals.documents += len(shard.keys)
    totals.tokens += len(shard.suffixes)
