"""Plain text."""

from __future__ import annotations

from typing import ClassVar

from pydantic import field_validator

from ragdecode.documents.document import Document
from ragdecode.documents.encoding import check_encoding, decode
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class TextSettings(Settings):
    """How the bytes are read."""

    encoding: str | None = None
    """Encoding of files that do not begin with a byte order mark, such as ``latin-1``; UTF-8 if left out."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str | None) -> str | None:
        return check_encoding(encoding)


@register("reader", "text", TextSettings)
class TextReader:
    """Plain text in UTF-8, or UTF-16 and UTF-32 with a byte order mark."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".text", ".rst")

    def __init__(self, settings: TextSettings) -> None:
        self.settings = settings

    def read(self, data: bytes) -> Document:
        """The file's characters as they are; no structure is guessed."""
        return Document(decode(data, self.settings.encoding))
