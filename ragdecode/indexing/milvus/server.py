"""Where a Milvus is, and a connection to it: a local file (Milvus Lite, in this process) or a server."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.manifest import REBUILD_ALL
from ragdecode.spec.reference import RelativePath
from ragdecode.spec.secret import Secret
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_SCHEMES = ("http", "https", "tcp")
#: what servers say when they refuse a token; there is no code of its own for it
_REFUSALS = ("auth", "credential", "permission denied", "privilege")
#: code of a collection that is not there
_NO_COLLECTION = 100


class MilvusAddress(Settings):
    """Where the Milvus is."""

    uri: Annotated[str, RelativePath(must_exist=False, or_url=True)]
    """``http://host:19530`` or ``https://...`` of a server or cluster; or a path that ends in ``.db``, relative to the
    YAML file, for Milvus Lite: an embedded Milvus for one process at a time."""
    token: Secret | None = None
    """``user:password`` or API key, as ``${ENV:NAME}``."""
    database: str = Field(default="", pattern=r"^[A-Za-z0-9_]*$")
    """Database of the server; its default one if left out."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds to wait for a connection, and for the answer to a query."""

    @field_validator("uri")
    @classmethod
    def _usable(cls, uri: str) -> str:
        if "://" not in uri:
            if not uri.endswith(".db"):
                raise ValueError("expected an address as http://host:19530, or a file whose name ends in .db")
            return uri
        parts = urlsplit(uri)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError(f"expected an address as http://host:19530; its scheme is one of {', '.join(_SCHEMES)}")
        if parts.username or parts.password:
            raise ValueError("write user and password as token: ${ENV:NAME}, not into the address")
        return uri

    @property
    def embedded(self) -> bool:
        """Whether it is a local file."""
        return "://" not in self.uri


class Connection:
    """An open connection; use `connect`.

    Attributes:
        address: Where to.
        client: pymilvus' own client.
    """

    def __init__(self, address: MilvusAddress, client: MilvusClient) -> None:
        self.address = address
        self.client = client

    @contextmanager
    def told(self) -> Iterator[MilvusClient]:
        """The client; what it raises in the block becomes a `RunError` that names the place.

        Raises:
            RunError: The server cannot be reached, refuses, or has lost a collection.
        """
        with _told(self.address):
            yield self.client

    def close(self) -> None:
        """Let go of the server; the last one to leave a local file ends the Milvus over it."""
        with _lock:
            self._close()
        _tidy()

    def forget(self) -> None:
        """Let go of the server when that can be done without waiting, now or later.

        For finalizers: they run in any thread, even in one that serves the call that another thread waits for.
        """
        _forgotten.append(self)
        _tidy()

    def _close(self) -> None:
        from pymilvus.exceptions import MilvusException

        with suppress(MilvusException):
            self.client.close()
        if self.address.embedded:
            _leave(self.address.uri)


_users: dict[str, int] = {}  # of local files
_forgotten: deque[Connection] = deque()
_lock = threading.Lock()


def _tidy() -> None:
    """Close what is forgotten, unless another thread is at it."""
    while _forgotten and _lock.acquire(blocking=False):
        try:
            while _forgotten:
                _forgotten.popleft()._close()
        finally:
            _lock.release()


def _told_by_grpc(record: logging.LogRecord) -> bool:
    """Whether a log record is of use: Milvus Lite lacks calls that pymilvus only tries, and that is none."""
    return "Method not implemented" not in record.getMessage()


def connect(address: MilvusAddress) -> Connection:
    """Connect to a server, or start Milvus Lite over a local file.

    Raises:
        InputError: pymilvus is not installed.
        RunError: There is no server, it refuses the token, or another process holds the file.
    """
    try:
        import pymilvus
    except ImportError as error:
        raise InputError(
            f"Milvus needs a package that is not installed: {error.name}", hint="pip install 'ragdecode[milvus]'"
        ) from error
    for name in ("pymilvus", "milvus_lite"):  # they print tracebacks of errors that are told here
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    token = address.token.get_secret_value() if address.token else ""
    _tidy()
    with _lock, _told(address):
        if address.embedded:
            _enter(address.uri)
        try:
            client = pymilvus.MilvusClient(
                uri=address.uri, token=token, db_name=address.database, timeout=address.timeout
            )
            client.list_collections(timeout=address.timeout)  # wrong tokens and databases show here at the latest
        except BaseException:
            if address.embedded:
                _leave(address.uri)
            raise
    return Connection(address, client)


def _enter(path: str) -> None:
    """Open the local file, so that what is wrong with it shows as it is; under the lock."""
    from milvus_lite.db import MilvusLite
    from milvus_lite.server_manager import server_manager_instance

    logging.getLogger("grpc._server").addFilter(_told_by_grpc)  # adds it once
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if _users.get(path, 0) == 0 and server_manager_instance.start_and_get_uri(path) is None:
        MilvusLite(path).close()  # the manager keeps its reason to itself: once more
        raise RunError(f"the Milvus file {path!r} cannot be opened")
    _users[path] = _users.get(path, 0) + 1


def _leave(path: str) -> None:
    """One user less; under the lock."""
    from milvus_lite.server_manager import server_manager_instance

    count = _users.pop(path, 0)
    if count > 1:
        _users[path] = count - 1
    elif count == 1:
        server_manager_instance.release_server(path)


@contextmanager
def _told(address: MilvusAddress) -> Iterator[None]:
    import grpc
    from pymilvus.exceptions import MilvusException

    lite: tuple[type[Exception], ...] = ()
    if address.embedded:
        try:
            from milvus_lite.exceptions import MilvusLiteError
        except ImportError as error:
            raise InputError(
                f"the Milvus file {address.uri!r} needs the package milvus-lite, which is not installed",
                hint="pip install 'ragdecode[milvus]'",
            ) from error
        lite = (MilvusLiteError, OSError)
    try:
        yield
    except MilvusException as error:
        cause = f": {_detail(error.__cause__)}" if isinstance(error.__cause__, grpc.RpcError) else ""
        raise _explained(address, error.code, f"{error.message}{cause}") from error
    except grpc.RpcError as error:
        raise _explained(address, None, _detail(error)) from error
    except lite as error:
        raise _unopened(address.uri, error) from error


def _detail(error: Any) -> str:
    return str(error.details() if hasattr(error, "details") else error)


def _explained(address: MilvusAddress, code: int | None, message: str) -> RunError:
    """The error in words for a person."""
    short = " ".join(message.split())[:300]
    at = f"the Milvus {'file' if address.embedded else 'server'} {address.uri}"
    if code == _NO_COLLECTION:
        return RunError(f"a collection of the index is gone from {at}: {short}", hint=REBUILD_ALL)
    if any(word in short.lower() for word in _REFUSALS):
        mark = "set token: ${ENV:NAME}" if address.token is None else f"check {address.token}, the token"
        return RunError(f"{at} refuses: {short}", hint=mark)
    if "connect" in short.lower() or "unavailable" in short.lower() or "deadline" in short.lower():
        hint = "start it, or correct uri; a path that ends in .db needs no server"
        return RunError(f"{at} cannot be reached: {short}", hint=hint)
    return RunError(f"{at}: {short}")


def _unopened(path: str, error: Exception) -> RunError:
    if type(error).__name__ == "DataDirLockedError":
        return RunError(
            f"the Milvus file {path!r} is held by another process: only one at a time can use it",
            hint="end that one, or run a server and give its address as uri",
        )
    return RunError(f"the Milvus file {path!r} cannot be opened: {error}", hint="check its path and permissions")
