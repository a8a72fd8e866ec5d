"""Bytes to text, strictly: a file that is not what it claims to be is refused rather than garbled."""

from __future__ import annotations

import codecs
import re

from ragdecode.documents.reader import UnreadableError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "a program"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
)

_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(data: bytes, declared: str | None = None) -> str:
    r"""Decode text: by its byte order mark, else as declared, else as UTF-8.

    Args:
        data: The whole file.
        declared: Encoding that the document itself declares.

    Returns:
        The text without byte order mark, with ``\n`` as the only line end.

    Raises:
        UnreadableError: It is binary, or not valid in its encoding.
    """
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise UnreadableError(f"wrong extension: the content is {what}")
    encoding = declared or "utf-8"
    for mark, name in _BOMS:
        if data.startswith(mark):
            encoding, data = name, data[len(mark) :]
            break
    try:
        text = data.decode(encoding)
    except LookupError as error:
        raise UnreadableError(f"declares the unknown encoding {encoding!r}") from error
    except UnicodeDecodeError as error:
        if b"\0" in data[:4096]:
            raise UnreadableError("wrong extension: the content is binary, not text") from error
        raise UnreadableError(
            f"not valid {encoding}: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from error
    if "\0" in text:
        raise UnreadableError("wrong extension: the content is binary, not text")
    return clean(text)


def clean(text: str) -> str:
    """Universal line ends, and no lone surrogates (they cannot be stored as UTF-8)."""
    return _SURROGATE.sub("�", text.replace("\r\n", "\n").replace("\r", "\n"))
