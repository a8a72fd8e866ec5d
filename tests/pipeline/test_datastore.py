"""Pipelines that draft from the datastore of their index."""

from __future__ import annotations

import json
import shutil

import pytest

from ragdecode.errors import InputError, RunError, SpecError
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.load import load_pipeline
from tests.pipeline.tiny_app import write_pipeline

INDEX = {"corpus": {"path": "../docs"}, "split": {"tokens": 64, "overlap": 8}, "stores": ["bm25", "tokens"]}
QUESTION = "How many arches has the bridge?"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("draft", [["datastore"], ["prompt_lookup", {"datastore": {"shortest": 1}}]])
def test_drafts_from_the_index_change_no_token(make, temperature, draft):
    decode = {"rule": ["cad"], "max_new_tokens": 24, "sampling": {"temperature": temperature}, "draft": draft}
    pipeline = make(decode, search=True, index=INDEX)
    drafted, plain = pipeline.ask(QUESTION), pipeline.undrafted().ask(QUESTION)
    assert drafted.token_ids == plain.token_ids


def test_the_documents_are_drafted_from(make):
    pipeline = make({"draft": [{"datastore": {"shortest": 1}}], "max_new_tokens": 24}, search=True, index=INDEX)
    answer = pipeline.ask(QUESTION)
    assert answer.stats.sources["datastore"]["proposed"] > 0
    source = pipeline._source.resources(["datastore"])["datastore"]
    ids = pipeline.tokenizer.encode("The bridge of Tollin has 12 arches.", special=False)
    found = source.continuations(ids[:6], nodes=3, length=3)
    assert found.tokens == ids[6:9]


def test_an_index_may_be_for_drafts_alone(make):
    pipeline = make({"draft": ["datastore"]}, index=INDEX | {"stores": ["tokens"]})
    answer = pipeline.ask(QUESTION, passages=["The bridge of Tollin has 12 arches."])
    assert answer.token_ids
    assert pipeline._source.empty


def refused(app, **settings) -> str:
    with pytest.raises(SpecError) as error:
        load_pipeline(write_pipeline(app, "wrong", **settings))
    return str(error.value)


def test_an_index_without_the_store_is_refused_with_the_way_out(app):
    told = refused(app, search=True, decode={"draft": ["datastore"]})
    assert "drafts from the store 'tokens'; the index has bm25" in told
    assert "add 'tokens' to index.stores" in told


def test_a_pipeline_without_an_index_is_refused(app):
    assert "drafts from the index, and the pipeline has none" in refused(app, decode={"draft": ["datastore"]})


@pytest.mark.parametrize(
    "retrieve",
    [[{"bm25": {"store": "tokens"}}], [{"hybrid": {"of": ["bm25", "tokens"]}}], [{"dense": {"store": "tokens"}}]],
)
def test_the_store_cannot_be_searched(app, retrieve):
    told = refused(app, search=True, index=INDEX, retrieve=retrieve)
    assert "searches the store 'tokens', which finds no passages: it is for decoding" in told
    assert "search bm25" in told


def test_nothing_can_be_searched_in_an_index_for_drafts(app):
    told = refused(app, search=True, index=INDEX | {"stores": ["tokens"]}, retrieve=["hybrid"])
    assert "searches the index, whose stores (tokens) find no passages" in told


def test_hybrid_takes_the_stores_that_find_passages(make):
    pipeline = make(search=True, index=INDEX, retrieve=["hybrid"])
    assert {name for hit in pipeline.retrieve([QUESTION])[0] for name in hit.scores} == {"bm25", "rrf"}


def test_an_index_of_another_tokenizer_is_refused(app, tiny_model, make):
    other = app / "other"
    shutil.copytree(tiny_model, other)
    file = other / "tokenizer.json"
    table = json.loads(file.read_text())
    table["added_tokens"].append({**table["added_tokens"][0], "id": 900, "content": "<|new|>"})
    file.write_text(json.dumps(table))
    tokenizer = {"name": "other", "source": {"path": {"path": "../other"}}}
    pipeline = make({"draft": ["datastore"]}, search=True, index=INDEX | {"tokenizer": tokenizer})
    message = r"the datastore of the index .* another tokenizer than the model's(.|\n)*leave index.tokenizer out"
    with pytest.raises(InputError, match=message):
        pipeline.ask(QUESTION)
    with pytest.raises(InputError, match=message):  # told once, not for each request
        list(pipeline.decode([DecodeRequest("a", prompts={"with_context": "abc"})] * 2))


def test_a_damaged_datastore_is_refused(make, app):
    pipeline = make({"draft": ["datastore"]}, search=True, index=INDEX)
    pipeline.ask(QUESTION)
    pipeline.close()
    file = next(app.glob(".ragdecode/indexes/*/data-*/stores/tokens/*.suffixes.npy"))
    content = bytearray(file.read_bytes())
    content[-4:] = content[-8:-4]
    file.write_bytes(content)
    again = Pipeline(pipeline.loaded)
    with pytest.raises(RunError, match=r"damaged: store tokens(.|\n)*--force"):
        again.ask(QUESTION)
    again.close()


def test_loading_needs_no_index(app):
    loaded = load_pipeline(write_pipeline(app, "p", search=True, index=INDEX, decode={"draft": ["datastore"]}))
    assert [part.name for part in loaded.spec.decode.draft] == ["datastore"]
    assert not list(app.glob(".ragdecode/indexes/*"))
