"""Recipes whose drafts come from a view: from YAML to the answer, within the passes that explain announces."""

from __future__ import annotations

import pytest

from ragdecode.errors import SpecError
from ragdecode.spec.view_plan import step_cost

EVIDENCE = ["The bridge has 12 arches.", "It was built in 1889.", "The tower is empty.", "Cheese is blue."]
RAG = {"views": {"rag": {"passages": {"top_k": 1}, "role": "draft"}}}
VIEW = {"view": {"name": "rag", "depth": 3, "gain": 0.0}}
RECIPES = {
    "view": {**RAG, "draft": [VIEW]},
    "mixed": {**RAG, "draft": ["prompt_lookup", VIEW], "max_draft_nodes": 12},
    "rasd": {**RAG, "draft": {"rasd": {"retrieve": ["prompt_lookup"], "generate": VIEW, "extend": True}}},
    "read by a rule too": {"rule": "cad", "draft": {"view": {"name": "without_context", "gain": 0.0}}},
}


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "seed": 3}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_answer_is_that_without_drafts_within_the_announced_passes(make, recipe, sampling):
    decode = {**RECIPES[recipe], "sampling": sampling, "max_new_tokens": 16}
    plain = make({key: value for key, value in decode.items() if key not in ("draft", "views")})
    drafted = make(decode)
    cost = step_cost(drafted.loaded.spec)
    assert cost.looks in (3, 4)
    for question in ("How many arches has the bridge?", "Why?"):
        answer = drafted.ask(question, passages=EVIDENCE)
        assert answer.token_ids == plain.ask(question, passages=EVIDENCE).token_ids
        stats = answer.stats
        assert stats.drafted > 0
        assert stats.steps < stats.forward_passes <= stats.steps * (cost.passes + cost.looks) + 1
        assert set(stats.sources) <= {"prompt_lookup", "view"}


def test_sampling_by_rejection_takes_a_view_alone(make):
    decode = {**RECIPES["view"], "verification": "rejection", "sampling": {"temperature": 1.0}, "max_new_tokens": 16}
    assert make(decode).ask("Why?", passages=EVIDENCE).stats.accepted >= 0
    with pytest.raises(SpecError, match="rejection"):
        make({**decode, "draft": RECIPES["rasd"]["draft"]})


def test_without_passages_a_view_that_would_show_the_same_does_not_draft(make):
    answer = make(RECIPES["view"]).ask("Why?", passages=[])
    assert answer.stats.drafted == 0
    assert any("drafter view did not act" in note for note in answer.notes)
