"""Files that are not what they should be, and a few that are, for a corpus of the worst."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from tests.documents.pdfs import encrypted, pdf
from tests.documents.words import changed, paragraphs

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
_PDF = pdf(["A page of text that is long enough to be found"])
_DOCX = paragraphs("A paragraph of a document")

#: name -> content, and what its report must say
SKIPPED: dict[str, tuple[bytes, str]] = {
    "empty.txt": (b"", "empty"),
    "empty.docx": (b"", "empty"),
    "empty.pdf": (b"", "empty"),
    "blanks.txt": (b" \n\t\r\n  \xc2\xa0\n", "no text in it"),
    "truncated.pdf": (_PDF[: len(_PDF) // 3], "damaged"),
    "images.pdf": (pdf(["", ""]), "no text in it (a PDF of images only?)"),
    "locked.pdf": (encrypted(pdf(["secret"]), "key"), "encrypted with a password"),
    "nonsense.pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 20, "damaged"),
    "text.pdf": (b"These are words, but not in a PDF.", "not a PDF"),
    "pdf.md": (_PDF, "the content is a PDF"),
    "zip.docx": (changed(_DOCX, {"[Content_Types].xml": None, "word/document.xml": None}), "not a Word document"),
    "old.docx": (_OLE + "WordDocument".encode("utf-16-le"), "before 2007"),
    "locked.docx": (_OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted with a password"),
    "broken-xml.docx": (changed(_DOCX, {"word/document.xml": b"<w:document"}), "XML that cannot be read"),
    "truncated.docx": (_DOCX[: len(_DOCX) // 2], "no complete ZIP archive"),
    "sheet.docx": (changed(_DOCX, {"word/document.xml": None, "xl/workbook.xml": b"<x/>"}), "an Excel workbook"),
    "bomb.docx": (changed(_DOCX, {"word/document.xml": b"<a>" + b" " * 101_000_000}), "too large once unpacked"),
    "zip.html": (_DOCX, "ZIP"),
    "gzip.html": (gzip.compress(b"<p>packed</p>"), "gzip data"),
    "empty-body.html": (b"<html><head><title>Nothing</title></head><body></body></html>", "no text in it"),
    "hidden.html": (b"<script>all()</script><div hidden>of it</div>", "no text in it"),
    "unknown.html": (b'<meta charset="klingon"><p>x</p>', "unknown encoding 'klingon'"),
    "slow-codec.html": (b'<meta charset="idna"><p>x</p>' + b"a" * 1_000_000, "unknown encoding 'idna'"),
    "utf16.txt": ("Words in wide characters.".encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "utf32.csv": ("a,b\n1,2\n".encode("utf-32-be"), "UTF-32 without a byte order mark"),
    "latin1.txt": (b"caf\xe9 au lait", "not valid utf-8: byte 0xe9 at offset 3"),
    "latin1.md": ("# Überschrift".encode("latin-1"), "not valid utf-8: byte 0xdc at offset 2"),
    "nul.txt": (b"some text\0 and more", "binary"),
    "binary.txt": (bytes(range(256)) * 40, "binary"),
    "program.txt": (b"\x7fELF\x02\x01\x01" + b"\0" * 50, "a program"),
    "picture.md": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "a PNG image"),
    "surrogate-bytes.txt": (b"half \xed\xa0\x80 a character", "not valid utf-8: byte 0xed at offset 5"),
    "array.jsonl": (b'[{"text": "in an array"}, {"text": "x"}]', "expected a JSON object, found an array"),
    "scalars.jsonl": (b'1\n"two"\nnull\n', "expected a JSON object, found a number"),
    "deep.jsonl": (b'{"text": ' + b"[" * 200_000, "nested too deeply"),
    "no-text.jsonl": (b'{"passage": "x"}\n', "found the fields 'passage'"),
    "binary.jsonl": (bytes(range(256)) * 40, "binary"),
    "header.csv": (b"id,text\n", "no rows under its header"),
    "quote.csv": (b'id,text\n1,"never, closed\n2,x', "no record in it can be read"),
    "nul.csv": (b"a,b\n1,\x002\n", "binary"),
    "ragged.tsv": (b"a\tb\n1\n2\n", "1 fields, expected 2"),
}

_NESTED = b"<div>" * 20_000 + b"at the bottom" + b"</div>" * 20_000

#: name -> content of files that are odd, but are read
READ: dict[str, bytes] = {
    "good.md": b"# Good\n\nA file like any other.\n",
    "good.pdf": _PDF,
    "good.docx": _DOCX,
    "nested.html": _NESTED,
    "unclosed.html": b"<p>one<p>two<b>three" + b"<i>" * 5000,
    "mixed.jsonl": b'{"text": "good"}\nbad\n[]\n{"text": "half \\ud800", "n": NaN}\n\n{"id": "x1", "text": "x"}',
    "ragged.csv": b'id,text\n1,good\n2\n3,"open\n4,fine\n',
    "column.csv": b"text\nOne, with commas\nTwo\n",
    "long-field.csv": b"id,text\n1," + b"word " * 40_000,
    "crash.md": b"---\ntitle: [\n---\n" + b"[" * 5000 + b"*" * 5000 + b"\n> " * 500,
    "bad-xref.pdf": _PDF.replace(b"startxref\n", b"startxref\n9"),
    "script.pdf": _PDF.replace(
        b"<< /Type /Catalog", b"<< /OpenAction << /S /JavaScript /JS (app.alert(1)) >> /Type /Catalog"
    ),
    "line.txt": b"word " * 400_000,
    "letters.txt": b"x" * 500_000,
    "dots.txt": b"." * 300_000 + b" \n" * 100_000,
    "declared.html": '<meta charset="iso-8859-1"><p>café</p>'.encode("latin-1"),
    "marked.txt": "with a mark".encode("utf-16"),
    "name\nof two lines.txt": b"The name has two lines.",
    "bytes.mdx": b"\xef\xbb\xbf# With a mark\n",
}


def write(root: Path) -> set[str]:
    """Write all of them, and things that are no files; the names of what must not be found at all."""
    for name, content in {name: content for name, (content, _) in SKIPPED.items()}.items():
        (root / name).write_bytes(content)
    for name, content in READ.items():
        (root / name).write_bytes(content)
    (root / "folder.md").mkdir()
    (root / "folder.md" / "inside.md").write_bytes(b"In a folder with the name of a file.")
    os.mkfifo(root / "pipe.txt")
    (root / "dangling.md").symlink_to("nowhere.md")
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "a.md").symlink_to("b.md")
    (root / "b.md").symlink_to("a.md")
    (root / ".hidden.md").write_bytes(b"hidden")
    (root / "other.xyz").write_bytes(b"not asked for")
    with (root / "huge.txt").open("wb") as stream:
        stream.truncate(500_000_000)  # no blocks of the disk
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.md")).write_bytes(b"a name that is not UTF-8")
    return {".hidden.md", "other.xyz"}


#: sources of things that are no readable files, and what their report must say
NO_FILES = {
    "pipe.txt": "not a regular file",
    "dangling.md": "a link that leads nowhere or in a circle",
    "loop": "a link to '.'",
    "a.md": "a link that leads nowhere or in a circle",
    "b.md": "a link that leads nowhere or in a circle",
    "huge.txt": "too large: 500.0 MB",
    "caf\\udce9.md": "its name is not valid UTF-8",
}
