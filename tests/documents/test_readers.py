from __future__ import annotations

import pytest

from ragdecode.documents.document import Document
from ragdecode.documents.globs import matcher
from ragdecode.documents.reader import UnreadableError, readers_by_suffix
from ragdecode.errors import InputError
from ragdecode.spec import registry
from ragdecode.spec.index import CorpusSpec
from ragdecode.spec.part import Part
from ragdecode.spec.settings import NoSettings, Settings
from tests.documents.pdfs import encrypted, pdf


def read(suffix: str, data: bytes) -> Document:
    return readers_by_suffix()[suffix].read(data)


def headings(document: Document) -> list[tuple[int, str]]:
    return [(heading.level, heading.text) for heading in document.headings]


def heading_sources(document: Document) -> list[str]:
    return [document.text[heading.start : heading.end].strip() for heading in document.headings]


def test_the_catalogue_reads_text_markdown_html_and_pdf() -> None:
    assert {".txt", ".md", ".markdown", ".html", ".htm", ".pdf"} <= set(readers_by_suffix())


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
