"""The body of a Word document as text: paragraphs, headings, lists, tables and footnotes in order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ragdecode.documents.document import Block, Document, Heading, Value
from ragdecode.documents.encoding import clean

if TYPE_CHECKING:
    from docx.document import Document as DocxDocument

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_FOOTNOTES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
#: elements that hold paragraphs and tables of the body
_HOLDERS = {_W + name for name in ("body", "sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag")}
#: elements whose content is not read: deleted text, properties, and the older form of what is there twice
_UNREAD = {*(_W + name for name in ("del", "moveFrom", "pPr", "rPr", "instrText", "sdtPr", "tblPr")), _FALLBACK}
_SIGNS = {
    **{_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-"},
    **{_W + "softHyphen": "", _W + "ptab": "\t"},
}
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
#: names of styles of code: Code, Source Code, HTML Preformatted, Verbatim
_CODE = re.compile(
    r"^(?:(?:source|html)[ _-]?)?(?:code|preformatted|verbatim)(?!.*(?:label|caption|char))", re.IGNORECASE
)
#: an outline level of a style or paragraph that is none
_BODY_LEVEL = 9


class Word:
    """Collects the text of a document.

    Attributes:
        parts: Its paragraphs and tables with what stands between them.
        length: Characters of ``parts``.
    """

    def __init__(self, file: DocxDocument, headings: Mapping[str, int]) -> None:
        self.body = file.element.body
        self.styles = _Styles(file, headings)
        self.notes = _footnotes(file)
        self.parts: list[str] = []
        self.length = 0
        self.headings: list[Heading] = []
        self.blocks: list[Block] = []
        self.titled = False
        self.before = ""  # kind of the paragraph before, of those that follow one another without a blank line

    def walk(self) -> None:
        """The whole body, without recursion."""
        stack = [self.body]
        while stack:
            node = stack.pop()
            if node.tag == _W + "p":
                self._paragraph(node)
            elif node.tag == _W + "tbl":
                self._table(node)
            elif node.tag in _HOLDERS:
                stack.extend(reversed(node))

    def document(self, metadata: dict[str, Value]) -> Document:
        """What was collected; the levels of headings begin below the document's title, where it has one."""
        return Document("".join(self.parts), tuple(self.headings), metadata=metadata, blocks=tuple(self.blocks))

    def _paragraph(self, node: Any) -> None:
        referred: list[str] = []
        text = _text(node, referred)
        if text.strip():
            level = self.styles.level(node)
            kind = self.styles.kind(node) if level is None else ""
            shown = f"- {text.strip()}" if kind == "item" else text.strip("\n").rstrip()
            start = self._add(shown, tight=kind != "" and kind == self.before)
            if level is not None:
                self.titled = self.titled or level == 0
                self.headings.append(Heading(level + self.titled, " ".join(text.split()), start, self.length))
            elif kind == "code" and self.before == "code":
                self.blocks[-1] = replace(self.blocks[-1], end=self.length)
            elif kind:
                self.blocks.append(Block(start, self.length, by_lines=kind == "code"))
            self.before = kind
        self._notes(referred)

    def _table(self, node: Any) -> None:
        rows = []
        referred: list[str] = []
        for row in node.iter(_W + "tr"):
            if _nearest(row, _W + "tbl") is not node:  # of a table in a cell, which is read as that cell's text
                continue
            cells = [cell for cell in row.iter(_W + "tc") if _nearest(cell, _W + "tr") is row]
            rows.append("\t".join(" ".join(_text(cell, referred).split()) for cell in cells).rstrip())
        text = "\n".join(row for row in rows if row.strip())
        if text:
            start = self._add(text)
            self.blocks.append(Block(start, self.length, by_lines=True))
        self.before = ""
        self._notes(referred)

    def _notes(self, referred: list[str]) -> None:
        """Footnotes below what refers to them; one that is referred to again stands below the first."""
        for number in referred:
            if note := self.notes.pop(number, ""):
                self._add(f"[{number}] {note}")
                self.before = ""

    def _add(self, text: str, tight: bool = False) -> int:
        """Append a paragraph; where it begins."""
        text = clean(text)
        between = "" if not self.parts else "\n" if tight else "\n\n"
        self.parts.extend((between, text))
        self.length += len(between) + len(text)
        return self.length - len(text)


class _Styles:
    """What the styles of a document say about its paragraphs.

    Attributes:
        headings: Levels by names of styles, in lower case, that the settings give.
        by_id: The styles of paragraphs.
        default: Id of the style of paragraphs that name none.
    """

    def __init__(self, file: DocxDocument, headings: Mapping[str, int]) -> None:
        self.headings = {name.casefold(): level for name, level in headings.items()}
        self.by_id: dict[str, Any] = {}
        self.default = ""
        try:
            styles = file.part._styles_part.element  # the public list of styles does not show what they are based on
        except (KeyError, AttributeError):
            return
        for style in styles.iter(_W + "style"):
            if style.get(_W + "type") == "paragraph":
                self.by_id.setdefault(style.get(_W + "styleId") or "", style)
                if style.get(_W + "default") in {"1", "true", "on"}:
                    self.default = style.get(_W + "styleId") or ""

    def level(self, paragraph: Any) -> int | None:
        """Level of a heading from 1, 0 for the title of the document, None for other paragraphs."""
        own = _number(paragraph.find(f"{_W}pPr/{_W}outlineLvl"))
        if own is not None:
            return own + 1 if own < _BODY_LEVEL else None
        levels = (self._level(style) for style in self._chain(paragraph))
        return next((level for level in levels if level is not None), None)

    def kind(self, paragraph: Any) -> str:
        """``item`` of a list, numbered or not, ``code``, or empty."""
        chain = self._chain(paragraph)
        own = paragraph.find(f"{_W}pPr/{_W}numPr")
        if own is not None and _number(own.find(_W + "numId")) != 0:  # 0 takes it out of the list of its style
            return "item"
        if own is None and any(style.find(f"{_W}pPr/{_W}numPr") is not None for style in chain):
            return "item"
        return "code" if any(_CODE.search(_name(style)) for style in chain) else ""

    def _level(self, style: Any) -> int | None:
        """As the settings say, by its name, which is English in every language of Word, or by its outline level."""
        name = _name(style)
        if name.casefold() in self.headings:
            return self.headings[name.casefold()]
        if match := _HEADING.fullmatch(name):
            return int(match.group(1))
        if name.casefold() == "title":
            return 0
        level = _number(style.find(f"{_W}pPr/{_W}outlineLvl"))
        return level + 1 if level is not None and level < _BODY_LEVEL else None

    def _chain(self, paragraph: Any) -> list[Any]:
        """The paragraph's style and those that it is based on."""
        named = paragraph.find(f"{_W}pPr/{_W}pStyle")
        name = named.get(_W + "val") if named is not None else self.default
        chain: list[Any] = []
        while name in self.by_id and self.by_id[name] not in chain:
            chain.append(self.by_id[name])
            based = chain[-1].find(_W + "basedOn")
            name = based.get(_W + "val") if based is not None else None
        return chain


def _name(style: Any) -> str:
    name = style.find(_W + "name")
    return (name.get(_W + "val") or "") if name is not None else ""


def _number(element: Any) -> int | None:
    value = element.get(_W + "val") if element is not None else None
    return int(value) if value is not None and value.isdecimal() else None


def _text(node: Any, referred: list[str]) -> str:
    """Text below a node in order, with the marks of footnotes; their numbers are added to ``referred``."""
    out: list[str] = []
    stack = [node]
    while stack:
        item = stack.pop()
        if item.tag == _W + "t":
            out.append(item.text or "")
        elif item.tag in _SIGNS:
            out.append(_SIGNS[item.tag])
        elif item.tag == _W + "footnoteReference":
            number = item.get(_W + "id") or ""
            referred.append(number)
            out.append(f" [{number}]")
        elif item.tag not in _UNREAD and not _vanished(item):
            if item.tag in {_W + "p", _W + "tr"} and item is not node:  # in a cell or a text box
                out.append("\n")
            elif item.tag == _W + "tc":
                out.append(" ")
            stack.extend(reversed(item))
    return "".join(out)


def _vanished(item: Any) -> bool:
    if item.tag != _W + "r":
        return False
    mark = item.find(f"{_W}rPr/{_W}vanish")
    return mark is not None and mark.get(_W + "val") not in {"0", "false", "off"}


def _nearest(node: Any, tag: str) -> Any:
    return next(node.iterancestors(tag), None)


def _footnotes(file: DocxDocument) -> dict[str, str]:
    """Text of each footnote by its number."""
    from docx.oxml import parse_xml

    try:
        part = file.part.part_related_by(_FOOTNOTES)
    except (KeyError, ValueError):
        return {}
    notes = parse_xml(part.blob).iter(_W + "footnote")
    found = {
        note.get(_W + "id") or "": " ".join(_text(note, []).split()) for note in notes if not note.get(_W + "type")
    }
    return {number: text for number, text in found.items() if text}
