from __future__ import annotations

from collections.abc import Sequence

import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.metrics.information_bottleneck import Compressed, ib_score, ib_scores


class Table:
    """Probabilities by prefix and text; remembers what it was asked."""

    def __init__(self, values: dict[tuple[str, str], list[float]]) -> None:
        self.values = values
        self.calls: list[list[tuple[str, str]]] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        self.calls.append(list(pairs))
        return [self.values[pair] for pair in pairs]


SHORT = "Passage: Built in 1889.\nQuestion: When?\n"
TABLE = {
    (f"{SHORT}Full text:", " Built in 1889. It is red."): [0.9, 0.5, 0.1],
    (f"{SHORT}Answer:", " 1889"): [0.8, 0.6],
    ("Question: When?\nFull text:", " Built in 1889. It is red."): [0.1, 0.1, 0.1],
    ("Question: When?\nAnswer:", " 1889"): [0.0, 0.2],
}


def test_means_of_probabilities_and_their_difference() -> None:
    table = Table(TABLE)
    case = Compressed("When? ", "Built in 1889. It is red.", "Built in 1889.", "1889")
    empty = Compressed("When?", "Built in 1889. It is red.", " ", "1889")
    scores = ib_scores([case, empty], table, beta=2.0)
    assert [(one.source, one.answer, one.score) for one in scores] == [
        pytest.approx((0.5, 0.7, 0.5 - 2 * 0.7)),
        pytest.approx((0.1, 0.1, 0.1 - 2 * 0.1)),
    ]
    assert len(table.calls) == 1
    single = ib_score(case.question, case.source, case.compressed, case.answer, token_probs=table)
    assert single.score == pytest.approx(0.5 - 0.7)
    assert ib_scores([], table) == []


@pytest.mark.parametrize(
    ("case", "beta", "complaint"),
    [
        (Compressed("q", " ", "x", "a"), 1.0, "the source of the question 'q' is blank"),
        (Compressed("q", "s", "x", ""), 1.0, "the answer of the question 'q' is blank"),
        (Compressed("q", "s", "x", "a"), float("nan"), "beta must be a number"),
        (Compressed("q", "s", "x", "a"), -1.0, "beta must be a number"),
    ],
)
def test_wrong_input_is_refused(case: Compressed, beta: float, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ib_scores([case], Table({}), beta=beta)
