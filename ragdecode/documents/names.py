"""Many strings in little room."""

from __future__ import annotations

from array import array


class Names:
    """Strings end to end in one buffer: eight bytes each beside their own."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ends = array("q", [0])

    def append(self, name: str) -> None:
        """Add a string."""
        self._buffer += encoded(name)
        self._ends.append(len(self._buffer))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, at: int) -> str:
        return self.raw(at).decode("utf-8", "surrogatepass")

    def raw(self, at: int) -> bytes:
        """A string as `encoded` gives it."""
        return bytes(self._buffer[self._ends[at] : self._ends[at + 1]])


def encoded(name: str) -> bytes:
    """UTF-8; halves of characters, which loaders may bring, are kept."""
    return name.encode("utf-8", "surrogatepass")
