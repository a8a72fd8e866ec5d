"""kNN-LM in pipelines: its memory, its passages, what it tells, and what is refused with file and line."""

from __future__ import annotations

import pytest

from ragdecode.errors import InputError, SpecError
from ragdecode.pipeline.trace import render, trace_data
from tests.pipeline.tiny_app import write_pipeline

MEMORY = {"memory": {"window": 24, "stride": 16, "context": 4}}
INDEX = {"corpus": {"path": "../docs"}, "split": {"tokens": 64, "overlap": 8}, "stores": ["bm25", MEMORY]}
QUESTION = "How many arches has the bridge?"
PASSAGES = ["The bridge of Tollin has 12 arches.", "The cheese of Morvan is blue."]
OVER = {"store": "memory", "weight": 0.9, "k": 8}


def test_a_memory_votes_and_says_which_documents_it_is(make):
    asked = {"rule": {"knn_lm": OVER}}
    answer = make(asked, search=True, index=INDEX).ask(QUESTION, explain=2)
    plain = make(None, search=True, index=INDEX).ask(QUESTION)
    assert answer.token_ids != plain.token_ids
    told = answer.to_json()["tokens"]
    assert [one["token"] for one in told] == list(answer.token_ids)
    neighbours = [place for one in told for place in one["rules"]["knn_lm"]["neighbours"]]
    assert {place["source"] for place in neighbours} <= {"bridge.md", "tower.md", "cheese.md"}
    assert all(place["mass"] > 0 and isinstance(place["before"], str) for place in neighbours)
    assert all(one["rules"]["knn_lm"]["lambda"] == 0.9 for one in told)
    drafted = make({**asked, "draft": ["prompt_lookup"]}, search=True, index=INDEX).ask(QUESTION)
    assert drafted.token_ids == answer.token_ids
    assert "tokens" not in drafted.to_json()
    assert answer.to_json()["stats"]["rules"]["knn_lm"]["searched"] >= len(answer.token_ids)
    page = trace_data(answer)
    assert [one["rules"] for one in page["tokens"]] == [one["rules"] for one in told]
    assert neighbours[0]["before"].strip().split()[0] in render({**page, "passages": [], "prompts": {}})


@pytest.mark.parametrize("read", ["prompt", "text"])
def test_passages_vote_by_name(make, read):
    pipeline = make({"rule": {"knn_lm": {"read": read, "weight": 0.9}}})
    answer, plain = pipeline.ask(QUESTION, passages=PASSAGES, explain=3), make().ask(QUESTION, passages=PASSAGES)
    assert answer.token_ids != plain.token_ids
    neighbours = [one for token in answer.to_json()["tokens"] for one in token["rules"]["knn_lm"]["neighbours"]]
    assert neighbours
    assert {(one["id"], one["rank"]) for one in neighbours} <= {("p1", 1), ("p2", 2)}
    empty = pipeline.ask(QUESTION, passages=[])
    assert empty.token_ids == make().ask(QUESTION, passages=[]).token_ids
    assert any("nothing voted" in note for note in empty.notes)


def test_a_passage_is_read_once_by_itself(make):
    pipeline = make({"rule": {"knn_lm": {"read": "text"}}})
    pipeline.ask(QUESTION, passages=PASSAGES)
    model = pipeline._source._passages._model
    read, vectors = [], model.vectors
    model.vectors = lambda texts, first, key: (read.extend(texts), vectors(texts, first, key))[1]
    pipeline.ask("Another question?", passages=PASSAGES[::-1])
    assert read == []
    pipeline.ask(QUESTION, passages=[*PASSAGES, "The tower of Tollin is narrow."])
    assert len(read) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**OVER, "k": 60_000}, "k is 60000; the memory has"),
        ({**OVER, "key": "final"}, "compares 'final'; the keys of the memory are 'ffn_input'"),
        ({**OVER, "tuning": {"temperature": 1.0, "weight": 0.2, "model": "feed"}}, "for another model: feed"),
    ],
)
def test_a_memory_that_does_not_fit_is_refused_with_its_line(make, settings, message):
    with pytest.raises(SpecError, match=message) as refused:
        make({"rule": {"knn_lm": settings}}, search=True, index=INDEX).ask(QUESTION)
    assert "p0.yaml:1" in str(refused.value)


def test_an_index_without_a_memory_is_refused_before_any_model_is_opened(make):
    bare = INDEX | {"stores": ["bm25"]}
    with pytest.raises(SpecError, match="asks the store 'memory'; the index has bm25"):
        make({"rule": {"knn_lm": OVER}}, search=True, index=bare)
    with pytest.raises(SpecError, match="asks the index, and the pipeline has none"):
        make({"rule": {"knn_lm": OVER}})


@pytest.mark.parametrize("weight", [1.0, -0.1])
def test_a_weight_outside_its_range_is_refused(make, weight):
    with pytest.raises(InputError, match="weight"):
        make({"rule": {"knn_lm": {"weight": weight}}})


def test_a_memory_of_another_model_and_a_truncated_one_are_refused(app, make):
    from ragdecode.errors import RunError
    from ragdecode.indexing.index import open_index
    from ragdecode.indexing.location import index_path
    from ragdecode.spec.load import load_pipeline

    pipeline = make({"rule": {"knn_lm": OVER}}, search=True, index=INDEX)
    pipeline.ask(QUESTION)
    folder = index_path(load_pipeline(write_pipeline(app, "p0", search=True, index=INDEX)))
    tokenizer, index = pipeline.model.tokenizer.fingerprint, open_index(folder)
    with pytest.raises(InputError, match="made by another model"):
        index.memory("feed", tokenizer, "float64")
    [keys] = folder.glob("data-*/stores/memory/keys.npy")
    keys.write_bytes(keys.read_bytes()[:-7])
    with pytest.raises(RunError, match="damaged"):
        open_index(folder)
