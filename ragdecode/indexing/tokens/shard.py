"""A part of the datastore: token ids of some documents with their suffix array, searched where they lie on disk."""

from __future__ import annotations

import os
import shutil
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.indexing.tokens.suffix_array import suffix_array, without

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: the arrays of a shard: ids [M], suffix array [S], key of each document [D, 16], where each begins and the end [D + 1]
TOKENS, SUFFIXES, KEYS, STARTS = "tokens", "suffixes", "keys", "starts"


def id_type(vocabulary: int) -> np.dtype[Any]:
    """How ids are stored: the larger byte first, so that runs of ids compare like their bytes.

    The largest number of the type is the separator; two bytes do for vocabularies of up to 65,535.
    """
    return np.dtype(">u2" if vocabulary <= 0xFFFF else ">u4")


def separator(dtype: np.dtype[Any]) -> int:
    """The id behind each document."""
    return int(np.iinfo(dtype).max)


@dataclass(frozen=True)
class Shard:
    """Documents as token ids.

    Attributes:
        tokens: Ids, a separator behind each document [M].
        suffixes: Their suffix array [M - D].
        keys: Hash of each document's text [D, 16].
        starts: Where each document begins, and the end of the last one [D + 1].
    """

    tokens: NDArray[Any]
    suffixes: NDArray[np.uint32]
    keys: NDArray[np.uint8]
    starts: NDArray[np.uint32]

    @staticmethod
    def sort(tokens: NDArray[Any], keys: NDArray[np.uint8], starts: NDArray[np.uint32]) -> Shard:
        """A shard of new documents."""
        return Shard(tokens, suffix_array(tokens, separator(tokens.dtype)), keys, starts)

    @staticmethod
    def join(shards: list[Shard]) -> Shard:
        """One shard of the documents of several; the suffixes are sorted anew."""
        offsets = np.cumsum([0, *(len(shard.tokens) for shard in shards)])
        starts = [shard.starts[:-1] + offset for shard, offset in zip(shards, offsets[:-1], strict=True)]
        return Shard.sort(
            np.concatenate([shard.tokens for shard in shards]).astype(shards[0].tokens.dtype),  # keep the byte order
            np.concatenate([shard.keys for shard in shards]),
            np.concatenate([*starts, offsets[-1:]]).astype(np.uint32),
        )

    def only(self, stay: NDArray[np.bool_]) -> Shard:
        """The shard without the documents that do not stay [D]; nothing is sorted."""
        lengths = np.diff(self.starts)
        keep = np.repeat(stay, lengths)
        starts = np.concatenate([[0], np.cumsum(lengths[stay])]).astype(np.uint32)
        return Shard(self.tokens[keep], without(self.suffixes, keep), self.keys[stay], starts)

    def write(self, folder: Path, number: int) -> None:
        """Write the four arrays.

        Raises:
            OSError: The disk is full.
        """
        for name, array in self._arrays():
            np.save(folder / file_name(number, name), array, allow_pickle=False)

    def _arrays(self) -> list[tuple[str, NDArray[Any]]]:
        return [(TOKENS, self.tokens), (SUFFIXES, self.suffixes), (KEYS, self.keys), (STARTS, self.starts)]

    @staticmethod
    def open(folder: Path, number: int) -> Shard:
        """Map the arrays.

        Raises:
            OSError: A file is missing.
            ValueError: The files do not fit each other.
        """
        arrays: dict[str, Any] = {
            name: np.load(folder / file_name(number, name), mmap_mode="r", allow_pickle=False)
            for name in (TOKENS, SUFFIXES, KEYS, STARTS)
        }
        shard = Shard(**arrays)
        shard._check(number)
        return shard

    def _check(self, number: int) -> None:
        tokens, suffixes, keys, starts = self.tokens, self.suffixes, self.keys, self.starts
        fits = (
            all(array.ndim == 1 for array in (tokens, suffixes, starts))
            and tokens.dtype in (np.dtype(">u2"), np.dtype(">u4"))
            and suffixes.dtype == starts.dtype == np.uint32
            and keys.dtype == np.uint8
            and keys.shape == (len(starts) - 1, 16)
            and len(starts) > 1
            and int(starts[0]) == 0
            and int(starts[-1]) == len(tokens)
            and bool((starts[1:] > starts[:-1]).all())
            and len(suffixes) == len(tokens) - len(keys)
            and int(suffixes.max(initial=0)) < len(tokens)
            and _each_once(suffixes, tokens != separator(tokens.dtype), starts)
        )
        if not fits:
            raise ValueError(f"the arrays of shard {number} do not fit each other")


def _each_once(suffixes: NDArray[np.uint32], inside: NDArray[np.bool_], starts: NDArray[np.uint32]) -> bool:
    """Whether separators stand where documents end and nowhere else, and every other position is a suffix."""
    ends = starts[1:].astype(np.int64) - 1
    if inside[ends].any() or int(np.count_nonzero(inside)) != len(suffixes):
        return False
    inside[suffixes] = False
    return not inside.any()


class Lookup:
    """Finds runs of tokens in a shard: two binary searches over bytes, a few microseconds each.

    Args:
        shard: Where it looks.

    Attributes:
        shard: The same.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._width = shard.tokens.dtype.itemsize
        self._bytes = np.ascontiguousarray(shard.tokens).view(np.uint8).data
        self._suffixes = shard.suffixes.data
        self._slots = range(len(shard.suffixes))

    def longest(self, suffix: bytes, most: int, least: int) -> int:
        """How many of the last tokens, ``least`` to ``most``, stand somewhere; ``least - 1`` if not even those do.

        Args:
            suffix: The tokens as `id_type` has them.
            most: Not more than there are.
            least: At least 1.
        """
        if most < least or not self._stands(suffix, least):
            return least - 1
        while least < most:  # what stands somewhere does so without its first token too
            middle = (least + most + 1) // 2
            if self._stands(suffix, middle):
                least = middle
            else:
                most = middle - 1
        return least

    def slots(self, suffix: bytes, length: int) -> range:
        """Slots of the suffix array that begin with the last ``length`` tokens."""
        sought = suffix[-length * self._width :]
        key = self._key(len(sought))
        first = bisect_left(self._slots, sought, key=key)
        return range(first, bisect_right(self._slots, sought, lo=first, key=key))

    def _stands(self, suffix: bytes, length: int) -> bool:
        sought = suffix[-length * self._width :]
        key = self._key(len(sought))
        first = bisect_left(self._slots, sought, key=key)
        return first < len(self._slots) and key(first) == sought

    def _key(self, size: int) -> Any:
        data, suffixes, width = self._bytes, self._suffixes, self._width

        def key(slot: int) -> bytes:
            start = suffixes[slot] * width
            return bytes(data[start : start + size])

        return key


def file_name(number: int, name: str) -> str:
    """Name of one of a shard's files."""
    return f"{number:04d}.{name}.npy"


def numbers(folder: Path) -> list[int]:
    """The shards in a folder."""
    return sorted(int(path.name.split(".")[0]) for path in folder.glob(file_name(0, TOKENS).replace("0000", "[0-9]*")))


def take_over(source: Path, old: int, folder: Path, new: int) -> None:
    """Give the files of a shard a second name, or copy them where the file system cannot.

    Raises:
        OSError: The disk is full.
    """
    for name in (TOKENS, SUFFIXES, KEYS, STARTS):
        here, there = source / file_name(old, name), folder / file_name(new, name)
        try:
            os.link(here, there)
        except OSError:
            shutil.copyfile(here, there)
