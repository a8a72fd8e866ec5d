"""Early exits from YAML to the answer: no row of their own, request lines, and what is refused with its line."""

from __future__ import annotations

import json

import pytest

from ragdecode.errors import InputError, SpecError
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.explanation import explanation
from tests.pipeline import tiny_app

EVIDENCE = ["The bridge has 12 arches.", "It was built in 1889."]
EARLY = {"early": {"intervention": {"exit": 0}}}
CONTRAST = {"rule": {"contrast": {"amateur": "early"}}, "views": EARLY}
LINES = {"engine": {"device": "cpu", "dtype": "float64", "linear": "plain", "backend": "transformers"}}


@pytest.mark.parametrize("decode", [CONTRAST, {"rule": "dola"}, {"rule": {"dynamic_focus": {"layers": [0]}}}], ids=str)
def test_early_layers_cost_no_row_and_no_pass(make, decode):
    pipeline = make(decode)
    facts = explanation(pipeline.loaded)
    inside = [view["inside"] for view in facts["views"]]
    assert inside == ([None, "exit after block 0"] if decode is CONTRAST else [None])
    step = facts["step"]
    assert (step["rows"], step["passes"]) == (1, 1)
    answer = pipeline.ask("How many arches?", passages=EVIDENCE)
    assert answer.stats.forward_rows == answer.stats.forward_passes
    assert answer.token_ids


def test_the_answer_is_that_of_the_other_backend_and_of_drafts(make):
    own = make(CONTRAST).ask("How many arches?", passages=EVIDENCE).token_ids
    general = make(CONTRAST, **LINES).ask("How many arches?", passages=EVIDENCE).token_ids
    drafted = make({**CONTRAST, "draft": {"view": {"name": "early", "gain": 0.0}}})
    answer = drafted.ask("How many arches?", passages=EVIDENCE)
    assert own == general == answer.token_ids
    assert answer.stats.drafted > 0
    assert own != make().ask("How many arches?", passages=EVIDENCE).token_ids


def test_an_exit_follows_the_exact_prompts_of_request_lines(make):
    pipeline = make(CONTRAST)
    assert pipeline.needs == ()
    (line,) = pipeline.decode([DecodeRequest(id="a", prompts={"with_context": "The bridge"})])
    prepared = pipeline.prepare(DecodeRequest(id="a", prompts={"with_context": "The bridge"}))
    views = prepared.request.views
    assert list(views["early"].prompt) == list(views["with_context"].prompt)
    assert line.result.tokens


def test_without_passages_an_exit_still_acts(make):
    answer = make(CONTRAST).ask("Why?", passages=[])
    assert answer.token_ids != make().ask("Why?", passages=[]).token_ids


@pytest.mark.parametrize(
    ("decode", "place"),
    [
        ({"rule": {"contrast": {"amateur": "early"}}, "views": {"early": {"intervention": {"exit": 7}}}},
         r"decode.views.early.intervention.*exits after block 7; the model has blocks 0 to 1"),
        ({"rule": {"dola": {"layers": [0, 1]}}}, r"decode.rule.dola.*reads block 1; .* early blocks are 0 to 0"),
        ({"rule": {"dynamic_focus": {"layers": [3]}}}, r"decode.rule.dynamic_focus.*reads block 3"),
    ],
)  # fmt: skip
def test_a_block_that_does_not_exist_is_refused_with_its_line(make, app, decode, place):
    pipeline = make(decode)
    file = app / "pipelines" / "p0.yaml"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps(spec, indent=1))
    line = 1 + next(i for i, text in enumerate(file.read_text().splitlines()) if place[2:].split(".")[-1][:5] in text
                    or any(f'"{name}"' in text for name in ("intervention", "dola", "dynamic_focus")))  # fmt: skip
    pipeline = Pipeline.load(file)
    with pytest.raises(SpecError, match=rf"p0.yaml:{line}: {place}"):
        pipeline.ask("Why?", passages=EVIDENCE)
    pipeline.close()


def test_drafting_from_an_exit_over_the_transformers_backend_is_refused_before_loading(make):
    with pytest.raises(SpecError, match=r"decode.draft.view: skips layers of the model"):
        make({**CONTRAST, "draft": {"view": {"name": "early"}}}, **LINES)


def test_an_exit_with_a_prompt_of_its_own_is_refused(app):
    views = {"early": {"intervention": {"exit": 0}, "passages": {"top_k": 0}}}
    file = tiny_app.write_pipeline(app, "own", decode={**CONTRAST, "views": views})
    with pytest.raises(InputError, match="reads the target's row"):
        Pipeline.load(file)
