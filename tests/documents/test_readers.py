from __future__ import annotations

import io
import re
from pathlib import Path

import pypdf
import pytest

from ragdecode.documents.document import Document
from ragdecode.documents.globs import matcher
from ragdecode.documents.reader import UnreadableError, readers_by_suffix
from ragdecode.documents.readers.html import HtmlReader
from ragdecode.documents.readers.text import TextReader, TextSettings
from ragdecode.errors import InputError
from ragdecode.spec import registry
from ragdecode.spec.index import CorpusSpec
from ragdecode.spec.part import Part
from ragdecode.spec.settings import NoSettings, Settings
from tests.documents.pdfs import encrypted, pdf

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "docs_corpus"


def read(suffix: str, data: bytes) -> Document:
    return readers_by_suffix()[suffix].read(data)


def headings(document: Document) -> list[tuple[int, str]]:
    return [(heading.level, heading.text) for heading in document.headings]


def heading_sources(document: Document) -> list[str]:
    return [document.text[heading.start : heading.end].strip() for heading in document.headings]


def test_these_formats_are_read_without_being_asked_for() -> None:
    assert set(readers_by_suffix()) == {
        *(".txt", ".text", ".rst", ".md", ".markdown", ".mdx", ".html", ".htm", ".xhtml", ".pdf", ".docx"),
        *(".jsonl", ".ndjson", ".csv", ".tsv"),
    }


def test_two_readers_of_one_suffix_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.parts("reader")
    twice = {"again": known["text"], **known}
    monkeypatch.setattr(registry, "parts", lambda kind: twice)
    with pytest.raises(InputError, match=r"'again' and 'text' both claim files ending in \.txt"):
        readers_by_suffix()


class _Shout:
    """A configured reader of two suffixes, one of them new."""

    suffixes = (".txt", ".shout")

    def __init__(self, settings: NoSettings) -> None: ...

    def read(self, data: bytes) -> Document:
        return Document(data.decode().upper())


@pytest.fixture
def shout(monkeypatch: pytest.MonkeyPatch) -> Part:
    info = registry.PartInfo("reader", "shout", _Shout, NoSettings, "", "test")
    monkeypatch.setitem(registry._parts, ("reader", "shout"), info)
    part = Part("reader", "shout", NoSettings())
    known = {name: one for name, one in registry.parts("reader").items() if name != "shout"}
    monkeypatch.setattr(registry, "parts", lambda kind: known)
    monkeypatch.setattr(registry, "find", lambda kind, name: info)
    return part


def test_a_configured_reader_comes_before_the_built_in_ones_for_its_suffixes(shout: Part) -> None:
    readers = readers_by_suffix([shout])
    assert readers[".txt"].read(b"a").text == readers[".shout"].read(b"a").text == "A"
    assert readers[".text"].read(b"a").text == "a"
    assert readers_by_suffix()[".txt"].read(b"a").text == "a"


def test_two_configured_readers_of_one_suffix_are_refused(shout: Part) -> None:
    with pytest.raises(InputError, match=r"'shout' and 'shout' both claim files ending in \.txt(?s:.*)corpus\.readers"):
        readers_by_suffix([shout, shout])


def test_a_reader_with_a_setting_that_must_be_set_reads_nothing_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    class Needed(Settings):
        which: str

    info = registry.PartInfo("reader", "needy", _Shout, Needed, "", "test")
    monkeypatch.setattr(registry, "parts", lambda kind: {"needy": info})
    assert readers_by_suffix() == {}


def test_every_format_that_is_read_is_looked_for() -> None:
    wanted = matcher(CorpusSpec(path=".").include)
    assert all(wanted(f"folder/file{suffix}") for suffix in readers_by_suffix())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"\xef\xbb\xbfwith mark", "with mark"),
        ("ünï".encode("utf-16"), "ünï"),
        (b"\xff\xfe\x00\x00" + "wide".encode("utf-32-le"), "wide"),
        (b"\xfe\xff" + "big".encode("utf-16-be"), "big"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
    ],
)
def test_text_is_decoded_by_its_mark_or_as_utf8_with_one_line_end(data: bytes, text: str) -> None:
    assert read(".txt", data).text == text


@pytest.mark.parametrize(
    ("suffix", "data", "reason"),
    [
        (".txt", b"caf\xe9 au lait", "not valid utf-8: byte 0xe9 at offset 3"),
        (".txt", b"a\x00b", "binary"),
        (".md", b"%PDF-1.4 ...", "the content is a PDF"),
        (".html", b"\x89PNG\r\n\x1a\n\x00\x00", "the content is a PNG image"),
        (".txt", b"PK\x03\x04rest", "ZIP"),
        (".html", b'<meta charset="klingon"><p>x</p>', "unknown encoding 'klingon'"),
        (".pdf", b"just text", "not a PDF"),
        (".pdf", pdf(["", ""]), "no text in it"),
        (".pdf", encrypted(pdf(["secret"]), "key"), "encrypted"),
    ],
)
def test_what_is_not_what_it_claims_is_refused_with_the_reason(suffix: str, data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read(suffix, data)


def test_markdown_keeps_its_source_and_marks_headings_outside_code() -> None:
    source = (
        "---\ntitle: front\n---\n# One `code` *two*\n\ntext\n\nSetext\n------\n\n"
        "```\n# not a heading\n```\n### Deep #\n"
    )
    document = read(".md", source.encode())
    assert document.text == source
    assert headings(document) == [(1, "One code two"), (2, "Setext"), (3, "Deep")]
    assert heading_sources(document) == ["# One `code` *two*", "Setext\n------", "### Deep #"]


def test_markdown_rule_at_the_top_is_not_front_matter() -> None:
    document = read(".md", b"---\n\n# Title\n\nbody")
    assert headings(document) == [(1, "Title")]


HTML = """<!doctype html><html><head><title>no</title><style>p {}</style><script>bad()</script></head>
<body><!-- comment --><h1>Top <em>title</em></h1><p>One  two
three.</p><div>A<span>B</span> <b>C</b></div><div hidden>gone</div><p style="display: none">gone</p>
<p aria-hidden="true">gone</p><h2></h2><h2>Sub</h2><ul><li>x</li><li>y</li></ul>
<table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>
<pre>  keep
    this</pre><p>first<br>second</p><noscript>gone</noscript><p>&lt;b&gt; &amp; caf&eacute;</p></body></html>"""


def test_html_gives_the_visible_text_with_headings() -> None:
    document = read(".html", HTML.encode())
    assert document.text == (
        "Top title\n\nOne two three.\n\nAB C\n\nSub\n\nx\ny\n\n1\t2\n3\t4\n\n"
        "  keep\n    this\n\nfirst\nsecond\n\n<b> & café"
    )
    assert headings(document) == [(1, "Top title"), (2, "Sub")]
    assert heading_sources(document) == ["Top title", "Sub"]


def test_html_is_decoded_as_it_declares() -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>café</p></body></html>'
    assert read(".html", page.encode("latin-1")).text == "café"


def test_deeply_nested_html_is_read() -> None:
    page = "<div>" * 5000 + "bottom" + "</div>" * 5000
    assert read(".html", page.encode()).text == "bottom"


def test_pdf_pages_are_marked() -> None:
    document = read(".pdf", pdf(["First page", "", "Third page"]))
    assert document.text == "First page\n\n\n\nThird page"
    assert [(page.number, document.text[page.start :].split("\n")[0]) for page in document.pages] == [
        (1, "First page"),
        (2, ""),
        (3, "Third page"),
    ]


def test_pdf_encrypted_without_a_password_is_read() -> None:
    assert read(".pdf", encrypted(pdf(["open to all"]), "")).text == "open to all"


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("iso-8859-1", "café – “quoted” €"),  # browsers read cp1252 where latin-1 is declared
        ("windows-1251", "Привет"),
        ("gb2312", "汉字 镕"),  # the last one is in the larger set only
        ("shift_jis", "日本語 ①"),
        ("utf-8", "naïve"),
    ],
)
def test_html_is_decoded_as_browsers_do(declared: str, text: str) -> None:
    used = {"iso-8859-1": "cp1252", "gb2312": "gb18030", "shift_jis": "cp932"}.get(declared, declared)
    page = f'<html><head><meta charset="{declared}"></head><body><p>{text}</p></body></html>'
    assert read(".html", page.encode(used)).text == text


def test_html_that_declares_what_it_cannot_be_is_read_as_utf8() -> None:
    assert read(".html", '<meta charset="utf-16"><p>naïve</p>'.encode()).text == "naïve"
    assert read(".html", b'<meta charset="latin-1"><p>a\x81b</p>').text == "a\x81b"


@pytest.mark.parametrize("name", ["idna", "punycode", "unicode_escape", "undefined", "rot13", "hex"])
def test_codecs_that_are_no_encodings_of_files_are_refused(name: str) -> None:
    with pytest.raises(UnreadableError, match="declares the unknown encoding"):
        read(".html", f'<meta charset="{name}"><p>text</p>'.encode())


def test_html_title_is_metadata() -> None:
    assert read(".html", b"<title> A\n title </title><p>x</p>").metadata == {"title": "A title"}
    assert read(".html", b"<title> </title><p>x</p>").metadata == {}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_without_a_mark_are_named(encoding: str) -> None:
    width = encoding[:6].upper()
    with pytest.raises(UnreadableError, match=f"it looks like {width} without a byte order mark"):
        read(".txt", "Plain words, all in Latin letters.\n".encode(encoding))


def test_text_is_decoded_as_the_settings_say() -> None:
    reader = TextReader(TextSettings(encoding="latin-1"))
    assert reader.read(b"caf\xe9").text == "café"
    assert reader.read("café".encode("utf-8-sig")).text == "café"


def test_front_matter_is_metadata_and_holds_no_headings() -> None:
    source = "---\ntitle: A page\ndate: 2024-05-01\ndraft: false\ntags: [a, b]\n# comment\n---\n\n# Head\n"
    document = read(".md", source.encode())
    assert document.metadata == {"title": "A page", "date": "2024-05-01", "draft": False}
    assert headings(document) == [(1, "Head")]
    assert document.text == source
    toml = read(".md", b'+++\ntitle = "T"\n# comment\n+++\n# Head\n')
    assert (toml.metadata, headings(toml)) == ({"title": "T"}, [(1, "Head")])


@pytest.mark.parametrize(
    ("source", "metadata", "found"),
    [
        ("---\n\n# Title\n\nbody\n\n---\n\nmore\n", {}, ["Title"]),  # a text between two rules
        ("---\ntitle: [unclosed\n---\n# Head\n", {}, ["Head"]),
        ("---\na: &a [x]\nb: {<<: *a}\n---\n# Head\n", {}, ["Head"]),
        ("---\ndate: 2024-99-99\ntitle: x\n---\n# Head\n", {}, ["Head"]),
        ("---\n" + "k: [" + "[" * 3000 + "\n---\n# Head\n", {}, ["Head"]),
        ("---\n---\n# Head\n", {}, ["Head"]),
    ],
)
def test_strange_front_matter_costs_nothing_but_itself(source: str, metadata: dict[str, str], found: list[str]) -> None:
    document = read(".md", source.encode())
    assert dict(document.metadata) == metadata
    assert [text for _, text in headings(document)] == found


MDX = """---
title: "Page"
---
import Tabs from '@theme/Tabs';
export const text = `
# not a heading
`;

# Head

{/* a comment
# not this either
*/}

<Tabs>
<TabItem value="a">
## Inside a tag
    ## Indented is no code in MDX
</TabItem>
</Tabs>

```jsx
import x from 'y';
# nor this
```

## End
"""


def test_mdx_headings_are_those_of_its_markdown() -> None:
    document = read(".mdx", MDX.encode())
    assert document.text == MDX
    assert document.metadata == {"title": "Page"}
    assert headings(document) == [
        (1, "Head"),
        (2, "Inside a tag"),
        (2, "Indented is no code in MDX"),
        (2, "End"),
    ]
    assert heading_sources(document)[1:3] == ["## Inside a tag", "## Indented is no code in MDX"]
    assert [text for _, text in headings(read(".md", b"<div>\n## html\n</div>\n\n    ## code\n"))] == []


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared documents are not here")
def test_real_mdx_headings_are_those_that_a_naive_scan_finds() -> None:
    for path in sorted(CORPUS.rglob("*.mdx")):
        document = read(".mdx", path.read_bytes())
        outside = re.sub(r"^[ \t]*(`{3,})(?s:.*?)^[ \t]*\1", "", document.text, flags=re.MULTILINE)
        naive = [len(marks) for marks in re.findall(r"^ {0,3}(#{1,6}) +\S", outside, flags=re.MULTILINE)]
        assert [level for level, _ in headings(document)] == naive, path
        assert document.metadata["title"]


def test_markdown_blocks_are_marked() -> None:
    source = "text\n\n```py\na\n\nb\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n\n  more\n- two\n"
    document = read(".md", source.encode())
    assert [(document.text[block.start : block.end], block.by_lines) for block in document.blocks] == [
        ("```py\na\n\nb\n```\n", True),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", True),
        ("- one\n\n  more\n", False),
        ("- two\n", False),
    ]


def test_html_blocks_are_marked() -> None:
    page = "<p>a</p><ul><li>one<ul><li>in</li></ul></li><li>two</li></ul><table><tr><td>1<td>2</table><pre>x\n\ny</pre>"
    document = read(".html", page.encode())
    assert [(document.text[block.start : block.end].strip(), block.by_lines) for block in document.blocks] == [
        ("one\n\nin", False),
        ("in", False),
        ("two", False),
        ("1\t2", True),
        ("x\n\ny", True),
    ]


def outlined(
    pages: list[str], bookmarks: list[tuple[int, str, int]], information: dict[str, str] | None = None
) -> bytes:
    """A PDF with bookmarks: level, words, page from 0."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(pages)))
    above: dict[int, object] = {}
    for level, words, page in bookmarks:
        above[level] = writer.add_outline_item(title=words, page_number=page, parent=above.get(level - 1))
    if information:
        writer.add_metadata(information)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pdf_bookmarks_are_headings_at_their_words() -> None:
    pages = ["1. Introduction", "words before", "3.1 METHODS"]
    bookmarks = [(1, "Introduction", 0), (1, "Not in the text", 1), (2, "3.1 Methods", 2)]
    document = read(".pdf", outlined(pages, bookmarks))
    assert headings(document) == [(1, "Introduction"), (1, "Not in the text"), (2, "3.1 Methods")]
    assert heading_sources(document) == ["1. Introduction", "", "3.1 METHODS"]
    assert document.headings[1].start == document.pages[1].start


def test_pdf_information_is_metadata() -> None:
    information = {"/Title": "A  title", "/Author": "Someone", "/Producer": "x"}
    assert read(".pdf", outlined(["text"], [], information)).metadata == {"title": "A title", "author": "Someone"}
    assert read(".pdf", pdf(["text"])).metadata == {}


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared documents are not here")
def test_real_pdf_bookmarks_are_placed() -> None:
    document = read(".pdf", (CORPUS / "pdf" / "pdflatex-outline.pdf").read_bytes())
    assert headings(document) == [(1, "Foo"), (1, "Bar"), (1, "Baz")] * 3
    assert heading_sources(document) == [f"{n} {w}" for n, w in enumerate(["Foo", "Bar", "Baz"] * 3, start=1)]


def test_a_title_as_long_as_a_page_is_not_carried_by_every_passage() -> None:
    page = "<title>{}</title><p>Text.</p>"
    assert HtmlReader(NoSettings()).read(page.format("Short").encode()).metadata == {"title": "Short"}
    assert HtmlReader(NoSettings()).read(page.format("long " * 1000).encode()).metadata == {}
