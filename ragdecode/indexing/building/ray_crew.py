"""Ray workers that read, split and embed for a build. All writing stays in the process that builds."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ragdecode.documents.reader import readers_by_suffix
from ragdecode.documents.tokens import TokenOffsets
from ragdecode.documents.walk import Found
from ragdecode.errors import InputError, RagDecodeError, RunError
from ragdecode.indexing.building.extraction import Extractor, Job, Outcome
from ragdecode.indexing.store import Encoders
from ragdecode.spec.index import IndexSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.spec.model import ModelSpec

logger = logging.getLogger(__name__)

#: calls that a worker has in hand or in its queue: one to work on, one to go on with
_AHEAD = 2
#: files and bytes given to a worker at once
_FILES, _BYTES = 32, 4_000_000


class Worker:
    """Runs on a worker, where its models are opened once."""

    def __init__(self, spec: IndexSpec, token_offsets: TokenOffsets, encoders: Encoders) -> None:
        self._extractor = Extractor(spec, token_offsets)
        self._encoders = encoders

    def extract(self, jobs: Sequence[Job]) -> list[Outcome]:
        """What comes of each job."""
        return [self._extractor(job) for job in jobs]

    def encode(self, model: ModelSpec, fingerprint: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of documents.

        Raises:
            InputError: The model is not on this machine, or is another one here.
        """
        encoder = self._encoders(model)
        if encoder.fingerprint != fingerprint:
            raise InputError(
                f"a worker has another encoder {model.name!r}: fingerprint {encoder.fingerprint}, here {fingerprint}",
                hint="put the same weights on all machines of the cluster",
            )
        return encoder.encode(texts)


class RayCrew:
    """Ray workers, started with the first work that there is; a context that ends them.

    A cluster is used if this process is connected to one, or if ``RAY_ADDRESS`` names one; otherwise workers are
    started on this machine, and ended with the build. At most a few calls a worker are under way at a time, so that
    memory stays bounded however large the corpus is.

    Args:
        spec: The index.
        token_offsets: Character offsets of the tokens of a text; goes to the workers.
        encoders: Gives the sentence encoder of a model; goes to the workers.
        workers: How many.

    Raises:
        InputError: Ray is not installed, or two readers claim the same files.
    """

    def __init__(self, spec: IndexSpec, token_offsets: TokenOffsets, encoders: Encoders, workers: int) -> None:
        if find_spec("ray") is None:
            raise InputError("workers need Ray, which is not installed", hint="pip install 'ragdecode[ray]'")
        readers_by_suffix(spec.corpus.readers)  # what is wrong with them is told here, not by a worker
        self._parts = (spec, token_offsets, encoders)
        self._encoders = encoders
        self._count = workers
        self._workers: list[Any] = []
        self._started = False  # whether Ray was started here

    def extract(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """What comes of each job, in order."""
        for outcomes in self._map(_chunks(jobs), lambda worker, chunk: worker.extract.remote(chunk)):
            yield from outcomes

    def encode(self, model: ModelSpec, batches: Iterable[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Vectors of each batch, in order."""
        fingerprint = self._encoders(model).fingerprint
        return self._map(batches, lambda worker, batch: worker.encode.remote(model, fingerprint, batch))

    def __enter__(self) -> RayCrew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._workers and not self._started:
            return
        import ray

        for worker in self._workers:  # also ends what they have in hand, if the build was interrupted
            ray.kill(worker)
        self._workers = []
        if self._started:
            ray.shutdown()
            self._started = False

    def _map(self, items: Iterable[Any], submit: Callable[[Any, Any], Any]) -> Iterator[Any]:
        """Results in the order of the items; a few calls ahead of the one that is waited for."""
        waiting: deque[Any] = deque()
        for number, item in enumerate(items):
            workers = self._workers or self._start()
            waiting.append(submit(workers[number % len(workers)], item))
            if len(waiting) >= _AHEAD * len(workers):
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def _result(self, reference: Any) -> Any:
        import ray

        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, RagDecodeError):
                raise error.cause from None
            raise RunError(f"a worker failed: {type(error.cause).__name__}: {error.cause}", hint=_KEPT) from error
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().split("\n", 1)[0]
            raise RunError(f"a worker died: {first_line}", hint=_KEPT) from error

    def _start(self) -> list[Any]:
        import ray

        if not ray.is_initialized():
            self._connect()
        available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if available.get("CPU", 0) < self._count:
            logger.warning(
                "%d workers are asked for, and the cluster has %g processors", self._count, available.get("CPU", 0)
            )
        # workers share the accelerators that there are; without a share a worker would see none
        share = min(1.0, available.get("GPU", 0) / self._count)
        try:
            parts = ray.put(self._parts)
        except Exception as error:  # pickling fails in many ways
            why = str(error.__cause__ or error).strip().split("\n", 1)[0]
            raise InputError(
                f"the tokenizer or the encoders cannot be sent to workers: {why}", hint="build without workers"
            ) from error
        remote = ray.remote(num_cpus=1, num_gpus=share)(_Remote)
        self._workers = [remote.remote(parts) for _ in range(self._count)]
        return self._workers

    def _connect(self) -> None:
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        address = os.environ.get("RAY_ADDRESS")
        try:
            if address:
                _knock(address)
                ray.init(address=address, **quiet)
            else:
                ray.init(address="local", num_cpus=self._count, include_dashboard=False, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"the Ray cluster {address!r} cannot be reached" if address else "Ray cannot be started"
            raise RunError(f"{where}: {error}", hint="see RAY_ADDRESS, or build without workers") from error
        self._started = True


class _Remote(Worker):
    """A worker made from what Ray carried over."""

    def __init__(self, parts: tuple[IndexSpec, TokenOffsets, Encoders]) -> None:
        super().__init__(*parts)


def _knock(address: str) -> None:
    """See whether anybody listens at ``host:port`` or ``ray://host:port``: Ray itself waits for minutes.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


_KEPT = "what has been done is kept for the next build"


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Small files together, large ones alone."""
    chunk: list[Job] = []
    size = 0
    for job in jobs:
        length = job.item.size if isinstance(job.item, Found) else len(job.item.document.text)
        if chunk and (len(chunk) == _FILES or size + length > _BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(job)
        size += length
    if chunk:
        yield chunk
