from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ragdecode.indexing.models import IndexModels
from tests.cli.index_app import Commands, make_app
from tests.indexing.doubles import TEXTS, opened


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """Commands in an app whose index ``qa`` has been built."""
    make_app(tmp_path / "app", monkeypatch)
    commands = Commands(monkeypatch, capsys)
    assert commands("build", "qa").code == 0
    return commands


def test_one_store_gives_what_the_index_gives(index: Commands) -> None:
    path = index("info", "qa", "--json").json["path"]
    found = index("search", "qa", "pear trees", "--store", "bm25", "--top-k", "2", "--json").json
    direct = opened(Path(path)).search("bm25", ["pear trees"], 2)[0]
    assert [hit["id"] for hit in found["hits"]] == [hit.passage.id for hit in direct]
    assert [hit["scores"] for hit in found["hits"]] == [{"bm25": hit.score} for hit in direct]
    assert (found["query"], found["index"], found["stores"]) == ("pear trees", path, ["bm25"])
    assert found["seconds"] >= 0
    assert "fused_by" not in found
    for rank, hit in enumerate(found["hits"], start=1):
        text = TEXTS[hit["source"]]
        assert hit["text"] == text[hit["start"] : hit["end"]]
        assert (hit["rank"], hit["page"], hit["record"], hit["attributes"]) == (rank, None, "", {})
    assert [hit["heading"] for hit in found["hits"]] == ["Pears", "Apples"]


def test_several_stores_are_fused_by_reciprocal_rank(index: Commands) -> None:
    """Against ranks counted by hand."""
    question = "green pear tree in autumn"
    rankings = {
        store: [hit["id"] for hit in index("search", "qa", question, "--store", store, "--json").json["hits"]]
        for store in ("bm25", "faiss")
    }
    expected: dict[str, float] = {}
    for ranking in rankings.values():
        for rank, name in enumerate(ranking, start=1):
            expected[name] = expected.get(name, 0.0) + 1 / (60 + rank)
    found = index("search", "qa", question, "--json").json
    assert found["fused_by"] == "rrf, k = 60"
    assert found["stores"] == ["bm25", "faiss"]
    assert {hit["id"]: hit["score"] for hit in found["hits"]} == pytest.approx(expected)
    assert [hit["score"] for hit in found["hits"]] == sorted(expected.values(), reverse=True)
    assert set(found["hits"][0]["scores"]) == {"bm25", "faiss", "rrf"}
    assert "bm25, faiss, fused by reciprocal rank (k = 60)" in index("search", "qa", question).out


def test_people_see_places_and_short_texts(index: Commands) -> None:
    long = "# Long\n\n" + " ".join(f"kiwi{n}" for n in range(100))
    Path("docs/long.md").write_text(long)
    index("build", "qa")
    lines = index("search", "qa", "kiwi7", "--store", "bm25").out.splitlines()
    assert lines[1].startswith(f"[1] long.md · Long · characters 0-{len(long)}  (bm25 ")
    assert lines[2].startswith("    # Long kiwi0 kiwi1")
    assert lines[2].endswith("…")
    assert len(lines[2]) <= 304
    assert len(lines) == 3
    full = index("search", "qa", "kiwi7", "--store", "bm25", "--full").out
    assert "kiwi99" in full
    assert index("search", "qa", "xyzzy", "--store", "bm25").out.splitlines()[1:] == ["no hits"]


def test_no_document_steers_the_terminal(index: Commands) -> None:
    Path("docs/evil.md").write_text("# He\x1b]0;title\x07ad\n\nplain \x1b]0;evil\x07 \x9b2J text\n")
    Path("docs/ev\nil.txt").write_text("a plain name it is not")
    index("build", "qa")
    for more in ((), ("--full",)):
        out = index("search", "qa", "plain evil text", "--store", "bm25", *more).out
        assert "plain ]0;evil" in out
        assert not set("\x1b\x07\x9b") & set(out)
        assert "'ev\\nil.txt'" in out
    hits = index("search", "qa", "plain evil text", "--store", "bm25", "--json").json["hits"]
    assert "\x1b]0;evil" in hits[0]["text"]


def test_questions_of_a_file_are_searched_together(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [f"blue sea {number}" for number in range(70)]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n".join(questions) + "\n"))
    rows = [json.loads(line) for line in index("search", "qa", "-", "--json").out.splitlines()]
    assert [row["query"] for row in rows] == questions
    assert len({row["seconds"] for row in rows}) == 2  # 64 at once, then the rest
    alone = index("search", "qa", questions[3], "--json").json
    assert [hit["id"] for hit in rows[3]["hits"]] == [hit["id"] for hit in alone["hits"]]
    monkeypatch.setattr(sys, "stdin", io.StringIO("blue\ngreen\n"))
    lines = index("search", "qa", "-", "--store", "bm25").out.splitlines()
    assert [line for line in lines if line.startswith("query")] == ["query: blue", "query: green"]


def test_a_word_search_loads_neither_torch_nor_tokenizer(tmp_path: Path, index: Commands) -> None:
    index("build", "notes")
    code = (
        "import sys; from ragdecode.cli.main import main\n"
        "sys.argv = ['ragdecode', 'index', 'search', 'notes', 'blue sea']\n"
        "main()\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'faiss'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sea.html" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_any_way_to_name_an_index(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexModels, "tokenizer_fingerprint", property(lambda self: pytest.fail("not needed")))
    path = index("info", "qa", "--json").json["path"]
    hits = [index("search", name, "blue sea", "--json").json["hits"] for name in ("qa", "pipelines/qa.yaml", path)]
    assert hits[0] == hits[1] == hits[2]


def test_a_bad_question_of_a_file_is_named_by_its_line(index: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("blue\n\na\udcff\n"))
    done = index("search", "qa", "-")
    assert (done.code, done.out) == (2, "")
    assert "line 3 of standard input is not valid UTF-8" in done.err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["notes", "x"], "build it with 'ragdecode index build notes'"),
        (
            ["qa", "x", "--set", "index.split.tokens=99"],
            "build it with 'ragdecode index build qa --set index.split.tok",
        ),
        (["qa", "x", "--store", "milvus"], "has no store 'milvus'; it has bm25, faiss"),
        (["qa", "  "], "the question is empty"),
        (["qa", "a\udcff"], "the question is not valid UTF-8"),
        (["model", "x"], "there is no index in 'model'"),
        (["nowhere", "x"], "nowhere"),
        (["notes", "x", "--chain"], "--chain needs a pipeline; notes is an index"),
        (["model", "x", "--chain"], "--chain needs a pipeline, not the folder"),
        (["qa", "x", "--chain", "--store", "bm25"], "--store has no place with --chain"),
        (["qa", "x", "--chain", "--set", "retrieve=[hybrid, rerank]"], "need the language model: rerank"),
        (["qa", "x", "--top-k", "0"], "top-k"),
    ],
)
def test_mistakes_end_with_2(index: Commands, arguments: list[str], shown: str) -> None:
    done = index("search", *arguments)
    assert (done.code, done.out) == (2, "")
    assert shown in done.err


def test_an_index_of_another_spec_is_refused(index: Commands) -> None:
    file = Path("pipelines/qa.yaml")
    file.write_text(file.read_text().replace("corpus:", "split: {tokens: 64, overlap: 8}\n  corpus:", 1))
    done = index("search", "qa", "blue")
    assert done.code == 2
    assert "was built from another spec: index.split.tokens was 200, now 64" in done.err


def test_the_chain_of_a_pipeline_runs_without_its_model(index: Commands) -> None:
    settings = "retrieve=[{hybrid: {top_k: 4}}, {filter: {where: {source: 's*'}}}]"
    done = index("search", "qa", "blue sea", "--chain", "--set", settings, "--json").json
    assert [stage["name"] for stage in done["stages"]] == ["hybrid", "filter"]
    assert all(stage["seconds"] >= 0 for stage in done["stages"])
    assert {hit["source"] for hit in done["hits"]} == {"sky.txt", "sea.html"}
    out = index("search", "qa", "blue sea", "--chain", "--top-k", "1").out
    assert out.startswith("hybrid (")
    assert "[1] sea.html" in out
    assert "[2]" not in out
