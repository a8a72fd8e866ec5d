"""A passage: the unit that is indexed, found, shown to the model and cited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ragdecode.documents.document import Value

if TYPE_CHECKING:
    from langchain_core.documents import Document as LangChainDocument


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document, with its place.

    Attributes:
        id: Stable name made of content and place.
        text: Its characters; ``document.text[start:end]``.
        source: File, relative to the corpus folder.
        page: 1-based page on which it starts, or None.
        heading: Headings above it, outermost first, joined by `` > ``; empty if there are none. Long ones are cut.
        start: Character offset of its first character in the document's text.
        end: Offset just behind its last character.
        tokens: Length in tokens, as counted within the document.
        record: Name of the record of the file that it belongs to; empty if the file is one document.
        attributes: Metadata of the record or file: year, author, ...
    """

    id: str
    text: str
    source: str
    page: int | None
    heading: str
    start: int
    end: int
    tokens: int
    record: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)

    @property
    def content_hash(self) -> bytes:
        """Hash of the text alone; 16 bytes."""
        return hashlib.blake2b(self.text.encode(), digest_size=16).digest()

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> Passage:
        """The passage in one line of JSON.

        Raises:
            ValueError: The line does not hold a passage.
        """
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"not a passage: {error}") from error

    def metadata(self) -> dict[str, Any]:
        """Its attributes and its place, as a flat mapping: source, page, heading, start, end, tokens, record."""
        fields = ("source", "page", "heading", "start", "end", "tokens")
        place = {name: getattr(self, name) for name in fields}
        return {**self.attributes, **place, **({"record": self.record} if self.record else {})}

    def to_document(self, extra: Mapping[str, Any] | None = None) -> LangChainDocument:
        """As a LangChain document, with ``extra`` added to its metadata."""
        from langchain_core.documents import Document as LangChainDocument

        metadata = {**self.metadata(), **(extra or {})}
        return LangChainDocument(page_content=self.text, id=self.id, metadata=metadata)


def passage_id(source: str, start: int, text: str) -> str:
    """Stable short name: 16 hex digits of a hash over file, offset and text."""
    place = json.dumps([source, start, text])
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
