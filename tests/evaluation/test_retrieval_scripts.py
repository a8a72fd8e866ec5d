"""What the retrieval scripts compute beside searching and answering."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_a_comparison_is_paired_and_counts_ties(script) -> None:
    found = script("fusion_weights").compare({"a": 1.0, "b": 0.5, "c": 0.2}, {"a": 0.4, "b": 0.5, "c": 0.3})
    assert (found["won"], found["lost"], found["alike"], found["n"]) == (1, 1, 1, 3)
    assert found["mean"] == pytest.approx(0.5 / 3)


def test_a_weight_is_chosen_without_a_look_at_its_own_collection(script) -> None:
    weights = {
        "one": {"0": {"q": 0.9, "r": 0.9}, "1": {"q": 0.1, "r": 0.1}},
        "two": {"0": {"q": 0.2}, "1": {"q": 0.3}},
        "three": {"0": {"q": 0.3}, "1": {"q": 0.35}},
    }
    # by hand, the sums over the others: 0.5 to 0.65; 1.2 to 0.45; 1.1 to 0.4
    assert script("fusion_weights").chosen_elsewhere(weights) == {"one": "1", "two": "0", "three": "0"}
    assert script("fusion_weights").chosen_elsewhere({"one": weights["one"]}) == {}


def pooled_sets(root: Path) -> Path:
    shared = {"title": " T ", "text": "the same text", "is_gold": True}
    rows = {
        "first": [{"contexts": [shared, {"title": "U", "text": "another", "is_gold": False}, shared]}],
        "second": [{"contexts": [{**shared, "is_gold": None}, {"title": "", "text": "bare", "is_gold": True}]}],
    }
    for name, items in rows.items():
        (root / name).mkdir()
        lines = [json.dumps({"id": "7", "question": f"{name}?", "golden_answers": ["x"], **item}) for item in items]
        (root / name / "data.jsonl").write_text("\n".join(lines) + "\n")
    return root


def test_a_pool_has_equal_passages_once_and_keeps_its_file(tmp_path: Path, script) -> None:
    make_pool = script("evidence_pool").make_pool
    questions = make_pool(pooled_sets(tmp_path), ["first", "second"], tmp_path / "pool")
    corpus = tmp_path / "pool" / "corpus.jsonl"
    rows = {row["_id"]: row["text"] for row in map(json.loads, corpus.read_text().splitlines())}
    assert list(rows.values()) == ["T\nthe same text", "U\nanother", "bare"]
    assert [item.id for item in questions] == ["first/7", "second/7"]
    assert [[rows[name] for name in item.gold] for item in questions] == [["T\nthe same text"], ["bare"]]
    before = corpus.stat().st_mtime_ns
    assert make_pool(tmp_path, ["first", "second"], tmp_path / "pool") == questions
    assert corpus.stat().st_mtime_ns == before


def test_a_smaller_sample_is_the_beginning_of_a_larger_one(script) -> None:
    pool, sweep = script("evidence_pool"), script("evidence_sweep")
    questions = [
        pool.PooledQuestion(f"{name}/{number}", name, "?", ("x",), ("p",))
        for name in sweep.SETS
        for number in range(40)
    ]
    large, small = sweep.sample(questions, 10, 0), sweep.sample(questions, 4, 0)
    assert large[: len(small)] == small
    assert [item.set for item in small] == list(sweep.SETS) * 4
    assert len({item.id for item in large}) == 30
    assert sweep.sample(questions, 4, 1) != small


def test_recall_is_the_share_of_gold_passages_among_the_first_k(script) -> None:
    pool, sweep = script("evidence_pool"), script("evidence_sweep")
    question = pool.PooledQuestion("s/1", "s", "?", ("x",), ("p1", "p9"))
    found = {"bm25": {"s/1": ["p3", "p1", *(f"p{number}" for number in range(20, 30)), "p9"]}}
    by_k = {row["k"]: row["recall"] for row in sweep.recalls([question], found)}
    assert by_k == {1: 0.0, 2: 0.5, 3: 0.5, 5: 0.5, 10: 0.5, 20: 1.0}


def test_lines_of_a_broken_off_run_are_over_the_same_questions(script) -> None:
    rows = [
        {"question": question, "retriever": retriever, "k": k}
        for question, retriever, k in [
            ("a", "hybrid", 1), ("a", "hybrid", 2), ("b", "hybrid", 1), ("b", "hybrid", 2), ("c", "hybrid", 1),
            ("a", "bm25", 1), ("a", "closed book", 0), ("b", "gold only", 2), ("c", "closed book", 0),
        ]
    ]  # fmt: skip
    kept = script("evidence_rows").complete(rows)
    assert {(row["question"], row["retriever"]) for row in kept} == {
        ("a", "hybrid"), ("b", "hybrid"), ("a", "bm25"), ("a", "closed book"), ("b", "gold only"),
    }  # fmt: skip


def test_benchmark_prompts_come_with_and_without_their_evidence(script) -> None:
    evidence = script("make_prompts").evidence
    text = "A passage.\nAnother one: here.\nWhat is here?"
    assert evidence("rag", text) == (text, "What is here?")
    assert evidence("summarization", "Summarize: It was said: no.") == ("Summarize: It was said: no.", "Summarize:")
