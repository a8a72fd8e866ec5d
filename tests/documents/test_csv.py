from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.documents.document import Document
from ragdecode.documents.reader import UnreadableError
from ragdecode.documents.readers.csv import CsvReader, CsvSettings
from ragdecode.documents.readers.text import TextSettings
from tests.documents.test_jsonl import flaws, texts


def read(data: bytes | str, **settings: Any) -> Document:
    return CsvReader(CsvSettings(**settings)).read(data.encode() if isinstance(data, str) else data)


def test_rows_are_records_of_named_lines() -> None:
    document = read('name,color,"year"\nApple,"red, or green",1999\nPear,,007\n\n')
    assert texts(document) == {
        "2": "name: Apple\ncolor: red, or green\nyear: 1999",
        "3": "name: Pear\nyear: 007",
    }
    assert [record.metadata for record in document.records] == [
        {"name": "Apple", "color": "red, or green", "year": 1999},
        {"name": "Pear", "year": "007"},
    ]


def test_title_and_id_columns_are_found_by_their_names() -> None:
    document = read("id\ttitle\ttext\n7\tApples\tThey grow.\n")
    assert texts(document) == {"7": "Apples\n\nid: 7\ntext: They grow."}
    assert document.records[0].title == "Apples"


def test_settings_say_which_columns_are_what() -> None:
    data = "key;head;body;more;price\nk1;H;Text.;More.;1.50\n"
    document = read(data, text=["body", "more"], title="head", id="key", metadata=["price", "body"])
    assert texts(document) == {"k1": "H\n\nText.\n\nMore."}
    assert document.records[0].metadata == {"price": 1.5, "body": "Text."}
    assert read(data, text="more").text == "More."
    with pytest.raises(UnreadableError, match="no column 'absent'; its columns are 'key', 'head'"):
        read(data, text=["absent"])


def test_columns_of_a_file_without_a_header_are_named_by_settings() -> None:
    document = read("1,one\n2,two\n", columns=["id", "text"], text=["text"])
    assert texts(document) == {"1": "one", "2": "two"}


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    rows = [["id", "text", "note"], ["1", "a, b; c | d\te", "x"], ["2", "plain", "y, z"]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    assert texts(read(out.getvalue(), text="text")) == {"1": "a, b; c | d\te", "2": "plain"}


def test_a_delimiter_of_ones_own() -> None:
    assert texts(read("id^text\n1^a,b", delimiter="^", text="text")) == {"1": "a,b"}


def test_one_column_is_no_table_of_commas() -> None:
    assert texts(read("text\nHello, world, again\nYes\n")) == {"2": "text: Hello, world, again", "3": "text: Yes"}


def test_rows_that_do_not_fit_are_told() -> None:
    document = read("a,b\n1,2\n1,2,3\n1\n4,5,,\n6,7\n")
    assert list(texts(document)) == ["2", "5", "6"]
    assert flaws(document) == {
        "line 3": "3 fields, expected 2 as in the header",
        "line 4": "1 fields, expected 2 as in the header",
    }


def test_an_unbalanced_quote_costs_the_rows_it_swallows_and_no_others() -> None:
    document = read('id,text\n1,good\n2,"open\n3,"b, c"\n4,"fine, too"\n5,"never closed\n6,x\n')
    assert list(texts(document)) == ["1", "4"]
    assert flaws(document) == {
        "lines 3 to 4": "text behind a closing quote",
        "lines 6 to 7": "a quote is opened that is never closed",
    }


def test_quotes_that_are_characters_are_kept_where_all_rows_fit_so() -> None:
    data = 'id\ttext\n1\t"Hello\n2\tsaid "so\n3\t"a" b\n'
    assert texts(read(data, text="text")) == {"1": '"Hello', "2": 'said "so', "3": '"a" b'}


def test_fields_are_as_long_as_they_are() -> None:
    long = "word " * 60_000
    assert len(read(f"id,text\n1,{long}\n", text="text").text) == len(long.strip())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b\n", "no rows under its header"),
        (b"\n\n", "no text in it"),
        (b"caf\xe9,b\n1,2", "not valid utf-8: byte 0xe9 at offset 3"),
        (b"a,b\n1,\x00\n", "binary"),
        (b"a,b\n1\n2\n", "no record in it can be read; first line 2: 1 fields"),
        (b'"a,b\n1,2,3\n', "its header cannot be read: lines 1 to 2"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read(data)


def test_the_encoding_is_that_of_the_settings_unless_marked() -> None:
    assert texts(read("id,text\n1,caf\xe9".encode("latin-1"), encoding="latin-1", text="text")) == {"1": "café"}
    assert texts(read("id,text\n1,café".encode("utf-16"), encoding="latin-1", text="text")) == {"1": "café"}


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "base64", "a\0b"])
@pytest.mark.parametrize("settings", [CsvSettings, TextSettings])
def test_an_encoding_that_nobody_knows_is_refused_with_the_settings(settings: type, encoding: str) -> None:
    with pytest.raises(ValueError, match="unknown encoding"):
        settings(encoding=encoding)


@pytest.mark.parametrize("delimiter", ["\n", "\r", '"'])
def test_what_cannot_delimit_is_refused(delimiter: str) -> None:
    with pytest.raises(ValueError, match="neither a line end nor a quote"):
        CsvSettings(delimiter=delimiter)


def test_names_of_columns_are_made_different() -> None:
    assert read("a,,a\n1,2,3").text == "a: 1\ncolumn 2: 2\na (3): 3"


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\x1f"), min_size=1, max_size=12).filter(
    lambda cell: cell.strip() == cell
)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8), st.sampled_from([",", ";", "\t", "|"]))
def test_what_a_writer_writes_is_read(rows: list[tuple[str, str]], delimiter: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("key", "body"), *rows])
    document = read(out.getvalue(), delimiter=delimiter, text="body", id="none")
    assert list(texts(document).values()) == [body for _, body in rows]
    assert document.problems == ()
