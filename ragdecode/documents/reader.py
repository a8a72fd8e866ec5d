"""The contract of readers, and how the reader of a file is found."""

from __future__ import annotations

from typing import ClassVar, Protocol

from ragdecode.documents.document import Document
from ragdecode.errors import InputError
from ragdecode.spec import registry


class UnreadableError(Exception):
    """A file cannot be read; the message is the reason shown to the user. Never fatal to a build."""


class Reader(Protocol):
    """Turns the bytes of one file format into a `Document`.

    Attributes:
        suffixes: File name suffixes it reads, lower case with the dot.
    """

    suffixes: ClassVar[tuple[str, ...]]

    def read(self, data: bytes) -> Document:
        """Read a whole file.

        Raises:
            UnreadableError: With the reason, when the bytes are not what the suffix promises.
        """
        ...


def readers_by_suffix() -> dict[str, Reader]:
    """One reader for each known suffix.

    Raises:
        InputError: Two installed readers claim the same suffix.
    """
    found: dict[str, Reader] = {}
    owner: dict[str, str] = {}
    for name, info in registry.parts("reader").items():
        reader: Reader = info.cls(info.settings())
        for suffix in reader.suffixes:
            if suffix in owner:
                raise InputError(
                    f"the readers {owner[suffix]!r} and {name!r} both claim files ending in {suffix}",
                    hint="uninstall one of the packages that bring them",
                )
            owner[suffix], found[suffix] = name, reader
    return found
