"""Grounding by the evidence's own predictions, and the guard of alignment, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rule import Nodes
from tests.decoding.engines import decode, prompt
from tests.decoding.history_rules import (
    LOOKUP,
    PROMPT,
    SHORT,
    SPANS,
    compare,
    drafts_change_nothing,
    engine,
    neighbours_change_nothing,
    plain,
    request,
    rule,
)
from tests.reference import steps
from tests.reference.alignment import aligned, nucleus_size
from tests.reference.kl_to_evidence import grounded

KL = [
    ({}, {"gamma": 0.5}),
    ({"gamma": 2}, {"gamma": 2}),
    ({"form": "paper"}, {"gamma": None}),
    ({"candidates": "nucleus"}, {"gamma": 0.5, "top_p": 0.5, "temperature": 0.5}),
    ({"candidates": "nucleus", "top_p": 0.95, "temperature": 1.5, "form": "paper"},
     {"gamma": None, "top_p": 0.95, "temperature": 1.5}),
    ({"candidates": "nucleus", "top_p": 1, "gamma": 1}, {"gamma": 1, "top_p": 1, "temperature": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "formula"), KL, ids=str)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_evidence_scores_equal_the_naive_reference(settings, formula, temperature):
    step = grounded(plain(), PROMPT, SPANS, **formula)
    compare([rule("kl_to_evidence", **settings)], step, sampling=Sampling(temperature=temperature, seed=3))


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
def test_no_draft_tree_changes_a_grounded_token(temperature):
    for settings in ({"gamma": 1}, {"candidates": "nucleus", "top_p": 0.9, "form": "paper"}):
        drafts_change_nothing([rule("kl_to_evidence", **settings)], Sampling(temperature=temperature, seed=5))


def test_which_places_count_matters():
    """One before each passage to its last but one: with any other choice the answer is another one."""
    made = [rule("kl_to_evidence", form="paper", candidates="nucleus", top_p=1)]
    answers = set()
    for spans in ([(4, 9)], [(5, 9)], [(4, 10)], [(3, 9)], SPANS, [(0, 2)], [(0, 28)]):
        tokens, wanted = steps.decode(
            grounded(plain(), PROMPT, spans, gamma=None, top_p=1), 3, temperature=1.0, noise=lambda _: torch.zeros(97)
        )
        result = decode(engine(), request("a", made, spans=spans, max_new_tokens=3))["a"]
        assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)
        assert result.tokens == tokens
        answers.add(tuple(wanted))
    assert len(answers) == 7


@pytest.mark.parametrize("spans", [[], [(0, 0)], [(7, 7)], [(0, 1)]])
def test_without_known_passages_all_stays_as_it_is_and_the_notes_say_so(spans):
    alone = decode(engine(), request("a", [], spans=spans, max_new_tokens=8))["a"]
    result = decode(engine(), request("a", [rule("kl_to_evidence")], spans=spans, max_new_tokens=8))["a"]
    assert result.tokens == alone.tokens
    assert any("kl_to_evidence" in note and "did not act" in note for note in result.notes)


def test_one_candidate_wins_and_nothing_impossible_becomes_possible():
    made = rule("kl_to_evidence", form="paper", candidates="nucleus", top_p=1)
    made.read("with_context", 3, torch.tensor([[-math.inf, 0.0, -math.inf, -math.inf]]), None)
    made.read("with_context", 4, torch.tensor([[-3.0, -math.inf, -1.0, -math.inf]]), None)
    composed = torch.tensor([[0.0, -math.inf, -math.inf, -math.inf], [-0.7, -math.inf, -0.7, -math.inf]])
    found = made.compose(Nodes(composed=composed, log_probs={"with_context": composed})).softmax(-1)
    assert found[0].tolist() == [1, 0, 0, 0]
    assert found[1].tolist() == pytest.approx([math.exp(-3) / (math.exp(-3) + math.exp(-1)), 0,
                                              math.exp(-1) / (math.exp(-3) + math.exp(-1)), 0])  # fmt: skip


def test_flat_and_tied_distributions_keep_all_that_tie():
    made = rule("kl_to_evidence", gamma=0)
    made.read("with_context", 0, torch.zeros(1, 4), None)
    for probs, kept in (([0.25] * 4, 4), ([0.4, 0.4, 0.1, 0.1], 2), ([0.7, 0.1, 0.1, 0.1], 1), ([1.0, 0, 0, 0], 1)):
        composed = torch.tensor([probs]).log()
        found = made.compose(Nodes(composed=composed, log_probs={"with_context": composed}))
        assert int((~found.isneginf()).sum()) == kept


ALIGN = [
    {"usual": 3.0},
    {"usual": 2.0, "mass": 0.6, "first": 4},
    {"usual": 5.0, "margin": 0.0, "mass": 0.95},
]


@pytest.mark.parametrize("settings", ALIGN, ids=str)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_alignment_equals_the_naive_reference(settings, temperature):
    weights: list[float] = []
    step = aligned(plain(), PROMPT, SHORT, weights=weights, **settings)
    compare([rule("alignment", **settings)], step, sampling=Sampling(temperature=temperature, seed=3))
    assert any(0.01 < weight < 0.99 for weight in weights)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
def test_no_draft_tree_changes_a_guarded_token(temperature):
    drafts_change_nothing([rule("alignment", usual=2, first=7)], Sampling(temperature=temperature, seed=5))


def test_only_the_first_tokens_are_guarded():
    step = aligned(plain(), PROMPT, SHORT, usual=2, margin=0, first=1000)
    everywhere, _ = steps.decode(step, 12)
    made = rule("alignment", usual=2, margin=0, first=5)
    tokens = decode(engine(), request("a", [made], max_new_tokens=12))["a"].tokens
    assert tokens[:5] == everywhere[:5]
    assert tokens != everywhere


def guard(main, post, **settings):
    made = rule("alignment", **{"usual": 1, "mass": 0.5, **settings})
    tables = {
        view: torch.tensor([probs]).log().log_softmax(-1)
        for view, probs in (("with_context", main), ("without_context", post))
    }
    return made.compose(Nodes(composed=tables["with_context"], log_probs=tables, lengths=[0])).softmax(-1)[0].tolist()


def test_the_guard_closes_where_candidates_balloon_and_stays_open_elsewhere():
    flat, sure = [0.26, 0.25, 0.25, 0.24], [0.01, 0.97, 0.01, 0.01]
    assert guard([0.25] * 400, [0.97] + [0.03 / 399] * 399, usual=10)[0] == pytest.approx(0.97, abs=1e-5)
    assert guard(sure, flat) == pytest.approx(sure, abs=0.1)
    # equal views stay as they are, whatever the weight
    assert guard(flat, flat, margin=0) == pytest.approx(flat)
    # what is impossible stays so, also where the other view is sure of it
    found = guard([0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    assert found[2:] == [0, 0]
    assert found[:2] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9, 0.999])
def test_nucleus_sizes(mass):
    from ragdecode.decoding.rules.alignment import nucleus_size as size

    generator = torch.Generator().manual_seed(2)
    tables = (torch.randn(20, 50, generator=generator, dtype=torch.float64) * 3).log_softmax(-1)
    assert size(tables, mass)[:, 0].tolist() == [nucleus_size(one.exp().tolist(), mass) for one in tables]
    assert size(torch.tensor([[0.0, -math.inf]]), mass).item() == 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_and_arrival_change_nothing(temperature):
    sampling = Sampling(temperature=temperature, seed=1)
    shared = [rule("kl_to_evidence", gamma=1)]
    cad, guarded = rule("cad"), rule("alignment", usual=3, first=6)
    neighbours_change_nothing([
        request("r0", shared, sampling=sampling, max_new_tokens=7),
        request("r1", shared, spans=[(2, 19)], ids=prompt(8, 23), sampling=sampling, max_new_tokens=9),
        request("r2", [], sampling=sampling, drafters=[LOOKUP], max_new_tokens=6),
        request("r3", [cad, *shared], sampling=sampling, drafters=[LOOKUP], max_new_tokens=8),
        request("r4", [guarded], sampling=sampling, max_new_tokens=9),
        request("r5", [rule("acd"), guarded, *shared], sampling=sampling, drafters=[LOOKUP], max_new_tokens=9),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("kl_to_evidence", {"gamma": -1}, "greater"),
        ("kl_to_evidence", {"top_p": 0}, "greater"),
        ("kl_to_evidence", {"form": "paper", "gamma": 1}, "'gamma' is for the form 'mild'"),
        ("kl_to_evidence", {"candidates": "head"}, "knee"),
        ("alignment", {"mass": 1}, "less"),
        ("alignment", {"usual": 0}, "greater"),
        ("alignment", {"first": 0}, "greater"),
        ("alignment", {"against": "with_context"}, "view that is decoded"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        rule(name, **settings)
