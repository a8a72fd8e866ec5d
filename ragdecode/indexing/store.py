"""The contract of stores: what an index can be searched by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.passages import PassageTable
    from ragdecode.spec.model import ModelSpec


class Encoder(Protocol):
    """Texts to vectors."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get another vector."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        ...

    def encode(self, texts: Sequence[str], *, role: Literal["query", "document"] = "document") -> NDArray[np.float32]:
        """Vectors ``[len(texts), dimension]``."""
        ...


#: gives the loaded encoder of a model
Encoders = Callable[["ModelSpec"], Encoder]
#: called with (stage, done, total)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Previous:
    """What an earlier build of the same store left, for what can be taken over.

    Attributes:
        folder: Its data files, complete and undamaged.
        facts: What it put into the manifest.
    """

    folder: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class BuildContext:
    """What a store may use while it is built.

    Attributes:
        encoders: Gives sentence encoders.
        progress: To be called now and then.
        previous: The same store of the index that is replaced, if its settings were the same.
    """

    encoders: Encoders
    progress: Progress
    previous: Previous | None = None


@dataclass(frozen=True)
class Built:
    """What a store has to say after its build.

    Attributes:
        facts: For the manifest (JSON): what `Store.open` must know, fingerprints.
        summary: What was done, for people: ``embedded 57 passages``.
    """

    facts: dict[str, Any]
    summary: str


class Searcher(Protocol):
    """An open store."""

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """The best k rows of the passage table for each query, best first, as ``(row, score)``.

        Rows whose score equals that of the k-th are all included: the index breaks ties by passage id.
        """
        ...


class Store(Protocol):
    """A part of kind ``store``, built as ``cls(settings)``."""

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Write the data files into the empty ``folder``; file names of letters, digits, ``._-`` only."""
        ...

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Whether a build now would use the same models as the one that left these facts."""
        ...

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> Searcher:
        """Open the data files, memory-mapped where they are large."""
        ...
