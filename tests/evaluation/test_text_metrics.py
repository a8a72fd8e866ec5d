"""K-Precision, ROUGE-L, multiple choice and AUROC: hand-computed values and slow twins."""

from __future__ import annotations

import math
import random
from functools import cache

import pytest

from ragdecode.evaluation.metrics.detection import auroc
from ragdecode.evaluation.metrics.knowledge import k_precision
from ragdecode.evaluation.metrics.multiple_choice import multiple_choice
from ragdecode.evaluation.metrics.rouge import longest_common_subsequence, rouge_l, words


@pytest.mark.parametrize(
    ("answer", "passages", "score"),
    [
        ("The cat's hat.", ["cats hat"], 1.0),
        ("Paris, Paris, Paris", ["It is in Paris."], 1 / 3),  # said three times, there once
        ("Paris, Paris, Paris", ["Paris", "paris!"], 2 / 3),  # passages count together
        ("red green", ["green and blue"], 0.5),
        ("", ["anything"], 0.0),
        ("the a", ["the a"], 0.0),  # nothing is left of it
        ("word", [], 0.0),
    ],
)
def test_k_precision(answer, passages, score):
    assert k_precision(answer, passages) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "references", "score"),
    [
        ("police killed the gunman", ["police kill the gunman"], 0.75),  # Lin's example: 3 of 4 and 3 of 4
        ("the gunman kill police", ["police killed the gunman"], 0.5),
        ("testing one two", ["testing"], 0.5),  # precision 1/3, recall 1; the example of rouge-score's own tests
        ("a b c d", ["a x b", "b d c"], 4 / 7),  # the better of 2*2/7 and 2*2/7
        ("state-of-the-art", ["state of the art"], 1.0),
        ("", ["a"], 0.0),
        ("a", [], 0.0),
        ("?!", ["?!"], 0.0),
        ("Ärger über Öl", ["ärger Öl"], 0.8),
    ],
)
def test_rouge_l(text, references, score):
    assert rouge_l(text, references) == pytest.approx(score)


def test_words_are_letters_and_digits():
    assert words("The 3-year-old's A_B, café 北京.") == ["the", "3", "year", "old", "s", "a", "b", "café", "北京"]


def test_common_subsequences_equal_the_recursion():
    def slow(one, other):
        @cache
        def of(i, j):
            if i == len(one) or j == len(other):
                return 0
            if one[i] == other[j]:
                return 1 + of(i + 1, j + 1)
            return max(of(i + 1, j), of(i, j + 1))

        return of(0, 0)

    draw = random.Random(5)
    for _ in range(300):
        one, other = ([draw.choice("abcd") for _ in range(draw.randrange(12))] for _ in range(2))
        assert longest_common_subsequence(one, other) == slow(one, other)


def test_multiple_choice_by_hand():
    found = multiple_choice([math.log(0.3), math.log(0.1)], [math.log(0.2), math.log(0.05)])
    assert found.mc1 == 1.0
    assert found.mc2 == pytest.approx(0.4 / 0.65)
    assert found.mc3 == 0.5
    other = multiple_choice([math.log(0.3), math.log(0.1)], [math.log(0.2)], best=1)
    assert other.mc1 == 0.0
    assert other.mc3 == 0.5


def test_multiple_choice_of_tiny_probabilities_and_ties():
    found = multiple_choice([-2000.0, -1999.0], [-2000.0])
    assert found.mc1 == 0.0  # as probable as a wrong one is not more
    assert found.mc2 == pytest.approx((1 + math.e) / (2 + math.e))
    assert found.mc3 == 0.5
    for right, wrong in (([], [0.0]), ([0.0], []), ([-math.inf], [0.0]), ([0.0], [math.nan])):
        with pytest.raises(ValueError, match="finite"):
            multiple_choice(right, wrong)


def test_auroc_equals_counting_pairs():
    draw = random.Random(1)
    for _ in range(50):
        positive, negative = ([draw.randrange(6) for _ in range(draw.randrange(1, 9))] for _ in range(2))
        pairs = [(one > other) + 0.5 * (one == other) for one in positive for other in negative]
        assert auroc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))
    assert math.isnan(auroc([], [1.0]))
    assert math.isnan(auroc([1.0], []))
