"""The open token datastore: where did the last tokens stand before, and what followed them there?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.errors import InputError
from ragdecode.indexing.tokens.answers import Answers
from ragdecode.indexing.tokens.continuations import Continuations, most_frequent
from ragdecode.indexing.tokens.shard import Lookup, Shard, numbers, separator
from ragdecode.indexing.tokens.suffix_array import DEPTH

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TokenDatastore:
    """Documents as token ids, searched through suffix arrays. It is read only, and threads may share it.

    The construction of REST (He et al. 2024, https://arxiv.org/abs/2311.08252), with three differences: no
    continuation runs from one document into the next, the places that are looked at are spread over all that match,
    and ties are broken, so that equal questions get equal trees.

    Args:
        shards: The documents.
        dtype: How ids are stored.
        folder: Folder of the index that it belongs to; None for a datastore in memory.
        tokenizer: Fingerprint of the tokenizer whose ids they are.

    Attributes:
        folder: The same.
        tokenizer: The same.
        tokens: Number of token ids in it, separators not counted.
    """

    def __init__(
        self, shards: Sequence[Shard], dtype: np.dtype[Any], folder: Path | None = None, tokenizer: str = ""
    ) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self.dtype = dtype
        self._shards = tuple(Lookup(shard) for shard in shards)
        self.tokens = sum(len(shard.suffixes) for shard in shards)

    @staticmethod
    def open(folder: Path, facts: dict[str, Any], index: Path | None = None) -> TokenDatastore:
        """Map the shards in a folder.

        Args:
            folder: Where they are.
            facts: What the build left in the manifest.
            index: Folder of the index.

        Raises:
            OSError: A file is missing.
            ValueError: The files do not fit each other, or the manifest.
        """
        if facts["id_bytes"] not in (2, 4):
            raise ValueError(f"ids of {facts['id_bytes']} bytes")
        shards = [Shard.open(folder, number) for number in numbers(folder)]
        dtype = np.dtype(f">u{facts['id_bytes']}")
        found = sum(len(shard.keys) for shard in shards), sum(len(shard.suffixes) for shard in shards)
        if found != (facts["documents"], facts["tokens"]) or any(shard.tokens.dtype != dtype for shard in shards):
            expected = f"{facts['documents']} documents with {facts['tokens']} tokens of {facts['id_bytes']} bytes"
            raise ValueError(f"expected {expected}, found {found[0]} with {found[1]}")
        return TokenDatastore(shards, dtype, index, str(facts["tokenizer"]))

    def answers(self, keep: bool) -> Answers:
        """Past answers that are to be searched beside the documents.

        Args:
            keep: In a file in the folder of the index, so that later processes have them too; else in memory.

        Raises:
            InputError: They are to be kept, and the datastore has no folder.
            RunError: The file cannot be read or written.
        """
        if not keep:
            return Answers(self.dtype)
        if self.folder is None:
            raise InputError("answers cannot be kept in a file: the datastore is in memory only")
        return Answers(self.dtype, self.folder / f"answers-{self.tokenizer}.txt")

    def continuations(
        self,
        last: Sequence[int],
        *,
        longest: int = 16,
        shortest: int = 2,
        matches: int = 5000,
        length: int = 10,
        nodes: int = 64,
        beside: Answers | None = None,
    ) -> Continuations | None:
        """What followed the longest run of last tokens that stands somewhere.

        Where nothing follows it, because every place is the end of a document, shorter runs are looked for.

        Args:
            last: The last tokens, the newest at the end.
            longest: Longest run that is looked for.
            shortest: Shortest run, at least 1.
            matches: Most places that are looked at; of more, evenly spread ones in the order of what follows.
            length: Tokens of a continuation; ``longest + length`` is at most 64.
            nodes: Largest trie.
            beside: Past answers to search too.

        Returns:
            The trie, or None if nothing is found.
        """
        assert longest + length <= DEPTH, "suffixes are sorted by so many tokens"
        shards = self._shards if beside is None else (*self._shards, *beside.shards)
        most = min(longest, len(last))
        try:
            suffix = np.array(last[len(last) - most :], np.int64)
            if most < shortest or suffix.max() >= separator(self.dtype) or suffix.min() < 0:
                return None
        except OverflowError:
            return None
        sought = suffix.astype(self.dtype).tobytes()
        while most >= shortest:
            matched = shortest - 1
            for shard in shards:  # no shard is asked for less than another has
                matched = max(matched, shard.longest(sought, most, max(shortest, matched)))
            if matched < shortest:
                return None
            found = [(shard, slots) for shard in shards if (slots := shard.slots(sought, matched))]
            places = _places(found, matched, matches)
            tokens, parents, counts = most_frequent(places, length, separator(self.dtype), nodes)
            if tokens:
                return Continuations(tokens, parents, counts, matched, *_sizes(places, found))
            most = matched - 1
        return None


def _places(
    found: Sequence[tuple[Lookup, range]], matched: int, most: int
) -> list[tuple[NDArray[Any], NDArray[np.int64]]]:
    """The places that are looked at: the ids of each shard, and where in it something follows."""
    total = sum(len(slots) for _, slots in found)
    wanted = np.arange(total) if total <= most else np.arange(most) * total // most
    places = []
    before = 0
    for lookup, slots in found:
        own = wanted[np.searchsorted(wanted, before) : np.searchsorted(wanted, before + len(slots))] - before
        shard = lookup.shard
        places.append((shard.tokens, shard.suffixes[slots.start + own].astype(np.int64) + matched))
        before += len(slots)
    return places


def _sizes(places: Sequence[tuple[Any, NDArray[np.int64]]], found: Sequence[tuple[Lookup, range]]) -> tuple[int, int]:
    """How many places are looked at, and how many there are."""
    return sum(len(starts) for _, starts in places), sum(len(slots) for _, slots in found)
