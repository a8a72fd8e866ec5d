"""What is known of the files of a corpus, in memory: some hundred bytes a file, found by source."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from ragdecode.documents.names import Names, encoded
from ragdecode.indexing.files import Entry, FileEntry, SkippedEntry

#: bytes of a SHA-256 hash
_HASH = 32
#: in the place of the number of a reason: the file was read; nothing is known of it yet
_READ, _OPEN = -1, -2
#: slots for two files at least
_ROOM = 16


class FileTable:
    """Files by row number. Two million of them have to fit: each is made an object only when it is asked for.

    Rows are found by source through a hash table with open addressing, whose slots are row numbers.

    Args:
        entries: Files to begin with.
        expected: Number of rows to expect, so that the hash table need not grow.
    """

    def __init__(self, entries: Iterable[Entry] = (), *, expected: int = 0) -> None:
        self._names = Names()
        self._sizes, self._times, self._passages, self._tokens = array("q"), array("q"), array("I"), array("q")
        self._hashes = bytearray()
        self._why = array("i")  # _READ, _OPEN, or the number of the reason for which it was skipped
        self._reasons: dict[str, int] = {}
        self._reason_of: list[str] = []
        self._flaws: dict[int, tuple[str, ...]] = {}
        self._slots = array("q", [-1]) * max(_ROOM, expected * 3 // 2)
        self._findable = 0
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, row: int) -> Entry:
        why = self._why[row]
        if why != _READ:
            return SkippedEntry(self._names[row], self._reason_of[why], self._sizes[row], self._times[row])
        return FileEntry(
            source=self._names[row],
            sha256=self._hashes[row * _HASH : (row + 1) * _HASH].hex(),
            size=self._sizes[row],
            mtime_ns=self._times[row],
            passages=self._passages[row],
            tokens=self._tokens[row],
            flaws=self._flaws.get(row, ()),
        )

    def __iter__(self) -> Iterator[Entry]:
        return (self[row] for row in range(len(self)))

    @property
    def passages(self) -> Sequence[int]:
        """Number of passages of each row."""
        return self._passages

    @property
    def tokens(self) -> int:
        """Tokens of all files together."""
        return sum(self._tokens)

    def count_files(self) -> int:
        """Number of files that were read."""
        return self._why.count(_READ)

    def files(self) -> Iterator[FileEntry]:
        """Files that were read, in order."""
        return (entry for entry in self if isinstance(entry, FileEntry))

    def skipped(self) -> Iterator[SkippedEntry]:
        """Files that were left out, in order."""
        return (entry for row, why in enumerate(self._why) if why >= 0 and isinstance(entry := self[row], SkippedEntry))

    def add(self, entry: Entry) -> int:
        """Append a file; its row. One whose content was never looked at is not found by its source."""
        row = self.reserve(entry.source, findable=isinstance(entry, FileEntry) or entry.mtime_ns != 0)
        self.put(row, entry)
        return row

    def reserve(self, source: str, *, findable: bool = True) -> int:
        """Append a file of which nothing is known yet; its row.

        Args:
            source: Its name; one that is there already is not found a second time.
            findable: Whether it is found by its name.
        """
        row = len(self)
        self._names.append(source)
        for column in (self._sizes, self._times, self._passages, self._tokens):
            column.append(0)
        self._hashes += bytes(_HASH)
        self._why.append(_OPEN)
        if findable:
            if 3 * self._findable >= 2 * len(self._slots):
                self._grow()
            slot = self._slot(encoded(source))
            if self._slots[slot] < 0:
                self._slots[slot] = row
                self._findable += 1
        return row

    def put(self, row: int, entry: Entry) -> None:
        """Say what a row is, whatever it was before."""
        self._sizes[row], self._times[row] = entry.size, entry.mtime_ns
        self._flaws.pop(row, None)
        if isinstance(entry, SkippedEntry):
            number = self._reasons.setdefault(entry.reason, len(self._reason_of))
            if number == len(self._reason_of):
                self._reason_of.append(entry.reason)
            self._why[row], self._passages[row], self._tokens[row] = number, 0, 0
            return
        self._why[row], self._passages[row], self._tokens[row] = _READ, entry.passages, entry.tokens
        self._hashes[row * _HASH : (row + 1) * _HASH] = bytes.fromhex(entry.sha256)
        if entry.flaws:
            self._flaws[row] = entry.flaws

    def find(self, source: str) -> int | None:
        """The row of a file; None if there is none of that name."""
        row = self._slots[self._slot(encoded(source))]
        return row if row >= 0 else None

    def file(self, source: str) -> FileEntry | None:
        """A file that was read; None if there is none of that name."""
        row = self.find(source)
        entry = self[row] if row is not None and self._why[row] == _READ else None
        return entry if isinstance(entry, FileEntry) else None

    def __contains__(self, source: object) -> bool:
        return isinstance(source, str) and self.find(source) is not None

    def _slot(self, name: bytes) -> int:
        """The slot of a name: its own, or the empty one where it belongs."""
        slots, names = self._slots, self._names
        at = hash(name) % len(slots)
        while (row := slots[at]) >= 0 and names.raw(row) != name:
            at = (at + 1) % len(slots)
        return at

    def _grow(self) -> None:
        rows = [row for row in self._slots if row >= 0]
        self._slots = array("q", [-1]) * (2 * len(self._slots))
        for row in rows:
            self._slots[self._slot(self._names.raw(row))] = row
