"""Acceptance tables: synthetic drafters of known skill, and what the tables make of them."""

from __future__ import annotations

import random

import pytest

from ragdecode.decoding.speculation.acceptance import (
    AGREED,
    ALONE,
    CONTESTED,
    Acceptance,
    AnswerAcceptance,
    Guess,
    kind_of,
)
from ragdecode.decoding.speculation.governor import FixedTree
from tests.decoding.drafting_worlds import FLAT, Speaker, simulate

SKILLS = (0.9, 0.6, 0.2)


def test_the_table_finds_the_rate_of_every_class_and_standing():
    table, rng = Acceptance(memory=2000), random.Random(1)
    truth = {("a", 0, ALONE): 0.9, ("a", 0, CONTESTED): 0.4, ("a", 7, ALONE): 0.1, ("b", 0, AGREED): 0.97}
    for _ in range(4000):
        (source, kind, standing), rate = rng.choice(list(truth.items()))
        table.count(Guess(source, kind, 0.5), standing, rng.random() < rate)
    for (source, kind, standing), rate in truth.items():
        assert table.rate(Guess(source, kind, 0.5), standing) == pytest.approx(rate, abs=0.05)


def test_what_was_never_tried_is_as_good_as_it_claims_and_few_trials_say_little():
    table = Acceptance()
    assert table.rate(Guess("a", 1, 0.8)) == pytest.approx(0.8)
    assert table.rate(Guess("a", 1, 0.0)) > 0  # a drafter that claims nothing can still prove itself
    table.count(Guess("a", 1, 0.8), ALONE, False)
    assert 0.4 < table.rate(Guess("a", 1, 0.8)) < 0.8
    assert table.rate(Guess("a", 2, 0.8)) == table.rate(Guess("b", 1, 0.8)) == pytest.approx(0.8)


def test_old_trials_are_forgotten():
    table = Acceptance(memory=50)
    guess = Guess("a", 0, 0.5)
    for hit in [True] * 500 + [False] * 200:
        table.count(guess, ALONE, hit)
    assert table.rate(guess) < 0.05
    assert table.trials(guess) < 51


def test_an_answer_that_does_not_copy_lowers_all_classes_of_a_source_and_no_other():
    common = Acceptance()
    for _ in range(200):
        for kind in range(4):
            common.count(Guess("copy", kind, 0.5), ALONE, True)
            common.count(Guess("other", kind, 0.5), ALONE, True)
    mine, neighbour = AnswerAcceptance(common), AnswerAcceptance(common)
    for _ in range(12):
        mine.count([Guess("copy", 0, 0.5)], ALONE, False)
    assert mine.rate([Guess("copy", 3, 0.5)]) < 0.5
    assert neighbour.rate([Guess("copy", 3, 0.5)]) > 0.9
    assert mine.rate([Guess("other", 3, 0.5)]) > 0.9
    # of several sources the best estimate counts: one more never lowers a node
    assert mine.rate([Guess("copy", 3, 0.5), Guess("other", 3, 0.5)]) == mine.rate([Guess("other", 3, 0.5)])


def test_claims_have_ten_classes_below_those_that_drafters_name():
    assert [kind_of(claim) for claim in (0.0, 0.05, 0.1, 0.55, 0.99, 1.0)] == [-1, -1, -2, -6, -10, -10]


@pytest.mark.parametrize("others", [1, 2, 3])
def test_the_sum_of_the_scores_predicts_the_committed_tokens(others):
    """1 + sum of scores is the expectation of what is committed, alone and where drafters agree and differ."""
    speakers = {
        f"s{i}": Speaker(lambda kind, at, worse=i: SKILLS[kind] / (1 + worse), length=6 - i) for i in range(others)
    }
    run = simulate(FixedTree(), speakers, FLAT, tokens=6000, nodes=20)
    promised, committed = sum(run.promised[300:]), sum(run.committed[300:])
    assert len(run.committed) > 1000
    assert promised == pytest.approx(committed, rel=0.05)
