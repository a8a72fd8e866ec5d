"""Past answers as token ids, searched like documents: a datastore that grows while answers are written."""

from __future__ import annotations

import binascii
import logging
import os
import threading
import zlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.errors import RunError
from ragdecode.indexing.tokens.shard import Lookup, Shard, separator

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

#: tokens of a shard that is not merged with others; as many shards of that size are kept, the oldest goes first
LARGE, MANY = 1 << 20, 4
#: bytes of a file of answers, above which nothing is added to it
FULL = 1 << 26


class Answers:
    """Answers that were given, in shards of growing size: an answer is sorted again O(log n) times.

    A file of answers has one line each, a checksum and the ids, and is only ever added to, a whole line in one write.
    A line that was cut short by the end of a process is skipped, so that nothing is lost but that answer; several
    processes may add to one file. Threads may share an object.

    Args:
        dtype: How ids are stored.
        file: Where answers are kept; in memory only if None.

    Raises:
        RunError: The file cannot be read.
    """

    def __init__(self, dtype: np.dtype[Any], file: Path | None = None) -> None:
        self._dtype = dtype
        self._file = file
        self._waiting: deque[NDArray[Any]] = deque()
        self._lock = threading.Lock()
        self._sizes: list[int] = []
        self._shards: tuple[Lookup, ...] = ()
        if file is not None:
            self._waiting.extend(_read(file, dtype))

    @property
    def shards(self) -> tuple[Lookup, ...]:
        """The answers, ready to be searched."""
        return self._shards

    def add(self, ids: Sequence[int]) -> None:
        """Take in an answer; it is found after the next `settle`. That it cannot be kept is no error, but logged."""
        tokens = np.asarray(ids, np.int64)
        if not len(tokens) or tokens.min() < 0 or tokens.max() >= separator(self._dtype):
            return
        tokens = tokens.astype(self._dtype)
        self._waiting.append(tokens)
        if self._file is not None:
            _append(self._file, tokens)

    def settle(self) -> None:
        """Sort the answers that were added; called between answers, not between tokens."""
        if not self._waiting:
            return
        with self._lock:
            shards = [lookup.shard for lookup in self._shards]
            fresh = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if fresh:
                shards.append(_unsorted(fresh, self._dtype))
                self._shards = tuple(Lookup(shard) for shard in _merged(shards))


def _merged(shards: list[Shard]) -> list[Shard]:
    """The last shards joined until each is less than half of the one before; the oldest large ones go."""
    group = [shards.pop()]
    size = len(group[0].tokens)
    while shards and len(shards[-1].tokens) < min(2 * size, LARGE):
        group.insert(0, shards.pop())
        size += len(group[0].tokens)
    merged = [*shards, Shard.join(group)]
    return merged[max(0, sum(len(shard.tokens) >= LARGE for shard in merged) - MANY) :]


def _unsorted(answers: list[NDArray[Any]], dtype: np.dtype[Any]) -> Shard:
    lengths = [len(answer) + 1 for answer in answers]
    tokens = np.full(sum(lengths), separator(dtype), dtype)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32)
    for start, answer in zip(starts[:-1].tolist(), answers, strict=True):
        tokens[start : start + len(answer)] = answer
    return Shard(tokens, np.empty(0, np.uint32), np.zeros((len(answers), 16), np.uint8), starts)


def _append(file: Path, tokens: NDArray[Any]) -> None:
    """Add a line in one write; it begins a line of its own even behind one that was cut short."""
    data = tokens.tobytes()
    line = b"\n%08x %s\n" % (zlib.crc32(data), b64encode(data))
    try:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_size + len(line) <= FULL:
                os.write(handle, line)
        finally:
            os.close(handle)
    except OSError as error:  # the answer itself is given already
        _log.warning("the answer cannot be kept in %s: %s", file, error.strerror)


def _read(file: Path, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """The answers in a file; lines that are not whole are skipped."""
    try:
        lines = file.read_bytes().split(b"\n") if file.exists() else []
    except OSError as error:
        hint = "check its permissions, or remove it: it holds past answers only"
        raise RunError(f"the answers in {str(file)!r} cannot be read: {error.strerror}", hint=hint) from error
    for line in lines:
        check, _, text = line.partition(b" ")
        try:
            data = b64decode(text, validate=True)
        except binascii.Error:
            continue
        if data and check == b"%08x" % zlib.crc32(data) and not len(data) % dtype.itemsize:
            tokens = np.frombuffer(data, dtype)
            if separator(dtype) not in tokens:
                yield tokens
