"""PDF: the text layer, page by page, with its bookmarks as headings."""

from __future__ import annotations

import io
import logging
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from ragdecode.documents.bookmarks import placed
from ragdecode.documents.document import Document, Page, Value
from ragdecode.documents.encoding import clean
from ragdecode.documents.reader import UnreadableError
from ragdecode.documents.records import scalars
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings

if TYPE_CHECKING:
    from pypdf import PdfReader as PypdfReader

logger = logging.getLogger(__name__)

#: characters of text at which a file is taken for one that was made to fill memory
_LONGEST = 50_000_000


@register("reader", "pdf")
class PdfReader:
    """Text layer of a PDF with page numbers and bookmarks; scanned pages have none and are not recognised."""

    suffixes: ClassVar[tuple[str, ...]] = (".pdf",)

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def read(self, data: bytes) -> Document:
        """Text of all pages, a blank line between two.

        Raises:
            UnreadableError: Not a PDF, encrypted with a password, damaged, or without any text.
        """
        import pypdf
        from pypdf.errors import DependencyError, FileNotDecryptedError

        if b"%PDF-" not in data[:1024]:
            raise UnreadableError("wrong extension: the content is not a PDF")
        logging.getLogger("pypdf").setLevel(logging.ERROR)  # its repairs of small defects are no news
        try:
            file = pypdf.PdfReader(io.BytesIO(data))
            if file.is_encrypted and not file.decrypt(""):
                raise UnreadableError("encrypted with a password")
            texts = _texts(file)
        except (FileNotDecryptedError, DependencyError) as error:
            raise UnreadableError("encrypted with a password, or by a method that is not supported") from error
        if not any(texts):
            raise UnreadableError("no text in it (a PDF of images only?)")
        offsets = list(accumulate((len(text) + 2 for text in texts), initial=0))[:-1]
        pages = tuple(Page(number, offset) for number, offset in enumerate(offsets, start=1))
        return Document(
            "\n\n".join(texts), placed(_bookmarks(file), texts, offsets), pages=pages, metadata=_information(file)
        )


def _texts(file: PypdfReader) -> list[str]:
    texts: list[str] = []
    length = 0
    for page in file.pages:
        texts.append(clean(page.extract_text()).strip())
        length += len(texts[-1])
        if length > _LONGEST:
            raise UnreadableError(f"too large: more than {_LONGEST:,} characters of text")
    return texts


def _bookmarks(file: PypdfReader) -> list[tuple[int, str, int]]:
    """Level from 1, words, and page from 0 of each bookmark that leads to a page; none if they are damaged."""
    found: list[tuple[int, str, int]] = []
    try:
        stack: list[tuple[int, Any]] = [(1, item) for item in reversed(file.outline)]
        while stack:
            level, item = stack.pop()
            if isinstance(item, list):
                stack.extend((level + 1, inner) for inner in reversed(item))
                continue
            page = file.get_destination_page_number(item)
            words = " ".join(clean(str(item.title or "")).split())
            if words and page is not None and page >= 0:
                found.append((level, words, page))
    except Exception:  # they are an extra: the text is read without them
        logger.debug("the bookmarks of a PDF cannot be read", exc_info=True)
    return found


def _information(file: PypdfReader) -> dict[str, Value]:
    """Title and author, if they are given."""
    try:
        information = file.metadata
        fields = {"title": information.title, "author": information.author} if information else {}
        texts = {name: " ".join(str(value).split()) for name, value in fields.items() if value}
        return scalars(texts.items())
    except Exception:  # as above
        logger.debug("the document information of a PDF cannot be read", exc_info=True)
        return {}
