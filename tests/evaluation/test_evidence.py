"""Slices and steps with a reader whose accuracy in every slice is known."""

from __future__ import annotations

import math
import random

import pytest

from ragdecode.evaluation.evidence import GradedAnswer, enough, points, step

COUNTS = (1, 2, 5, 10)


def stub_answers(questions: int, with_gold: float, without: float, per_distractor: float = 0.0) -> list[GradedAnswer]:
    """A reader that is right with a fixed probability: more so if the gold passage is there, less so in a crowd.

    The gold passage of question n is at rank n % 12 + 1.
    """
    chance = random.Random(5)
    draws = [chance.random() for _ in range(questions)]
    return [
        GradedAnswer(
            f"q{number}", "stub", k, number % 12 < k,
            float(draw < (with_gold - per_distractor * (k - 1) if number % 12 < k else without)),
        )
        for number, draw in enumerate(draws)
        for k in COUNTS
    ]  # fmt: skip


def test_slices_have_the_readers_accuracy_and_are_a_partition() -> None:
    answers = stub_answers(1200, with_gold=0.8, without=0.1)
    by_slice = {(point.k, point.slice): point.interval for point in points(answers)}
    for k in COUNTS:
        found, missed, whole = (by_slice[k, name] for name in ("found", "missed", "all"))
        assert (found.n, missed.n, whole.n) == (100 * k, 1200 - 100 * k, 1200)
        assert found.mean == pytest.approx(0.8, abs=0.09)
        assert missed.mean == pytest.approx(0.1, abs=0.05)
        assert whole.mean == pytest.approx((found.mean * found.n + missed.mean * missed.n) / whole.n)
        assert found.low <= found.mean <= found.high


def test_an_empty_slice_has_no_mean() -> None:
    found = {point.slice: point.interval for point in points([GradedAnswer("q", "stub", 1, True, 0.5)])}
    assert found["all"].mean == found["found"].mean == 0.5
    assert math.isnan(found["missed"].mean)
    assert found["missed"].n == 0


def test_retrievers_keep_their_order_and_counts_rise() -> None:
    answers = [GradedAnswer("q", name, k, False, 0.0) for name in ("z", "a") for k in (5, 1)]
    order = [(point.retriever, point.k) for point in points(answers) if point.slice == "all"]
    assert order == [("z", 1), ("z", 5), ("a", 1), ("a", 5)]


def test_a_step_is_paired_over_the_questions_of_both() -> None:
    answers = [
        GradedAnswer("a", "stub", 1, False, 0.2), GradedAnswer("a", "stub", 2, False, 0.5),
        GradedAnswer("b", "stub", 2, False, 0.9), GradedAnswer("b", "stub", 1, False, 0.8),
        GradedAnswer("c", "stub", 1, False, 1.0), GradedAnswer("a", "other", 2, False, 0.0),
    ]  # fmt: skip
    found = step(answers, "stub", 1, 2)
    assert found.interval.n == 2
    assert found.interval.mean == pytest.approx((0.3 + 0.1) / 2)


def test_more_evidence_helps_until_all_gold_is_there() -> None:
    answers = stub_answers(600, with_gold=0.8, without=0.1)
    assert enough(answers, "stub") == 10
    assert step(answers, "stub", 1, 10).helps


def test_a_reader_that_a_crowd_confuses_has_enough_earlier() -> None:
    answers = stub_answers(600, with_gold=0.9, without=0.3, per_distractor=0.08)
    assert enough(answers, "stub") < 10
    assert step(answers, "stub", 5, 10).harms


def test_a_reader_that_never_looks_has_enough_with_one() -> None:
    assert enough(stub_answers(300, with_gold=0.4, without=0.4), "stub") == 1
    with pytest.raises(ValueError, match="'nobody'"):
        enough(stub_answers(3, 1, 0), "nobody")
