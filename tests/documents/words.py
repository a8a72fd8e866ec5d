"""Small Word documents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def word(write: Callable[[Any], None]) -> bytes:
    """A document from the library's template, written to by ``write``."""
    import docx

    file = docx.Document()
    write(file)
    out = io.BytesIO()
    file.save(out)
    return out.getvalue()


def paragraphs(*texts: str) -> bytes:
    """A document of plain paragraphs."""
    return word(lambda file: [file.add_paragraph(text) for text in texts])


def body(xml: str) -> bytes:
    """A document whose body is written by hand, in the namespace ``w``."""
    wrapped = f'<w:document xmlns:w="{W}" xmlns:mc="{MC}"><w:body>{xml}</w:body></w:document>'
    return changed(paragraphs("x"), {"word/document.xml": wrapped.encode()})


MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"


def changed(data: bytes, parts: dict[str, bytes | None]) -> bytes:
    """The same archive with some parts replaced, added or, where None, left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in parts:
                new.writestr(name, old.read(name))
        for name, content in parts.items():
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


def part(data: bytes, name: str) -> bytes:
    """A part of the archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)
