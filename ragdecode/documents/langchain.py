"""LangChain's loaders: their settings, their classes, and their documents as ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from ragdecode.documents.document import Document, Page
from ragdecode.documents.encoding import clean
from ragdecode.documents.records import LONGEST, Records, scalars
from ragdecode.spec.class_path import check_class, load_class
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from langchain_core.document_loaders import BaseLoader
    from langchain_core.documents import Document as LangChainDocument

#: where loaders write the page, and what is added to it to count from 1
_PAGES = {"page_number": 0, "page": 1}


class LoaderClass(Settings):
    """A class of LangChain's, and how it is made."""

    loader: str = Field(min_length=1)
    """Class that derives from LangChain's ``BaseLoader``: ``package.module.Class``, or a name in
    ``langchain_community.document_loaders``."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class, as they are; paths among them are relative to the current folder."""
    trust: bool = False
    """Also classes of packages that are not LangChain's, and arguments that switch off a protection. It runs that
    package's code."""

    @model_validator(mode="after")
    def _allowed(self) -> LoaderClass:
        check_class("loader", self.loader, self.arguments, trust=self.trust)
        return self

    def load_class(self, where: str) -> type[BaseLoader]:
        """Import the class.

        Raises:
            InputError: It is not there, or no loader.
        """
        return load_class(
            self.loader,
            base="langchain_core.document_loaders.BaseLoader",
            module="langchain_community.document_loaders",
            trust=self.trust,
            where=where,
        )


def quietly(documents: Iterator[LangChainDocument]) -> Iterator[LangChainDocument]:
    """The same documents, without what libraries warn of on the way."""
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = next(documents, None)
        if document is None:
            return
        yield document


def as_one(documents: Sequence[LangChainDocument]) -> Document:
    """The documents that a loader made of one source as one document.

    One alone is taken as it is. Several that carry page numbers are the pages of a document; several others are
    its records. Metadata that are short texts, numbers or truth values are kept, others dropped.

    Args:
        documents: In order; at least one.

    Raises:
        UnreadableError: There are several, none with text.
    """
    texts = [clean(document.page_content) for document in documents]
    metadata = [_metadata(document.metadata) for document in documents]
    numbers = [_page(document.metadata) for document in documents]
    if len(documents) > 1 and None in numbers:
        records = Records()
        for number, (document, text, fields) in enumerate(zip(documents, texts, metadata, strict=True), start=1):
            name = document.id or str(number)
            records.add(name, "", text, fields, f"document {number}")
        return records.document()
    pages: list[Page] = []
    offset = 0
    for text, page in zip(texts, numbers, strict=True):
        if page is not None and (not pages or page > pages[-1].number):
            pages.append(Page(page, offset))
        offset += len(text) + 2
    shared = {name: value for name, value in metadata[0].items() if all(one.get(name) == value for one in metadata)}
    return Document("\n\n".join(texts), pages=tuple(pages), metadata=shared)


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    return scalars(((str(name), value) for name, value in fields.items() if name not in {"source", *_PAGES}), LONGEST)


def _page(fields: Mapping[str, Any]) -> int | None:
    for name, first in _PAGES.items():
        number = fields.get(name)
        if isinstance(number, int) and not isinstance(number, bool) and number + first >= 1:
            return number + first
    return None
