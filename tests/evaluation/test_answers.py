"""Answers against golden ones: hand-computed values and known behaviour of SQuAD's own evaluation."""

from __future__ import annotations

import pytest

from ragdecode.evaluation.metrics.answers import contains_answer, exact_match, normalise, token_f1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Answer, is: an apple!", "answer is apple"),
        ("  A\tnew\nline  ", "new line"),
        ("Theatre and Anne", "theatre and anne"),
        ("it's state-of-the-art", "its stateoftheart"),  # punctuation goes before articles, as in SQuAD's script
        ("the a an", ""),
        ("¿Qué?", "¿qué"),  # only ASCII punctuation goes
        ("U.S.A.", "usa"),
    ],
)
def test_normalisation(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_exact_match_takes_the_best_golden_answer() -> None:
    assert exact_match("The Eiffel Tower.", ["Big Ben", "eiffel tower"]) == 1.0
    assert exact_match("Eiffel Tower in Paris", ["eiffel tower"]) == 0.0
    assert exact_match("anything", []) == 0.0


@pytest.mark.parametrize(
    ("answer", "golden", "f1"),
    [
        ("the cat sat on the mat", ["a cat on a mat"], 2 * 1.0 * 0.75 / 1.75),  # cat sat on mat | cat on mat
        ("paris paris paris", ["Paris"], 0.5),  # precision 1/3, recall 1
        ("paris", ["paris paris"], 2 / 3),
        ("London", ["Paris"], 0.0),
        ("in Paris, France", ["Paris", "Paris France"], 0.8),  # the better of 0.5 and 0.8
        ("the", ["a"], 1.0),  # nothing is left of either
        ("", ["Paris"], 0.0),
    ],
)
def test_token_f1(answer: str, golden: list[str], f1: float) -> None:
    assert token_f1(answer, golden) == pytest.approx(f1)


def test_contained_answers_are_whole_words() -> None:
    assert contains_answer("It was Marie Curie, in 1903.", ["Pierre", "marie curie"]) == 1.0
    assert contains_answer("They were artisans.", ["art"]) == 0.0
    assert contains_answer("a theory", ["the"]) == 0.0  # nothing is left of it to look for
    assert contains_answer("", ["Paris"]) == 0.0
