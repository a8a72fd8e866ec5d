"""The contract of loaders: documents that do not lie in a folder as files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ragdecode.documents.document import Document
from ragdecode.documents.walk import Skipped


@dataclass(frozen=True)
class Loaded:
    """A document from elsewhere.

    Attributes:
        source: Its name, unique in the corpus.
        document: Its text and structure.
    """

    source: str
    document: Document


class Loader(Protocol):
    """A part of kind ``loader``, built as ``cls(settings)``."""

    def load(self) -> Iterator[Loaded | Skipped]:
        """All documents, one by one, in the same order each time; what cannot be loaded is told, never fatal.

        Raises:
            InputError: The settings name something that is not there.
            RunError: The place they come from cannot be reached.
        """
        ...
