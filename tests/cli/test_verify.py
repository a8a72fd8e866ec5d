"""``ragdecode verify``: exit codes, ties, broken drafting that is really found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from tests.cli.test_ask import app, run, tiny_model  # noqa: F401
from tests.pipeline import tiny_app

LINES = [
    {"id": "a", "question": "How many arches?", "passages": [{"text": "The bridge of Tollin has 12 arches."}]},
    {"id": "b", "question": "How wide?", "passages": [{"text": "The tower of Tollin is 3.5 metres wide."}]},
    {"id": "c", "question": "How old?", "passages": [{"text": "The cheese of Tollin is blue and old, old, old."}]},
]

#: a governor might draft nothing here, as passes happen to take long
DECODE = {"draft": "prompt_lookup", "governor": "off", "max_new_tokens": 16}


@pytest.fixture
def verify(app, run, tmp_path):  # noqa: F811
    file = tmp_path / "lines.jsonl"
    file.write_text("\n".join(map(json.dumps, LINES)))

    def call(*arguments, **decode):
        tiny_app.write_pipeline(app, "p", decode=DECODE | decode)
        return run("verify", "p", "--prompts", file, *arguments)

    return call


@pytest.fixture
def broken(monkeypatch):
    """Scores the second best token above the best, by so much in passes over trees and in passes over one token."""
    forward = LlamaBackend.forward

    def wrong(trees, single=None):
        def damaged(self, segments, **more):
            output = forward(self, segments, **more)
            logits, start = output.logits.clone(), 0
            for segment in segments:
                stop = start + len(segment.outputs)
                above = trees if stop - start > 1 else single
                if above is not None:
                    best = logits[start:stop].topk(2, dim=-1)
                    logits[start:stop].scatter_(-1, best.indices[:, 1:], best.values[:, :1] + above)
                start = stop
            return replace(output, logits=logits)

        monkeypatch.setattr(LlamaBackend, "forward", damaged)

    return wrong


@pytest.mark.parametrize(
    "decode",
    [
        {},
        {"rule": {"cad": {"alpha": 0.5}}},
        {"sampling": {"temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 5}},
        {"rule": {"cad": {"alpha": 0.5}}, "sampling": {"temperature": 1.0}},
    ],
    ids=["greedy", "cad", "sampled", "cad sampled"],
)
def test_drafts_that_change_nothing_end_with_zero(verify, decode):
    code, out, _ = verify("--batch", "2", "--json", **decode)
    found = json.loads(out)
    assert code == 0
    assert (found["same"], found["ties"], found["different"]) == (6, 0, 0)  # alone, and in batches of 2 and 1
    assert [(row["id"], row["together"]) for row in found["answers"]] == [
        ("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1), ("c", 1),
    ]  # fmt: skip
    assert found["proposed"] > 0
    assert found["logprob_drift"] < 1e-9
    assert found["notes"] == []


def test_a_broken_pass_is_found_and_ends_with_one(verify, broken):
    broken(1.0)
    code, out, err = verify("--limit", "2", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["different"] == 2
    assert "2 of 2 answers differ with drafts" in err
    row = found["answers"][0]
    assert row["verdict"] == "different"
    place = row["divergence"]
    assert place["gap"] > 2e-4
    assert place["drafted"]["id"] != place["undrafted"]["id"]
    assert isinstance(place["drafted"]["text"], str)
    code, out, _ = verify("--limit", "1")
    assert code == 1
    assert out.startswith(f"different: a: token {place['position']} is ")


def test_a_broken_pass_is_found_when_sampling(verify, broken):
    broken(20.0)
    code, out, _ = verify("--json", sampling={"temperature": 0.8, "seed": 1})
    found = json.loads(out)
    assert code == 1
    assert all(row["divergence"]["gap"] > 2e-4 for row in found["answers"] if row["verdict"] == "different")


def test_a_tie_is_told_and_is_no_failure(verify, broken):
    broken(+1e-5, -1e-5)
    code, out, _ = verify("--json")
    found = json.loads(out)
    assert code == 0
    assert found["ties"] >= 1
    assert found["different"] == 0
    gaps = [row["divergence"]["gap"] for row in found["answers"] if row["verdict"] == "tie"]
    assert gaps == pytest.approx([1e-5] * len(gaps), rel=1e-3)
    code, out, _ = verify()
    assert code == 0
    assert "tie: " in out


def test_a_drafter_cannot_break_anything_but_a_lying_verification_can(verify, monkeypatch):
    from ragdecode.decoding import commit
    from ragdecode.decoding.speculation import verify as verification

    def credulous(tree, predictions, *more, **settings):
        """Accepts whatever was drafted."""
        path, committed = verification.walk(tree, predictions, *more, **settings)
        while children := tree.children[path[-1]]:
            token, node = next(iter(children.items()))
            committed[-1] = token
            path.append(node)
            committed.append(predictions[node])
        return path, committed

    monkeypatch.setattr(commit, "walk", credulous)
    code, out, _ = verify("--json")
    assert code == 1
    assert json.loads(out)["different"] >= 1


def test_the_gap_is_that_of_the_undrafted_scores(verify, broken, app):  # noqa: F811
    from ragdecode.pipeline.pipeline import Pipeline
    from ragdecode.pipeline.request_lines import read_requests

    broken(1.0)
    _, out, _ = verify("--limit", "1", "--json")
    place = json.loads(out)["answers"][0]["divergence"]
    with Pipeline.load("p") as pipeline:
        (request, *_) = read_requests(app.parent / "lines.jsonl")
        ids = list(pipeline.prepare(request).request.views["with_context"].prompt)
        answer = []
        for _ in range(place["position"]):
            answer.append(int(stock(pipeline, [*ids, *answer]).argmax()))
        logits = stock(pipeline, [*ids, *answer])
    assert int(logits.argmax()) == place["undrafted"]["id"]
    assert place["gap"] == pytest.approx(float(logits.max() - logits[place["drafted"]["id"]]), rel=1e-6)


def stock(pipeline, ids):
    with torch.inference_mode():
        return pipeline.model.hf_model()(torch.tensor([ids])).logits[0, -1]


def test_without_drafters_it_says_so(verify):
    code, out, _ = verify("--limit", "1", draft=[])
    assert code == 0
    assert "note: the pipeline has no drafters" in out
    code, out, _ = verify("--limit", "1", "--json", max_draft_nodes=1)
    assert code == 0
    assert json.loads(out)["notes"][0] == "max_draft_nodes: 1 leaves no room for drafts: both runs are the same"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "9"], "engine.max_batch"),
        (["--batch", "0"], "--batch"),
        (["--prompts", "none.jsonl"], "cannot read the requests none.jsonl"),
    ],
)
def test_wrong_input_ends_with_two(verify, arguments, message):
    code, out, err = verify(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_rejection_is_refused_when_sampling_only(verify):
    decode = {"draft": {"view": {"name": "without_context"}}, "verification": "rejection", "max_new_tokens": 6}
    code, out, err = verify(**decode, sampling={"temperature": 1.0})
    assert (code, out) == (2, "")
    assert "keeps the distribution of answers when sampling, not the answers themselves" in err
    assert "decode.verification=noise" in err
    assert verify("--limit", "1", **decode)[0] == 0


def test_an_interrupt_ends_with_130(verify, monkeypatch):
    from ragdecode.pipeline.pipeline import Pipeline

    def interrupted(self, *requests):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupted)
    code, out, err = verify()
    assert (code, out) == (130, "")
    assert "Traceback" not in err
