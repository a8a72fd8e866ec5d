from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from ragdecode.errors import RunError
from ragdecode.indexing.index import Index
from ragdecode.spec.model import ModelSpec
from tests.retrieval.chains import chain, small_index, stages

CROSS = {"kind": "cross_encoder", "source": {"path": {"path": "/models/cross"}}}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return small_index(tmp_path_factory.mktemp("index"))


class Likelihood:
    """Likes what it is told to like; remembers what it was asked."""

    def __init__(self, likes: str = "") -> None:
        self.likes = likes
        self.calls: list[list[tuple[str, str]]] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        self.calls.append(list(pairs))
        return [-1.0 if self.likes in prefix else -5.0 for prefix, _ in pairs]


def test_passages_are_ordered_by_the_likelihood_of_the_question(index: Index) -> None:
    likelihood = Likelihood("salty")
    found = chain(index, "hybrid", {"rerank": {"top_k": 2}}, likelihood=likelihood).retrieve(["green", "blue"])
    assert [hits[0].passage.source for hits in found] == ["sea.html", "sea.html"]
    assert [len(hits) for hits in found] == [2, 2]
    assert found[0][0].score == found[0][0].scores["query_likelihood"] == -1.0
    assert set(found[0][0].scores) >= {"rrf", "query_likelihood"}


def test_all_pairs_of_all_questions_are_scored_in_one_call(index: Index) -> None:
    likelihood = Likelihood()
    chain(index, "dense", "rerank", likelihood=likelihood).retrieve(["What is green? ", "What is blue?"])
    (pairs,) = likelihood.calls
    assert [continuation for _, continuation in pairs] == [" What is green?"] * 4 + [" What is blue?"] * 4
    assert {prefix.split("\n")[0] for prefix, _ in pairs} == {
        "Passage: " + passage.text.split("\n")[0] for passage in index.passages
    }
    assert all(prefix.endswith("\nQuestion:") for prefix, _ in pairs)


def test_the_template_is_the_users_to_choose(index: Index) -> None:
    likelihood = Likelihood()
    template = "{{ source }}|{{ heading }}|{{ text | length }}"
    chain(index, "dense", {"rerank": {"template": template}}, likelihood=likelihood).retrieve(["pear"])
    expected = {f"{p.source}|{p.heading}|{len(p.text)}" for p in index.passages}
    assert {prefix for prefix, _ in likelihood.calls[0]} == expected


def test_equal_scores_are_ordered_by_id(index: Index) -> None:
    (hits,) = chain(index, "dense", {"rerank": {"top_k": 4}}, likelihood=Likelihood()).retrieve(["pear"])
    ids = [hit.passage.id for hit in hits]
    assert ids == sorted(ids)


def test_a_cross_encoder_scores_question_and_passage(index: Index) -> None:
    seen: list[ModelSpec] = []

    def cross_encoders(model: ModelSpec):
        seen.append(model)
        return lambda pairs: [float(text.count("o")) + len(question) for question, text in pairs]

    run = chain(index, "dense", {"rerank": {"by": CROSS, "top_k": 4}}, cross_encoders=cross_encoders)
    (hits,) = run.retrieve(["pear"])
    assert not run.needs_model
    assert [hit.score for hit in hits] == sorted((p.text.count("o") + 4.0 for p in index.passages), reverse=True)
    assert "cross_encoder" in hits[0].scores
    assert seen[0].kind == "cross_encoder"


def test_nothing_found_asks_nothing(index: Index) -> None:
    likelihood = Likelihood()
    assert chain(index, "bm25", "rerank", likelihood=likelihood).retrieve(["zebra"]) == [[]]
    assert likelihood.calls == []


@pytest.mark.parametrize("scores", [[1.0], [float("nan")] * 4])
def test_wrong_scores_end_the_run(index: Index, scores: list[float]) -> None:
    with pytest.raises(RunError, match="expected 4 scores"):
        chain(index, "dense", "rerank", likelihood=lambda pairs: scores).retrieve(["pear"])


def test_a_missing_model_is_told(index: Index) -> None:
    with pytest.raises(RunError, match="needs the pipeline's language model"):
        chain(index, "dense", "rerank").retrieve(["pear"])
    with pytest.raises(RunError, match="needs models"):
        chain(index, "dense", {"rerank": {"by": CROSS}}).retrieve(["pear"])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"by": {**CROSS, "kind": "encoder"}}, "cross_encoder, not encoder"),
        ({"by": CROSS, "template": "x"}, "no place with a cross-encoder"),
        ({"template": "{{ txt }}"}, "'txt' is undefined"),
        ({"template": "{% if"}, "template"),
        ({"template": "{{ 1 / 0 }}"}, "template: division by zero"),
        ({"template": "{{ text + 1 }}"}, "template"),
        ({"template": "{{ text.__class__.__mro__ }}"}, "template"),
    ],
)
def test_settings_are_checked_at_load(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"rerank": settings})
