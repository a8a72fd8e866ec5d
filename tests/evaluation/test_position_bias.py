from __future__ import annotations

from collections.abc import Sequence

import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.metrics.position_bias import position_bias
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from tests.retrieval.chains import stages


def test_the_ends_of_the_scale_and_the_middle() -> None:
    assert position_bias(lambda lists: [list(one) for one in lists], "x") == pytest.approx(1)
    assert position_bias(lambda lists: [one[::-1] for one in lists], "x") == pytest.approx(-1)
    swapped = position_bias(lambda lists: [[one[1], one[0], one[2]] for one in lists], "x", passages=3)
    assert swapped == pytest.approx(0.5)  # 1 - 6 * 2 / (3 * 8)


def test_equals_the_correlation_of_ranks() -> None:
    import numpy as np

    seen: list[tuple[Sequence[int], Sequence[int]]] = []

    def by_id(lists: Sequence[list[Hit]]) -> list[list[Hit]]:
        made = [sorted(one, key=lambda hit: hit.passage.id) for one in lists]
        for before, after in zip(lists, made, strict=True):
            seen.append((range(len(before)), [before.index(hit) for hit in after]))
        return made

    value = position_bias(by_id, "x", trials=20)
    assert value == pytest.approx(np.mean([np.corrcoef(one, other)[0, 1] for one, other in seen]))


def rerank(by: str, likelihood: object) -> object:
    stage = stages({"rerank": {"by": by, "top_k": 8}})[0].build()
    context = RetrievalContext(likelihood=likelihood)  # type: ignore[arg-type]
    return lambda lists: stage.refine([Query("What?")] * len(lists), lists, context)


def test_scoring_one_by_one_has_no_bias_and_a_list_that_likes_the_first_has() -> None:
    def first_letter(pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [-float(ord(continuation[-1])) for _, continuation in pairs]

    chance = 2 / (64 * 7) ** 0.5
    assert abs(position_bias(rerank("query_likelihood", first_letter), "x")) < chance
    assert position_bias(rerank("listwise", first_letter), "x") == pytest.approx(1)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 passages"):
        position_bias(list, "x", passages=1)
    with pytest.raises(InputError, match="must keep all passages"):
        position_bias(lambda lists: [one[:4] for one in lists], "x")
