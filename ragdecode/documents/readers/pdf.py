"""PDF: the text layer, page by page."""

from __future__ import annotations

import io
import logging
from typing import ClassVar

from ragdecode.documents.document import Document, Page
from ragdecode.documents.encoding import clean
from ragdecode.documents.reader import UnreadableError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings


@register("reader", "pdf")
class PdfReader:
    """Text layer of a PDF with page numbers; scanned pages have none and are not recognised."""

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
            texts = [clean(page.extract_text()).strip() for page in file.pages]
        except (FileNotDecryptedError, DependencyError) as error:
            raise UnreadableError("encrypted with a password, or by a method that is not supported") from error
        if not any(texts):
            raise UnreadableError("no text in it (a PDF of images only?)")
        pages, offset = [], 0
        for number, text in enumerate(texts, start=1):
            pages.append(Page(number, offset))
            offset += len(text) + 2
        return Document("\n\n".join(texts), pages=tuple(pages))
