"""The contract of readers, and how the reader of a file is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ragdecode.documents.document import Document
from ragdecode.errors import InputError
from ragdecode.spec import registry
from ragdecode.spec.part import Part


class UnreadableError(Exception):
    """A file cannot be read; the message is the reason shown to the user. Never fatal to a build."""


class Reader(Protocol):
    """Turns the bytes of one file format into a `Document`."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """File name suffixes that it reads, lower case with the dot; a class variable where they are fixed."""
        ...

    def read(self, data: bytes) -> Document:
        """Read a whole file.

        Raises:
            UnreadableError: With the reason, when the bytes are not what the suffix promises.
        """
        ...


@runtime_checkable
class OfSuffix(Protocol):
    """What a reader adds that reads its suffixes in different ways."""

    def of_suffix(self, suffix: str) -> Reader:
        """The reader for one of its suffixes."""
        ...


def readers_by_suffix(configured: Sequence[Part] = ()) -> dict[str, Reader]:
    """One reader for each known suffix.

    Args:
        configured: Readers with settings of their own (``corpus.readers``); for the suffixes that they read they
            come before those that are there without being asked for.

    Raises:
        InputError: Two configured or two installed readers claim the same suffix.
    """
    asked = _claims(
        [(part.name, part.build()) for part in configured],
        "leave one of them out of index.corpus.readers, or give them other suffixes",
    )
    # a reader with a setting that has no default reads nothing until it is configured
    ready = [(name, info) for name, info in registry.parts("reader").items() if not _must_be_set(info)]
    there = _claims(
        [(name, info.cls(info.settings())) for name, info in ready], "uninstall one of the packages that bring them"
    )
    return {**there, **asked}


def _must_be_set(info: registry.PartInfo) -> bool:
    return any(field.is_required() for field in info.settings.model_fields.values())


def _claims(readers: Sequence[tuple[str, Reader]], way_out: str) -> dict[str, Reader]:
    found: dict[str, Reader] = {}
    owner: dict[str, str] = {}
    for name, reader in readers:
        for suffix in reader.suffixes:
            if suffix in owner:
                raise InputError(
                    f"the readers {owner[suffix]!r} and {name!r} both claim files ending in {suffix}", hint=way_out
                )
            owner[suffix] = name
            found[suffix] = reader.of_suffix(suffix) if isinstance(reader, OfSuffix) else reader
    return found
