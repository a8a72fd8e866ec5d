"""Markdown: the source text as it stands, with its headings marked."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from ragdecode.documents.document import Document, Heading
from ragdecode.documents.encoding import decode
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings

if TYPE_CHECKING:
    from markdown_it.token import Token

#: a metadata block at the top, which a Markdown parser would take for a heading
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


@register("reader", "markdown")
class MarkdownReader:
    """CommonMark; ATX and setext headings, none inside code blocks."""

    suffixes: ClassVar[tuple[str, ...]] = (".md", ".markdown")

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def read(self, data: bytes) -> Document:
        """The source text with its markup; offsets are those of the file's characters."""
        from markdown_it import MarkdownIt

        text = decode(data)
        front = _FRONT_MATTER.match(text)
        body = "\n" * front.group().count("\n") + text[front.end() :] if front else text
        line_starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
        tokens = MarkdownIt("commonmark").parse(body)
        headings = []
        for opening, inline in pairwise(tokens):
            if opening.type == "heading_open" and opening.map:
                first, behind = opening.map
                start, end = line_starts[first], line_starts[min(behind, len(line_starts) - 1)]
                headings.append(Heading(int(opening.tag[1:]), _words(inline), start, end))
        return Document(text, tuple(headings))


def _words(inline: Token) -> str:
    parts = [token.content for token in inline.children or () if token.content]
    return " ".join("".join(parts).split())
