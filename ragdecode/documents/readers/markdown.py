"""Markdown and MDX: the source text as it stands, with its headings and blocks marked."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from ragdecode.documents.document import Block, Document, Heading
from ragdecode.documents.encoding import decode
from ragdecode.documents.front_matter import front_matter
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings

if TYPE_CHECKING:
    from markdown_it.token import Token

#: what is cut only where it is too long for a passage; rows and code between lines first
_BLOCKS = {"fence": True, "code_block": True, "table_open": True, "list_item_open": False, "blockquote_open": False}
#: characters of a heading that are read
_LONGEST = 1000
#: in MDX: lines of JavaScript up to the next blank line
_SCRIPT = re.compile(r"^(?:import|export)[ \t{*][^\n]*(?:\n[^\n]*\S[^\n]*)*", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,}).*?(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)


@register("reader", "markdown")
class MarkdownReader:
    """CommonMark with tables; ATX and setext headings, none inside code; front matter as metadata."""

    suffixes: ClassVar[tuple[str, ...]] = (".md", ".markdown", ".mdx")

    def __init__(self, settings: NoSettings, mdx: bool = False) -> None:
        self.settings = settings
        self.mdx = mdx

    def of_suffix(self, suffix: str) -> MarkdownReader:
        """MDX has other rules: tags hold Markdown, indented lines are no code."""
        return MarkdownReader(self.settings, mdx=suffix == ".mdx")

    def read(self, data: bytes) -> Document:
        """The source text with its markup; offsets are those of the file's characters."""
        from markdown_it import MarkdownIt

        text = decode(data)
        begin, metadata = front_matter(text)
        body = "\n" * text.count("\n", 0, begin) + text[begin:]
        inline = MarkdownIt("commonmark")
        # what is within paragraphs does not matter here, and takes long to parse in texts that are made to
        parser = MarkdownIt("commonmark").enable("table").disable("inline")
        if self.mdx:
            parser.disable(["html_block", "code"])
            body = _without_script(body)
        tokens = parser.parse(body)
        starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]

        def span(lines: list[int]) -> tuple[int, int]:
            return starts[lines[0]], starts[min(lines[1], len(starts) - 1)]

        headings = [
            Heading(int(opening.tag[1:]), _words(inline.parseInline(content.content[:_LONGEST])), *span(opening.map))
            for opening, content in pairwise(tokens)
            if opening.type == "heading_open" and opening.map
        ]
        blocks = [
            Block(*span(token.map), _BLOCKS[token.type]) for token in tokens if token.map and token.type in _BLOCKS
        ]
        return Document(text, tuple(headings), metadata=metadata, blocks=tuple(blocks))


def _words(inline: list[Token]) -> str:
    parts = [token.content for token in inline[0].children or () if token.content] if inline else []
    return " ".join("".join(parts).split())


def _without_script(body: str) -> str:
    """The same lines with JavaScript and comments outside of code emptied: their ``#`` are no headings."""
    out, at = [], 0
    for fence in [*_FENCE.finditer(body), None]:
        between = body[at : fence.start() if fence else len(body)]
        out.append(_without_comments(_SCRIPT.sub(lambda match: "\n" * match.group().count("\n"), between)))
        if fence:
            out.append(fence.group())
            at = fence.end()
    return "".join(out)


def _without_comments(text: str) -> str:
    out, at = [], 0
    while (start := text.find("{/*", at)) >= 0 and (end := text.find("*/}", start)) >= 0:
        out.append(text[at:start] + "\n" * text.count("\n", start, end))
        at = end + 3
    return "".join(out) + text[at:]
