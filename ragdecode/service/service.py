"""The service itself: what its routes share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ragdecode.models.progress import Progress
from ragdecode.service.desk import Desk
from ragdecode.service.metrics import Metrics
from ragdecode.service.problem import Problem
from ragdecode.service.settings import ServiceSettings
from ragdecode.service.shelf import Documents, Shelf
from ragdecode.service.storage import Storage

_log = logging.getLogger(__name__)


class Service:
    """Pipelines, the desk where questions wait, and what is kept.

    Args:
        targets: The pipelines that are served, files or names.
        settings: Where it listens, who may ask, and how much.
        folder: Where it keeps its data; made if it is not there.
        overrides: ``path=value`` texts, as after ``--set``.
        documents: What each pipeline searches in the place of its own documents.
        fetch: Fetch weights that are not on this machine.
        others: Offer the other pipelines of the app and the catalogue too.
        progress: Told of long work.

    Attributes:
        shelf: The pipelines by name.
        desk: Where questions wait.
        storage: Conversations.
        metrics: What `/metrics` tells.

    Raises:
        InputError: The YAML of a pipeline is wrong.
        RunError: The data folder or the database cannot be used.
    """

    def __init__(
        self,
        targets: Sequence[str | Path],
        settings: ServiceSettings,
        folder: Path,
        overrides: Sequence[str] = (),
        *,
        documents: Documents = lambda _: None,
        fetch: bool = False,
        others: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.folder = settings, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.shelf = Shelf(targets, overrides, documents=documents, fetch=fetch, others=others, progress=progress)
        self.storage = Storage(settings.storage.get_secret_value() if settings.storage is not None else None, folder)
        limits = settings.limits
        self.desk = Desk(
            workers=settings.workers,
            queue=limits.queue,
            queue_per_client=limits.queue_per_client,
            seconds=limits.deadline_seconds,
        )
        self.metrics = Metrics(self.desk)
        self._ready, self._closing = threading.Event(), threading.Event()
        self.failure: BaseException | None = None

    @property
    def ready(self) -> bool:
        """Whether models and indexes are loaded and questions are taken."""
        return self._ready.is_set() and not self._closing.is_set()

    def open(self) -> None:
        """Load models and indexes, in the thread that calls.

        Raises:
            InputError: Weights are missing, or a corpus cannot be read.
            RunError: An index cannot be written.
        """
        self.shelf.open()
        self._ready.set()

    def open_behind(self, failed: Callable[[], None]) -> None:
        """Load models and indexes in a thread; ``failed`` is called where that goes wrong, see `failure`."""

        def load() -> None:
            try:
                self.open()
            except BaseException as error:
                self.failure = error
                failed()

        threading.Thread(target=load, name="open", daemon=True).start()

    def check_ready(self) -> None:
        """Refuse questions that cannot be answered yet, or no more.

        Raises:
            Problem: 503.
        """
        if self._closing.is_set():
            raise Problem(503, "closing", "the service is closing", retry_after=10)
        if not self._ready.is_set():
            raise Problem(503, "loading", "models and indexes are being loaded", hint="see /ready", retry_after=5)

    def close(self, seconds: float = 3.0) -> None:
        """Take no more questions, give up those that are there, let go of everything."""
        self._closing.set()
        if self.desk.close(seconds):
            self.shelf.close()
        self.storage.close()
