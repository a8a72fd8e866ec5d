"""Who does the work of a build: this process alone, or workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ragdecode.documents.tokens import TokenOffsets
from ragdecode.indexing.building.extraction import Extractor, Job, Outcome
from ragdecode.indexing.store import Encoders
from ragdecode.spec.index import IndexSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.spec.model import ModelSpec


class Crew(Protocol):
    """Reads, splits and embeds. Results come in the order of what was asked for; few are held at once."""

    def extract(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """What comes of each job."""
        ...

    def encode(self, model: ModelSpec, batches: Iterable[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Vectors of each batch of documents ``[len(batch), dimension]``."""
        ...


class Alone:
    """All work in this process, one thing after the other."""

    def __init__(self, spec: IndexSpec, token_offsets: TokenOffsets, encoders: Encoders) -> None:
        self._extractor = Extractor(spec, token_offsets)
        self._encoders = encoders

    def extract(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One by one."""
        return map(self._extractor, jobs)

    def encode(self, model: ModelSpec, batches: Iterable[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """One by one."""
        return map(self._encoders(model).encode, batches)


@contextmanager
def gathered(spec: IndexSpec, token_offsets: TokenOffsets, encoders: Encoders, workers: int) -> Iterator[Crew]:
    """A crew for the block.

    Args:
        spec: The index.
        token_offsets: Character offsets of the tokens of a text.
        encoders: Gives the sentence encoder of a model.
        workers: Number of Ray workers; 0 for this process alone.

    Raises:
        InputError: Ray is not installed.
        RunError: A worker died or failed.
    """
    if not workers:
        yield Alone(spec, token_offsets, encoders)
        return
    from ragdecode.indexing.building.ray_crew import RayCrew

    with RayCrew(spec, token_offsets, encoders, workers) as crew:
        yield crew
