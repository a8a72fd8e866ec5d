"""The scripts of retrieval quality, end to end on small sets: real weights, other programs beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.real

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

FACTS = {
    "Tower": "The Eiffel Tower in Paris was finished in 1889.",
    "Bridge": "The Golden Gate Bridge in San Francisco was opened in 1937.",
    "Curie": "Marie Curie found radium and polonium.",
    "Darwin": "Charles Darwin sailed on the Beagle and wrote of the origin of species.",
    "Whale": "The blue whale is the largest animal that has ever lived.",
    "Moon": "Neil Armstrong was the first to walk on the moon.",
}
QUESTIONS = {
    "Tower": ("When was the tower in Paris finished?", "1889"),
    "Curie": ("Who found radium?", "Marie Curie"),
    "Whale": ("Which animal is the largest?", "blue whale"),
}


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_figures_equal_those_of_the_other_programs(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    lines(folder / "corpus.jsonl", [{"_id": name, "title": name, "text": text} for name, text in FACTS.items()])
    lines(folder / "queries.jsonl", [{"_id": name, "text": text} for name, (text, _) in QUESTIONS.items()])
    (folder / "qrels.tsv").write_text("".join(f"{name}\t{name}\t1\n" for name in QUESTIONS))
    work = tmp_path / "work"
    done = run("retrieval_quality.py", "--data", tmp_path, "--work", work, "--sets", "small", "--reranked", 2)
    assert done.returncode == 0, done.stderr
    found = json.loads((work / "retrieval_quality.json").read_text())["small"]
    assert (found["documents"], found["queries"]) == (6, 3)
    assert {row["program"] for row in found["agreement"]} == {"bm25s", "rank_bm25", "sentence-transformers"}
    assert all(abs(row["difference"]) < 1e-6 for row in found["agreement"])
    assert found["figures"]["hybrid (rrf)"]["ndcg@10"]["mean"] == 1.0
    assert found["weights"]["0"].keys() == found["weights"]["1"].keys() == QUESTIONS.keys()
    assert found["reranked"]["queries"] == 2
    assert "| `small` | dense | sentence-transformers | ndcg@10 |" in done.stdout


def test_a_sweep_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    for place, name in enumerate(("hotpotqa", "nq_gold", "squad_xquad_en")):
        gold, (question, answer) = list(QUESTIONS.items())[place]
        contexts = [{"title": title, "text": text, "is_gold": title == gold} for title, text in FACTS.items()]
        row = {"id": "1", "question": question, "golden_answers": [answer], "contexts": contexts, "metadata": {}}
        lines(tmp_path / name / "data.jsonl", [row])
    work = tmp_path / "work"
    arguments = ("--data", tmp_path, "--work", work, "--questions", 1, "--counts", "1,3")
    done = run("evidence_sweep.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert len((work / "pool" / "corpus.jsonl").read_text().splitlines()) == len(FACTS), "equal passages once"
    whole = (work / "answers.jsonl").read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert len(rows) == 3 * (2 + 3 * 2)
    assert all(len(row["records"]) <= row["k"] for row in rows), "BM25 finds only passages that share a word"
    assert any(len(row["records"]) == 3 for row in rows)
    assert all(row["gold_found"] == 1 for row in rows if row["retriever"] == "gold only")
    torn = whole[: whole.index("\n", len(whole) // 2) + 20]  # in the middle of a line
    (work / "answers.jsonl").write_text(torn)
    assert run("evidence_sweep.py", *arguments).returncode == 0
    assert (work / "answers.jsonl").read_text() == whole
    report = run("evidence_report.py", work)
    assert report.returncode == 0, report.stderr
    assert "| all (n=3) | bm25 |" in report.stdout
    for name in ("recall", "answers", "slices"):
        assert (work / f"evidence-{name}.png").stat().st_size > 5000
