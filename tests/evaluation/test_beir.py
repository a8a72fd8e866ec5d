"""Collections in BEIR layout, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.ranking.beir import read_beir

SHARED = Path(__file__).parents[3] / "shared" / "data"


def put(
    folder: Path, qrels: str = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n", where: str = "qrels.tsv"
) -> Path:
    documents = [{"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "text": "second", "metadata": {}}]
    queries = [{"_id": "q1", "text": "who?"}, {"_id": "q2", "text": "nobody judged this"}]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / where).parent.mkdir(exist_ok=True)
    (folder / where).write_text(qrels)
    return folder


def test_both_places_of_judgements(tmp_path: Path) -> None:
    for name in ("qrels.tsv", "qrels/test.tsv"):
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir()
        found = read_beir(put(folder, where=name))
        assert found.queries == {"q1": "who?"}
        assert found.judgements == {"q1": {"d1": 2, "d2": 0}}
        assert list(found.documents()) == [("d1", "One", "first"), ("d2", "", "second")]


def test_a_split_goes_before_the_file_without_splits(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, "query-id\tcorpus-id\tscore\nq2\td2\t1\n", "qrels/dev.tsv")
    assert read_beir(tmp_path, "dev").judgements == {"q2": {"d2": 1}}
    assert read_beir(tmp_path).judgements == {"q1": {"d1": 2, "d2": 0}}


def test_no_header_trec_columns_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    assert read_beir(put(tmp_path, "q1 0 d1 1\r\nq1 0 d2 0\r\n\r\n")).judgements == {"q1": {"d1": 1, "d2": 0}}
    (tmp_path / "qrels.tsv").write_bytes(b"\xef\xbb\xbfq1\td1\t1\n")
    assert read_beir(tmp_path).judgements == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("q1\td1\n", "line 1: expected query id"),
        ("query-id\tcorpus-id\tscore\nq1\td1\tyes\n", "line 2: expected query id"),
        ("q1\td1\t1.5\n", "line 1: expected query id"),
        ("q1\td1\t1\nq1\td1\t2\n", "line 2: document 'd1' has two grades for query 'q1'"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgements"),
        ("q9\td1\t1\n", "1 judged queries are not in .*'q9'"),
    ],
)
def test_wrong_judgements_name_file_and_line(tmp_path: Path, qrels: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_beir(put(tmp_path, qrels))
    assert "qrels.tsv" in str(caught.value) or "queries.jsonl" in str(caught.value)


def test_missing_files_are_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no corpus.jsonl"):
        read_beir(tmp_path)
    put(tmp_path, where="qrels/train.tsv")
    with pytest.raises(InputError, match="no judgements") as caught:
        read_beir(tmp_path)
    assert "train" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2: not JSON"), ("[1]", "line 2: expected an object"), ('{"_id": 3, "text": "x"}', "_id as a string"),
     ('{"_id": "q1", "text": "again"}', "'q1' is there twice")],
)  # fmt: skip
def test_broken_queries_name_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    put(tmp_path)
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "who?"}\n' + line + "\n")
    with pytest.raises(InputError, match=message):
        read_beir(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data sets are not on this machine")
@pytest.mark.parametrize(
    ("name", "queries", "judgements", "documents"),
    [("scifact", 809, 919, 5183), ("cranfield", 152, 1090, 1400), ("cisi", 56, 2227, 1460),
     ("vaswani_npl", 70, 1577, 11429)],
)  # fmt: skip
def test_real_collections_have_the_counts_of_their_description(
    name: str, queries: int, judgements: int, documents: int
) -> None:
    found = read_beir(SHARED / name)
    assert len(found.queries) == queries
    assert sum(len(grades) for grades in found.judgements.values()) == judgements
    assert sum(1 for _ in found.documents()) == documents
