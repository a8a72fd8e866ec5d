"""What a service is told: where it listens, who may ask, and how much."""

from __future__ import annotations

from pydantic import Field

from ragdecode.spec.secret import Secret
from ragdecode.spec.settings import Settings


class Limits(Settings):
    """How much a client may ask of the service; more is refused with a status that says so."""

    question_characters: int = Field(default=8_000, ge=1)
    """Longest question or message; longer ones get 413."""
    body_mb: float = Field(default=2.0, gt=0)
    """Largest request that is no upload, in megabytes; larger ones get 413."""
    upload_total_mb: float = Field(default=200.0, gt=0)
    """Largest upload, all of its documents together, in megabytes; larger ones get 413."""
    passages: int = Field(default=50, ge=1)
    """Passages that a question may bring, and that `/v1/retrieve` returns at most."""
    messages: int = Field(default=100, ge=1)
    """Messages of a conversation that a request may bring."""
    queue: int = Field(default=64, ge=0)
    """Questions that wait for their turn; more get 429 with Retry-After."""
    queue_per_client: int = Field(default=16, ge=0)
    """Questions of one client that wait."""
    deadline_seconds: float = Field(default=120.0, gt=0)
    """Longest time from a question's arrival to its answer; it is given up after that with 504."""
    idle_seconds: float = Field(default=15.0, gt=0)
    """Longest pause while a request arrives, or while a client does not read its answer; slower ones get 408."""
    connections: int = Field(default=512, ge=1)
    """Connections that are open at once; more get 503."""


class ServiceSettings(Settings):
    """A service.

    Without keys it answers programs of this machine only: it listens on a loopback address and refuses other hosts'
    names, so that a page of another site cannot reach it through the browser.
    """

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    api_keys: tuple[Secret, ...] = ()
    """Keys of clients (``Authorization: Bearer KEY``); needed unless ``host`` is a loopback address."""
    names: tuple[str, ...] = ()
    """Host names under which the service is reached, beside ``host`` and, on a loopback address, localhost; with any,
    requests for other names are refused."""
    workers: int = Field(default=8, ge=1, le=256)
    """Questions that are worked on at once; the engine decodes up to ``engine.max_batch`` of them in one batch."""
    storage: Secret | None = None
    """Database address, ``postgresql+psycopg://USER:PASSWORD@HOST/NAME``; else a SQLite file in the data folder."""
    shutdown_seconds: float = Field(default=10.0, ge=0, le=600)
    """How long answers may go on after SIGTERM before they are cancelled."""
    limits: Limits = Limits()
    """How much a client may ask."""
