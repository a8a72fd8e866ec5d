from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragdecode.documents.document import Document
from ragdecode.documents.reader import UnreadableError
from ragdecode.documents.readers.jsonl import JsonlReader, JsonlSettings

DATA = Path(__file__).parents[3] / "shared" / "data"


def read(data: bytes | str | list[Any], **settings: Any) -> Document:
    if isinstance(data, list):
        data = "\n".join(json.dumps(row) for row in data)
    return JsonlReader(JsonlSettings(**settings)).read(data.encode() if isinstance(data, str) else data)


def texts(document: Document) -> dict[str, str]:
    """Text of each record by its name, cut out by the offsets."""
    ends = [record.start for record in document.records[1:]] + [len(document.text) + 2]
    return {
        record.name: document.text[record.start : end - 2] for record, end in zip(document.records, ends, strict=True)
    }


def flaws(document: Document) -> dict[str, str]:
    return {flaw.place: flaw.reason for flaw in document.problems}


def test_beir_corpora_are_read_as_they_are() -> None:
    rows = [
        {"_id": "4983", "title": "One", "text": "First text.", "metadata": {"url": "https://a.b/c", "year": 1999}},
        {"_id": 31, "title": "", "text": "Second text.\nTwo lines.", "metadata": {}},
        {"_id": "t", "title": "Title alone", "text": ""},
    ]
    document = read(rows)
    assert texts(document) == {
        "4983": "One\n\nFirst text.",
        "31": "Second text.\nTwo lines.",
        "t": "Title alone",
    }
    assert [record.title for record in document.records] == ["One", "", "Title alone"]
    assert document.records[0].metadata == {"url": "https://a.b/c", "year": 1999}
    assert document.problems == ()


def test_flashrag_corpora_are_read_as_they_are() -> None:
    rows = [
        {"id": "0", "contents": '"Anarchism"\nAnarchism is a movement.\nSecond line.'},
        {"id": "1", "contents": "Plain title\nText."},
        {"id": "2", "contents": "One line only"},
    ]
    document = read(rows)
    assert texts(document) == {
        "0": "Anarchism\n\nAnarchism is a movement.\nSecond line.",
        "1": "Plain title\n\nText.",
        "2": "One line only",
    }
    assert [record.title for record in document.records] == ["Anarchism", "Plain title", ""]


def test_a_title_with_which_the_text_begins_comes_once() -> None:
    assert read([{"title": "wing flow .", "text": "wing flow . a study"}]).text == "wing flow . a study"


@pytest.mark.parametrize("name", ["scifact", "cranfield", "cisi", "vaswani_npl"])
def test_real_beir_corpora_lose_nothing(name: str) -> None:
    path = DATA / name / "corpus.jsonl"
    if not path.exists():
        pytest.skip("the shared data sets are not here")
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    document = read(path.read_bytes())
    found = texts(document)
    full = [row for row in rows if (row.get("title") or row["text"]).strip()]
    assert list(found) == [row["_id"] for row in full]
    assert len(document.problems) == len(rows) - len(full)
    for row in full:
        title, text = row.get("title", ""), row["text"]
        whole = [f"{title} {text}".split()]
        if " ".join(text.split()).startswith(" ".join(title.split())):
            whole.append(text.split())
        assert found[row["_id"]].split() in whole


BROKEN = [
    (b'{"text": "never closed', "no valid JSON"),
    (b"[1, 2]", "expected a JSON object, found an array"),
    (b'"text"', "found a text"),
    (b"12", "found a number"),
    (b"null", "found null"),
    (b'{"text": "\xe9"}', "not valid utf-8: byte 0xe9 at offset 10"),
    (b'{"text": "a\x00b"}', "binary"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"text": ' + b"9" * 5000 + b"}", "no valid JSON"),
    (
        b'{"txt": "x", "n": 1}',
        "expected a field 'text' or 'content' or 'body' or 'contents', found the fields 'txt', 'n'",
    ),
    (b'{"text": "  "}', "no text in it"),
    (b'{"text": {"deep": "x"}}', "no text in it"),
    (b"{}", "found the fields none at all"),
]


@pytest.mark.parametrize(("line", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_a_broken_line_is_told_and_the_good_ones_are_read(line: bytes, reason: str) -> None:
    document = read(b'{"text": "before"}\n' + line + b'\n\n{"text": "behind"}\n')
    assert texts(document) == {"1": "before", "4": "behind"}
    assert list(flaws(document)) == ["line 2"]
    assert reason in flaws(document)["line 2"]


@pytest.mark.parametrize(("line", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_a_file_without_a_good_line_is_refused_with_the_first_reason(line: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(line + b"\n" + line)
    assert reason in str(caught.value)
    assert "line 1" in str(caught.value) or reason == "binary"


def test_many_broken_lines_are_counted() -> None:
    document = read(b'{"text": "good"}\n' + b"bad\n" * 1000)
    assert len(document.problems) == 21
    assert document.problems[-1].place == "980 more places"
    assert "line 1001" in document.problems[-1].reason


def test_a_second_record_of_the_same_name_is_kept_under_another() -> None:
    document = read([{"id": "a", "text": "1"}, {"id": "a", "text": "2"}, {"id": "a#2", "text": "3"}])
    assert texts(document) == {"a": "1", "a#2": "2", "a#2#2": "3"}
    assert flaws(document)["line 2"] == "read under the name 'a#2': 'a' is the id of line 1 too"
    assert set(flaws(document)) == {"line 2", "line 3"}


def test_missing_numbers_and_strange_characters_do_no_harm() -> None:
    line = '{"text": "half \\ud800 and \\u0000 null", "score": NaN, "far": Infinity, "near": 1e999, "big": %s}'
    document = read(line % 10**30)
    assert document.text == "half � and � null"
    assert document.records[0].metadata == {"big": str(10**30)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends(encoding: str, end: str) -> None:
    rows = end.join(['{"id": "ä", "text": "ü\\r\\nx"}', '{"id": "b", "text": "y"}', ""])
    assert texts(read(rows.encode(encoding))) == {"ä": "ü\nx", "b": "y"}


def test_settings_say_which_fields_are_what() -> None:
    rows = [
        {
            "head": "H",
            "docid": "d1",
            "summary": "Short.",
            "doc": {"body": ["One.", "Two."]},
            "year": 2001,
            "tags": ["a", "b"],
            "text": "not this",
        }
    ]
    document = read(
        rows, title="head", id="docid", text=["summary", "doc.body"], metadata=["year", "tags", "doc.none", "text"]
    )
    assert texts(document) == {"d1": "H\n\nShort.\n\nOne.\n\nTwo."}
    assert document.records[0].metadata == {"year": 2001, "tags": "a, b", "text": "not this"}
    assert read(rows, text="summary").text == "Short."
    with pytest.raises(UnreadableError, match="expected a field 'absent', found the fields 'head', 'docid'"):
        read(rows, text="absent")


def test_metadata_are_the_other_short_scalars() -> None:
    row = {
        "id": "x",
        "title": "T",
        "text": "t",
        "year": 1,
        "ok": True,
        "rate": 0.5,
        "lang": "en",
        "none": None,
        "list": [1],
        "long": "l" * 301,
        "metadata": {"inner": "i", "year": 2, "deep": {"x": 1}},
    }
    assert read([row]).records[0].metadata == {"inner": "i", "year": 1, "ok": True, "rate": 0.5, "lang": "en"}
    assert read([row], metadata=["long"]).records[0].metadata == {"long": "l" * 301}
    assert read([row], metadata=[]).records[0].metadata == {}


def test_thousands_of_fields_do_not_multiply_in_the_passages() -> None:
    fields = {f"field{number:05}": "value" for number in range(20_000)}
    line = json.dumps({"text": "word", **fields}).encode()
    kept = JsonlReader(JsonlSettings()).read(line).records[0].metadata
    assert list(kept) == [f"field{number:05}" for number in range(len(kept))]
    assert 9_900 < sum(len(name) + len(str(value)) for name, value in kept.items()) <= 10_000
    asked = JsonlSettings(metadata=tuple(fields))
    assert JsonlReader(asked).read(line).records[0].metadata == fields
