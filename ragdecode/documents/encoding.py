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

#: lone surrogates, which UTF-8 cannot store, and NUL, at which many a program ends a text
_UNSTORABLE = re.compile("[\ud800-\udfff\0]")
#: Latin text of wide characters, by which bytes of four are zero
_WIDE = {"x0x0": "UTF-16", "0x0x": "UTF-16", "x000": "UTF-32", "000x": "UTF-32"}
#: codecs of Python that are no encodings of files; some take quadratic time
_NOT_OF_FILES = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"}


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
    refuse_known(data)
    encoding, data = _marked(data) or (declared or "utf-8", data)
    return clean(strictly(data, encoding))


def refuse_known(data: bytes) -> None:
    """Refuse what begins like a file of another kind.

    Raises:
        UnreadableError: It is a PDF, an archive, an image, a program, ...
    """
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise UnreadableError(f"wrong extension: the content is {what}")


def known(encoding: str) -> bool:
    """Whether files may be in an encoding of this name."""
    try:
        name = codecs.lookup(encoding).name
        b"a".decode(encoding)  # what is no encoding of text, such as base64, is found out only so
    except UnicodeDecodeError:  # half a character of UTF-16
        pass
    except (LookupError, ValueError):  # ValueError: a NUL in the name, among others
        return False
    return name.replace("-", "_") not in _NOT_OF_FILES


def check_encoding(encoding: str | None) -> str | None:
    """An encoding as it may stand in the settings of a reader.

    Raises:
        ValueError: Nobody knows it.
    """
    if encoding is not None and not known(encoding):
        raise ValueError(f"unknown encoding {encoding[:40]!r}; expected a name such as utf-8, latin-1 or cp1252")
    return encoding


def strictly(data: bytes, encoding: str) -> str:
    """Decode, or tell what is wrong and where.

    Raises:
        UnreadableError: It is binary, not valid in the encoding, or the encoding is unknown.
    """
    try:
        if not known(encoding):
            raise LookupError(encoding)
        text = data.decode(encoding)
    except (LookupError, ValueError) as error:  # ValueError: a NUL in the name, among others
        if not isinstance(error, UnicodeDecodeError):
            raise UnreadableError(f"declares the unknown encoding {encoding[:40]!r}") from error
        if b"\0" in data[:4096]:
            raise UnreadableError(binary_reason(data)) from error
        raise UnreadableError(
            f"not valid {encoding}: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from error
    if "\0" in text:
        raise UnreadableError(binary_reason(data))
    return text


def without_mark(data: bytes) -> bytes | None:
    """The data as UTF-8 without a byte order mark; None if its mark is that of another encoding."""
    marked = _marked(data)
    if marked is None:
        return data
    return marked[1] if marked[0] == "utf-8" else None


def binary_reason(data: bytes) -> str:
    """Why a file with NUL bytes is no text: UTF-16 or UTF-32 without its mark, or binary."""
    head = data[:4096]
    zeros = [head[place::4].count(0) / max(1, len(head[place::4])) for place in range(4)]
    often = "".join("0" if zero > 0.7 else "x" for zero in zeros)  # which bytes of four are mostly zero
    if len(head) >= 8 and often in _WIDE:
        return f"it looks like {_WIDE[often]} without a byte order mark: save it as UTF-8"
    return "wrong extension: the content is binary, not text"


def clean(text: str) -> str:
    """Universal line ends, and no characters that cannot be stored."""
    return _UNSTORABLE.sub("�", text.replace("\r\n", "\n").replace("\r", "\n"))


def _marked(data: bytes) -> tuple[str, bytes] | None:
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name, data[len(mark) :]
    return None
