"""Conversations in a database: SQLite by default, PostgreSQL for those who need a shared one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ragdecode.errors import InputError, RunError

_META = sql.MetaData()

CONVERSATIONS = sql.Table(
    "conversations",
    _META,
    sql.Column("id", sql.String(32), primary_key=True),
    sql.Column("owner", sql.String(64), nullable=False, index=True),
    sql.Column("created", sql.String(40), nullable=False),
)
MESSAGES = sql.Table(
    "messages",
    _META,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("conversation", sql.String(32), sql.ForeignKey("conversations.id"), nullable=False, index=True),
    sql.Column("role", sql.String(16), nullable=False),
    sql.Column("content", sql.Text, nullable=False),
    sql.Column("created", sql.String(40), nullable=False),
)


class Storage:
    """The database of a service. Safe to use from several threads.

    Args:
        address: SQLAlchemy address; a SQLite file in ``folder`` if left out.
        folder: Data folder of the service.

    Raises:
        InputError: The address is none, or its driver is not installed.
        RunError: The database cannot be reached or written.
    """

    def __init__(self, address: str | None, folder: Path) -> None:
        self._engine = _open(address or f"sqlite:///{folder / 'service.sqlite3'}")
        try:
            _META.create_all(self._engine)
        except SQLAlchemyError as error:
            raise RunError(f"the database cannot be used: {_reason(error)}", hint="see service.storage") from error

    def close(self) -> None:
        """Let go of connections."""
        self._engine.dispose()

    def new_conversation(self, owner: str) -> str:
        """Begin a conversation; returns its id."""
        identity = uuid.uuid4().hex
        self._do(sql.insert(CONVERSATIONS).values(id=identity, owner=owner, created=now()))
        return identity

    def conversation(self, identity: str, owner: str) -> list[dict[str, Any]] | None:
        """The messages of a conversation, oldest first; None if its owner has none of that id."""
        found = sql.select(CONVERSATIONS).where(CONVERSATIONS.c.id == identity, CONVERSATIONS.c.owner == owner)
        if not self._rows(found):
            return None
        return self._rows(
            sql.select(MESSAGES.c.role, MESSAGES.c.content, MESSAGES.c.created)
            .where(MESSAGES.c.conversation == identity)
            .order_by(MESSAGES.c.number)
        )

    def conversations(self, owner: str, limit: int = 100) -> list[dict[str, Any]]:
        """An owner's conversations, newest first."""
        found = (
            sql.select(CONVERSATIONS.c.id, CONVERSATIONS.c.created)
            .where(CONVERSATIONS.c.owner == owner)
            .order_by(CONVERSATIONS.c.created.desc())
        )
        return self._rows(found.limit(limit))

    def remove_conversation(self, identity: str, owner: str) -> bool:
        """Forget a conversation and its messages; whether there was one."""
        if self.conversation(identity, owner) is None:
            return False
        self._do(
            sql.delete(MESSAGES).where(MESSAGES.c.conversation == identity),
            sql.delete(CONVERSATIONS).where(CONVERSATIONS.c.id == identity),
        )
        return True

    def add_turn(self, conversation: str, messages: Sequence[tuple[str, str]]) -> None:
        """Add messages, (role, content), to a conversation."""
        at = now()
        rows = [{"conversation": conversation, "role": role, "content": text, "created": at} for role, text in messages]
        self._do(sql.insert(MESSAGES).values(rows))

    def _rows(self, statement: sql.Select[Any]) -> list[dict[str, Any]]:
        with _Errors(), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def _do(self, *statements: sql.Executable) -> None:
        with _Errors(), self._engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)


class _Errors:
    """Tells database errors as the package's own."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SQLAlchemyError):
            raise RunError(f"the database failed: {_reason(error)}") from error


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _open(address: str) -> Engine:
    try:
        if address.startswith("sqlite"):
            # a connection a use: SQLite is opened at once, and nothing is held across threads
            engine = sql.create_engine(address, poolclass=NullPool)
            event.listen(engine, "connect", _durable)
            return engine
        return sql.create_engine(address, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise InputError(
            f"service.storage is no address of a database that can be used: {_reason(error)}",
            hint="postgresql+psycopg://USER:PASSWORD@HOST/NAME, with the package psycopg installed",
        ) from error


def _durable(connection: Any, _record: Any) -> None:
    """What is committed stays committed, readers do not wait for a writer, and a row's owner must be there."""
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _reason(error: BaseException) -> str:
    """The first line of an error; addresses and passwords are not in it."""
    origin = getattr(error, "orig", None) or error
    return str(origin).strip().split("\n", 1)[0][:200] or type(origin).__name__
