"""HTML: the text a reader of the page sees."""

from __future__ import annotations

import codecs
import re
import warnings
from typing import TYPE_CHECKING, ClassVar

from ragdecode.documents.document import Block, Document, Heading
from ragdecode.documents.encoding import clean, decode
from ragdecode.documents.records import scalars
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings

if TYPE_CHECKING:
    from bs4 import Tag

_UNSEEN = {
    *("head", "script", "style", "template", "noscript", "iframe", "object", "svg", "math", "canvas"),
    *("audio", "video", "select", "textarea"),
}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
#: blocks that stand apart by a blank line, so that the splitter sees them as paragraphs
_APART = {
    *("p", "pre", "blockquote", "table", "ul", "ol", "dl", "section", "article", "figure", "div"),
    *_HEADINGS,
}
#: blocks that begin and end a line
_BLOCKS = {
    *("address", "aside", "body", "br", "caption", "dd", "details", "dialog", "dt", "fieldset", "figcaption"),
    *("footer", "form", "header", "hr", "html", "legend", "li", "main", "nav", "summary", "tbody", "tfoot"),
    *("thead", "tr"),
}
_CELLS = {"td", "th"}
#: what is cut only where it is too long for a passage; rows and code between lines first
_WHOLE = {"pre": True, "table": True, "li": False, "blockquote": False}
#: encodings that browsers read as a larger one (WHATWG Encoding Standard), in Python's names
_BROWSERS = {
    **{"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "shift_jis": "cp932"},
    **{"gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949"},
}
#: bytes that cp1252 does not use
_UNUSED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_INVISIBLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)


@register("reader", "html")
class HtmlReader:
    """Visible text of a page, headings kept, scripts, styles and hidden elements dropped."""

    suffixes: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def read(self, data: bytes) -> Document:
        """Text of the page; blocks become paragraphs, table cells are set apart by tabs."""
        from bs4 import BeautifulSoup
        from bs4.dammit import EncodingDetector

        source = decode(data, _as_browsers(EncodingDetector.find_declared_encoding(data, is_html=True), data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "this looks like a file name", "this is XML": it is still the page
            soup = BeautifulSoup(source, "lxml")
        page = _Page()
        page.walk(soup)
        title = " ".join(clean(soup.title.get_text()).split()) if soup.title else ""
        blocks = sorted(page.blocks, key=lambda block: (block.start, -block.end))
        metadata = scalars([("title", title)])
        return Document("".join(page.parts), tuple(page.headings), metadata=metadata, blocks=tuple(blocks))


class _Page:
    """Collects text and headings, keeping track of the offset."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.pending = ""  # separator that is owed before the next text
        self.headings: list[Heading] = []
        self.blocks: list[Block] = []

    def walk(self, root: Tag) -> None:
        """Depth first, without recursion: pages may be nested thousands deep."""
        from bs4.element import NavigableString, PreformattedString, Tag

        stack: list[tuple[Tag | NavigableString, bool]] = [(root, False)]
        opened: list[int] = []  # parts at which the open headings began
        whole: list[int] = []  # offsets at which the open blocks began
        preformatted = 0
        while stack:
            node, closing = stack.pop()
            if not isinstance(node, Tag):
                if not isinstance(node, PreformattedString):  # comments, doctype, CDATA marks
                    self._text(clean(str(node)), preformatted > 0)
                continue
            preformatted += (node.name == "pre") * (-1 if closing else 1)
            self._border(node.name)
            if closing:
                if node.name in _WHOLE and (start := whole.pop()) < self.length:
                    self.blocks.append(Block(start, self.length, _WHOLE[node.name]))
                if node.name in _HEADINGS:
                    self._heading(_HEADINGS[node.name], opened.pop())
                continue
            if _hidden(node):
                preformatted -= node.name == "pre"
                continue
            if node.name in _HEADINGS:
                opened.append(len(self.parts))
            if node.name in _WHOLE:
                whole.append(self.length)
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.contents))  # type: ignore[misc]

    def _border(self, name: str) -> None:
        if name in _APART:
            self.pending = "\n\n"
        elif name in _BLOCKS and self.pending != "\n\n":
            self.pending = "\n"
        elif name in _CELLS and "\n" not in self.pending:
            self.pending = "\t"

    def _text(self, text: str, preformatted: bool) -> None:
        words = text if preformatted else " ".join(text.split())
        if not words.strip():
            if text and not self.pending:
                self.pending = " "
            return
        if not preformatted and text[0].isspace() and not self.pending:
            self.pending = " "
        if self.parts:
            self._append(self.pending)
        self._append(words)
        self.pending = " " if not preformatted and text[-1].isspace() else ""

    def _append(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.length += len(text)

    def _heading(self, level: int, first_part: int) -> None:
        inside = "".join(self.parts[first_part:])
        words = " ".join(inside.split())
        if words:
            start = self.length - len(inside.lstrip())
            self.headings.append(Heading(level, words, start, self.length))


def _as_browsers(declared: str | None, data: bytes) -> str | None:
    """The encoding that browsers use where a page declares an older, smaller one, or one that cannot be."""
    if declared is None:
        return None
    try:
        name = codecs.lookup(declared).name
    except LookupError:
        return declared
    if name.startswith(("utf-16", "utf-32")):  # declared in single bytes, so it cannot be
        return "utf-8"
    if name in {"iso8859-1", "ascii"} and _UNUSED.search(data):
        return "latin-1"
    return _BROWSERS.get(name, declared)


def _hidden(tag: Tag) -> bool:
    return (
        tag.name in _UNSEEN
        or tag.has_attr("hidden")
        or tag.get("aria-hidden") == "true"
        or bool(_INVISIBLE.search(str(tag.get("style", ""))))
    )
