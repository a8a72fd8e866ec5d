"""Reads one found file, or tells why it cannot be read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import PurePosixPath

from ragdecode.documents.document import Document
from ragdecode.documents.reader import Reader, UnreadableError
from ragdecode.documents.walk import Found, Skipped
from ragdecode.errors import RagDecodeError, RunError

logger = logging.getLogger(__name__)


def load(file: Found, max_bytes: float) -> bytes | Skipped:
    """The file's bytes; skipped if it cannot be opened, is empty or has outgrown the limit meanwhile."""
    try:
        with file.path.open("rb") as stream:
            data = stream.read(int(max_bytes) + 1)
    except OSError as error:
        return Skipped(file.source, f"cannot be read: {error.strerror}")
    if not data:
        return Skipped(file.source, "empty")
    if len(data) > max_bytes:
        return Skipped(file.source, "too large: it grew while it was read")
    return data


def reader_of(file: Found, readers: Mapping[str, Reader]) -> Reader | Skipped:
    """The reader of a file's kind; skipped if there is none."""
    suffix = PurePosixPath(file.source).suffix.lower()
    if suffix in readers:
        return readers[suffix]
    what = f"files ending in {suffix!r}" if suffix else "files without an extension"
    return Skipped(file.source, f"no reader for {what}; there are readers for {', '.join(sorted(readers))}")


def parse(file: Found, data: bytes, reader: Reader) -> Document | Skipped:
    """The document in the bytes; skipped, with the reason, if there is none.

    Raises:
        RunError: The reader itself cannot run.
        InputError: The reader's settings are wrong.
    """
    try:
        document = reader.read(data)
    except UnreadableError as error:
        return Skipped(file.source, str(error))
    except RagDecodeError:  # no fault of the file
        raise
    except ImportError as error:  # no fault of the file
        raise RunError(
            f"the reader of {file.source!r} needs a library that cannot be imported: {error}",
            hint="install it, or leave these files out with index.corpus.exclude",
        ) from error
    except Exception as error:  # a damaged file can break a parser in any way; it must not end the build
        logger.debug("reading %r failed", file.source, exc_info=True)
        first_line = str(error).strip().split("\n", 1)[0][:200]
        return Skipped(file.source, f"damaged: {type(error).__name__}: {first_line}")
    if not document.text.strip():
        return Skipped(file.source, "no text in it")
    return document


def digest(data: bytes) -> str:
    """SHA-256 of the bytes, as hex."""
    return hashlib.sha256(data).hexdigest()
