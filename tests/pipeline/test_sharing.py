"""Pipelines over one engine, and answers scored under their rules."""

from __future__ import annotations

import json

import pytest

from ragdecode.decoding.events import DoneEvent
from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.sharing import SharedPipelines
from tests.pipeline import tiny_app

ASKED = DecodeRequest("q", question="Who built it?", passages=(Passage("p1", "", "It was built by Mr. Aven."),))
RULES = {"plain": [], "cad": [{"cad": {"alpha": 1}}], "acd": ["acd"]}


@pytest.fixture
def shared(make, app):
    first = make()
    group = SharedPipelines(first)
    files = {
        name: tiny_app.write_pipeline(app, name, decode={"max_new_tokens": 8, "governor": "off", "rule": rule})
        for name, rule in RULES.items()
    }
    return group, {name: group.load(file) for name, file in files.items()}, files


def decoded(pipeline, *requests):
    events = [event for event in pipeline.run(*requests) if isinstance(event, DoneEvent)]
    return {event.request: event.result for event in events}


def test_requests_of_all_share_passes_and_answer_as_alone(shared, make):
    group, pipelines, _ = shared
    requests = {}
    for name, pipeline in pipelines.items():
        request = pipeline.prepare(DecodeRequest(name, question=ASKED.question, passages=ASKED.passages)).request
        requests[name] = request
    together = decoded(group.first, *requests.values())
    assert len({id(pipeline._models) for pipeline in pipelines.values()} | {id(group.first._models)}) == 1
    for name, rule in RULES.items():
        alone = make({"rule": rule}).ask(ASKED.question, passages=ASKED.passages)
        assert together[name].tokens == list(alone.token_ids)
    # one pass a step for all of them, not one each
    assert together["plain"].stats.forward_passes <= 1 + max(len(one.tokens) for one in together.values())


def test_answers_are_scored_as_decoding_reports_them(shared):
    group, pipelines, _ = shared
    requests = [pipeline.prepare(ASKED).request for pipeline in pipelines.values()]
    results = [decoded(group.first, request)["q"] for request in requests]
    found = group.composed_log_probs([(one, [done.tokens]) for one, done in zip(requests, results, strict=True)])
    for values, result in zip(found, results, strict=True):
        assert values[0] == pytest.approx([record.logprob for record in result.records], abs=1e-9)
    assert found[0][0] != found[1][0]


def test_other_models_and_engines_are_refused(shared, app):
    group, _, files = shared
    for sets in (["engine.max_batch=3"], ["model.name=other"]):
        with pytest.raises(InputError, match="differ in their models or in `engine`"):
            group.load(files["plain"], sets)
    views = json.dumps({"weak": {"model": {"source": {"path": {"path": str(app / "model" / "..")}}}}})
    with pytest.raises(InputError):
        group.load(files["plain"], [f"decode.views={views}", "decode.rule=[{contrast: {amateur: weak}}]"])
