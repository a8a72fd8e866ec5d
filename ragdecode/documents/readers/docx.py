"""DOCX: Word documents of today's format."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from ragdecode.documents.document import Document, Value
from ragdecode.documents.reader import UnreadableError
from ragdecode.documents.records import scalars
from ragdecode.documents.word import Word
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from docx.document import Document as DocxDocument

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: what may come out of the archive, in bytes: in all, and in XML, which takes ten times as much once it is parsed
_MOST = 1_000_000_000
_MOST_XML = 100_000_000
#: parts of fewer bytes are not looked into
_SMALL = 1_000_000
#: what may stand before the first sign of XML: blanks and marks of the byte order
_BLANK = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"
_OTHERS = {"xl/": "an Excel workbook", "ppt/": "a PowerPoint presentation", "mimetype": "an OpenDocument or EPUB file"}


class DocxSettings(Settings):
    """What is a heading."""

    headings: dict[str, Annotated[int, Field(ge=1, le=9)]] = Field(default_factory=dict)
    """Levels of headings by names of styles, for documents whose headings are in styles of their own:
    ``{ChapterTitle: 1, HeadA: 2}``. The styles Title and Heading 1 to 9, styles based on them and styles with an
    outline level are headings without it."""


@register("reader", "docx", DocxSettings)
class DocxReader:
    """Text of a Word document with headings, lists, tables and footnotes; headers and footers are dropped."""

    suffixes: ClassVar[tuple[str, ...]] = (".docx",)

    def __init__(self, settings: DocxSettings) -> None:
        self.settings = settings

    def read(self, data: bytes) -> Document:
        """Paragraphs in order of appearance; cells of tables are set apart by tabs, rows by line ends.

        Raises:
            UnreadableError: Not a Word document of this format, encrypted, damaged, or too large once unpacked.
        """
        _check(data)
        import docx
        from docx.opc.exceptions import PackageNotFoundError

        try:
            file = docx.Document(io.BytesIO(data))
            word = Word(file, self.settings.headings)
            word.walk()
        except (PackageNotFoundError, KeyError, zipfile.BadZipFile) as error:
            reason = str(error).strip("'\"") or type(error).__name__
            raise UnreadableError(f"damaged: a part of the document is missing or broken: {reason[:200]}") from error
        except SyntaxError as error:
            # the XML parser's errors are of this class
            raise UnreadableError(f"damaged: XML that cannot be read: {str(error)[:200]}") from error
        except ValueError as error:
            raise UnreadableError(f"not a Word document: {str(error)[:200]}") from error
        return word.document(_properties(file))


def _check(data: bytes) -> None:
    """Refuse what is no Word document before anything is unpacked."""
    if data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise UnreadableError("encrypted with a password")
        raise UnreadableError("an office document of the format before 2007 (.doc): save it as .docx")
    if not data.startswith(b"PK"):
        raise UnreadableError("wrong extension: the content is not a Word document")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
        xml = sum(entry.file_size for entry in entries if _is_xml(archive, entry))
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError) as error:
        raise UnreadableError(f"damaged: no complete ZIP archive: {error}") from error
    names = {entry.filename for entry in entries}
    if not names & {"word/document.xml", "[Content_Types].xml"}:
        other = next((what for start, what in _OTHERS.items() if any(name.startswith(start) for name in names)), "")
        raise UnreadableError(f"wrong extension: the content is {other or 'a ZIP archive, not a Word document'}")
    for start, what in _OTHERS.items():
        if "word/document.xml" not in names and any(name.startswith(start) for name in names):
            raise UnreadableError(f"wrong extension: the content is {what}")
    # sizes that lie are of no use: no more than the size that is written down is ever unpacked
    total = sum(entry.file_size for entry in entries)
    if total > _MOST or xml > _MOST_XML:
        raise UnreadableError(
            f"too large once unpacked: {total / 1e6:,.0f} MB, {xml / 1e6:,.0f} MB of it XML "
            f"(at most {_MOST / 1e6:,.0f} and {_MOST_XML / 1e6:,.0f})"
        )


def _is_xml(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """By its name, or by its first sign: what a part is, its name need not say."""
    if entry.filename.lower().endswith((".xml", ".rels")):
        return True
    if entry.file_size < _SMALL:
        return False
    with archive.open(entry) as stream:
        return stream.read(64).lstrip(_BLANK)[:1] == b"<"


def _properties(file: DocxDocument) -> dict[str, Value]:
    """Title, author and time of creation, if the document has properties."""
    from docx.opc.constants import RELATIONSHIP_TYPE

    try:
        file.part.package.part_related_by(RELATIONSHIP_TYPE.CORE_PROPERTIES)  # else the library makes some up
    except (KeyError, ValueError):
        return {}
    properties = file.core_properties
    try:
        created = properties.created
    except ValueError:  # no date
        created = None
    fields = {"title": properties.title, "author": properties.author}
    texts = {name: " ".join(text.split()) for name, text in fields.items()}
    return scalars([*texts.items(), ("created", created.isoformat() if created else None)])
