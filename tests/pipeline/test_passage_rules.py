"""Rules over passages and history from YAML: views and costs that are told, and what is refused at load."""

from __future__ import annotations

import pytest

from ragdecode.errors import InputError, SpecError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.explanation import explanation
from ragdecode.spec.load import load_document, load_pipeline
from ragdecode.spec.view_plan import planned_views, step_cost
from tests.pipeline import tiny_app

TEXTS = ["The bridge has 12 arches.", "The tower is high.", "The cheese of Morvan is blue."]
PASSAGES = tuple(Passage(f"p{i}", "s", text, 1.0 / i, i) for i, text in enumerate(TEXTS, start=1))
RECIPES = ["ensemble", "kl_to_evidence", "lookback", "contrastive_search", "alignment"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_catalogue_has_a_recipe_of_each(name):
    decode = load_document("decoding", name).spec
    assert [part.name for part in decode.rule] == [name]


@pytest.mark.parametrize(
    ("decode", "views", "passes", "rows", "tokens"),
    [
        ({"rule": {"ensemble": {"passages": 3}}}, ["passage_1", "passage_2", "passage_3"], 1, 4, 4),
        ({"rule": {"ensemble": {"passages": 2, "of": "cad"}}}, ["passage_1", "passage_2", "without_context"], 1, 4, 4),
        ({"rule": "kl_to_evidence"}, [], 1, 1, 1),
        ({"rule": "alignment"}, ["without_context"], 1, 2, 2),
        ({"rule": {"lookback": {"top_k": 5}}}, [], 2, 2, 7),
        ({"rule": ["cad", {"contrastive_search": {"top_k": 4}}]}, ["without_context"], 2, 3, 7),
    ],
)
def test_views_and_costs_are_told_and_kept(make, app, decode, views, passes, rows, tokens):
    loaded = load_pipeline(tiny_app.write_pipeline(app, "costs", decode=decode))
    assert [view.name for view in planned_views(loaded.spec.decode)][1:] == views
    cost = step_cost(loaded.spec)
    assert (cost.passes, cost.rows, cost.tokens) == (passes, rows, tokens)
    told = explanation(loaded)
    assert [view["passages"] for view in told["views"] if view["name"].startswith("passage_")] == [
        f"number {place} alone" for place in range(1, 1 + sum(view.startswith("passage_") for view in views))
    ]
    answer = make(decode).ask("How many arches?", passages=PASSAGES)
    assert answer.stats.forward_rows == 8 * rows
    assert answer.stats.forward_passes == 8 * passes


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("draft", ["prompt_lookup", "recycling"])
def test_drafts_change_nothing(make, name, draft):
    rule = {"alignment": {"alignment": {"usual": 20}}, "lookback": {"lookback": {"threshold": 2}}}.get(name, name)
    sampling = {} if name == "contrastive_search" else {"temperature": 0.9, "seed": 3}
    decode = {"rule": rule, "sampling": sampling, "max_new_tokens": 12}
    plain = make(decode).ask("How many arches?", passages=PASSAGES)
    drafted = make({**decode, "draft": draft}).ask("How many arches?", passages=PASSAGES)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.drafted > 0


def test_a_drafter_that_looks_at_what_rules_compose_goes_with_them(make):
    """Looks compose too: with how many tokens there are, and after the prompt was read."""
    for rule in ({"alignment": {"usual": 20, "first": 5}}, {"kl_to_evidence": {"gamma": 1}}, {"ensemble": {}}):
        decode = {"rule": rule, "max_new_tokens": 12}
        plain = make(decode).ask("How many arches?", passages=PASSAGES)
        drafted = make({**decode, "draft": "quantized"}).ask("How many arches?", passages=PASSAGES)
        assert drafted.token_ids == plain.token_ids


def test_what_lines_need_and_may_bring(make):
    pipeline = make({"rule": {"ensemble": {"passages": 3, "of": "cad"}}})
    assert set(pipeline.needs) == {"passage_1", "without_context"}
    assert set(pipeline.optional) == {"passage_2", "passage_3"}


def test_exact_prompts_may_bring_some_of_the_passages(make):
    pipeline = make({"rule": "ensemble"})
    prompts = {"with_context": "The bridge", "passage_1": "The tower", "passage_2": "The cheese"}
    (two,) = pipeline.decode([DecodeRequest("a", prompts=prompts)])
    assert two.notes == ("rule ensemble: the score of a passage is not known, so that all weigh alike",)
    (one,) = pipeline.decode([DecodeRequest("a", prompts={**prompts, "passage_1": "The cheese"})])
    assert one.text != two.text
    del prompts["passage_1"]
    with pytest.raises(InputError, match="the prompt of the view passage_1 is missing"):
        list(pipeline.decode([DecodeRequest("a", prompts=prompts)]))


@pytest.mark.parametrize("found", [0, 1, 3])
def test_after_more_was_retrieved_the_passages_that_come_first_vote(make, found):
    pipeline = make({"rule": {"ensemble": {"passages": 2}}, "monitor": "signals"})
    more = [Passage(f"n{i}", "s", f"New text {i}.", 5.0 - i, i) for i in range(found)]
    prepared = pipeline._preparer.question("Why?", PASSAGES[:2], retrieve=lambda query: more)
    views = prepared.request.retrieve("Where?")
    expected = [*more, *PASSAGES[:2]][:2]
    for place, passage in enumerate(expected):
        (evidence,) = views[f"passage_{place + 1}"].evidence
        assert (evidence.passage, evidence.score) == (place, passage.score)
        assert passage.text in prepared.prompts[f"passage_{place + 1}"].text
    assert len(views["with_context"].evidence) == 2 + found


BAD = [
    ({"rule": ["cad", "ensemble"]}, "both reweigh the evidence"),
    ({"rule": ["plausible", "ensemble"]}, "what 'plausible' makes of the target would be lost"),
    ({"rule": {"ensemble": {"of": "lookback"}}}, "'lookback' cannot act inside 'ensemble'"),
    ({"rule": {"ensemble": {"of": {"ensemble": {}}}}}, "'ensemble' cannot act inside 'ensemble'"),
    ({"rule": {"ensemble": {"of": ["cad", "acd"]}}}, "'cad' and 'acd' cannot go together"),
    ({"rule": {"ensemble": {"of": {"cad": {"against": "other"}}}}}, "the view 'other', which is not declared"),
    ({"rule": {"ensemble": {"of": {"cat": {}}}}}, "unknown rule 'cat'"),
    ({"rule": {"ensemble": {"of": {"cad": {"alpha": 99}}}}}, "alpha"),
    ({"rule": {"ensemble": {"passages": 0}}}, "passages"),
    ({"rule": {"ensemble": {"wieghts": "rank"}}}, "did you mean 'weights'"),
    ({"rule": "ensemble", "views": {"passage_1": {"passages": {"top_k": 1}}}}, "brings the view 'passage_1' itself"),
    ({"rule": "contrastive_search", "sampling": {"temperature": 0.7}}, "set sampling.temperature: 0"),
    ({"rule": ["contrastive_search", "cad"]}, "'cad' cannot work on it"),
    ({"rule": ["lookback", "plausible"]}, "'plausible' cannot work on it"),
    ({"rule": {"kl_to_evidence": {"form": "paper", "gamma": 1}}}, "'gamma' is for the form 'mild'"),
    ({"rule": {"alignment": {"against": "post"}}}, "the view 'post', which is not declared"),
]


@pytest.mark.parametrize(("decode", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_refused_at_load_with_file_and_line(app, decode, message):
    file = tiny_app.write_pipeline(app, "bad", decode=decode)
    with pytest.raises(SpecError, match=message) as caught:
        load_pipeline(file)
    assert "bad.yaml:1" in str(caught.value)
