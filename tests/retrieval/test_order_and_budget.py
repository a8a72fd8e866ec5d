from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit
from tests.retrieval.chains import stages
from tests.retrieval.passages import count_words, hit, refine, texts


def scored(*scores: float) -> list[Hit]:
    return [hit(f"p{score}", score, start=at) for at, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("best_first", [6, 5, 4, 3, 2, 1]),
        ("best_last", [1, 2, 3, 4, 5, 6]),
        ("ends", [6, 4, 2, 1, 3, 5]),
    ],
)
def test_orders_by_score(by: str, expected: list[float]) -> None:
    for seed in range(3):
        shuffled = random.Random(seed).sample(scored(1, 2, 3, 4, 5, 6), 6)
        (found,) = refine({"order": {"by": by}}, [shuffled])
        assert [one.score for one in found] == expected
        assert refine({"order": {"by": by}}, [found]) == [found]  # doing it again changes nothing


def test_the_order_of_the_documents() -> None:
    hits = [
        hit("b2", 5, source="b.md", start=90),
        hit("a1", 4, source="a.md", start=10),
        hit("b1", 3, source="b.md", start=8),
        hit("a0", 2, source="a.md"),
    ]
    found = refine({"order": {"by": "document"}}, [hits, hits[::-1], []])
    assert [texts(one) for one in found] == [["b1", "b2", "a0", "a1"]] * 2 + [[]]


def test_best_last_is_the_default_and_ties_keep_their_order() -> None:
    hits = [hit("a", 1), hit("b", 1), hit("c", 2)]
    assert texts(refine({"order": {"by": "best_first"}}, [hits])[0]) == ["c", "a", "b"]
    assert texts(refine("order", [hits])[0]) == ["b", "a", "c"]


def naive_budget(hits: Sequence[Hit], tokens: int, most: int, per_source: int) -> set[str]:
    """Of all sets that hold the limits, the one that is best first by first by score."""
    best: tuple[list[bool], set[str]] = ([], set())
    ranking = sorted(hits, key=lambda one: -one.score)
    for size in range(len(hits) + 1):
        for chosen in combinations(ranking, size):
            sources = [one.passage.source for one in chosen]
            if size > most or any(sources.count(source) > per_source for source in sources):
                continue
            if sum(count_words(texts(chosen))) <= tokens:
                key = [one in chosen for one in ranking]
                best = max(best, (key, set(texts(chosen))), key=lambda pair: pair[0])
    return best[1]


@pytest.mark.parametrize("seed", range(25))
def test_the_best_that_fit_are_taken(seed: int) -> None:
    generator = random.Random(seed)
    hits = [
        hit(f"{at} " + "w " * generator.randint(0, 9), generator.random(), source=generator.choice("abc"), start=at)
        for at in range(8)
    ]
    tokens, most, per_source = generator.randint(1, 30), generator.randint(1, 8), generator.randint(1, 3)
    settings = {"tokens": tokens, "passages": most, "per_source": per_source}
    (found,) = refine({"budget": settings}, [hits], count_tokens=count_words)
    assert set(texts(found)) == naive_budget(hits, tokens, most, per_source)
    assert found == [one for one in hits if one in found]  # in the order they came


def test_the_last_is_shortened_at_the_end_of_a_sentence() -> None:
    first = hit("One two three.", 3.0, row=1)
    second = hit("Four five six. Seven eight. Nine ten eleven.", 2.0, start=100, row=2)
    third = hit("Twelve.", 1.0, row=3)
    written = {"budget": {"tokens": 9, "cut": "shorten"}}
    (found,) = refine(written, [[second, first, third]], count_tokens=count_words)
    assert texts(found) == ["Four five six. Seven eight.", "One two three."]
    assert found[0].passage.attributes["kept"] == "100-127"
    assert [one.row for one in found] == [None, 1]
    calls: list[int] = []

    def counting(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return count_words(texts)

    found = refine({"budget": {"tokens": 5, "cut": "shorten"}}, [[second, first], [first]], count_tokens=counting)
    assert [texts(hits) for hits in found] == [["One two three."], ["One two three."]]  # no sentence fits into two
    assert calls == [3, 1, 1]  # all passages at once; then the halves of the one that is shortened


def test_limits_without_tokens_need_no_model() -> None:
    hits = [hit("a", 1, source="x"), hit("b", 3, source="x"), hit("c", 2, source="y")]
    assert texts(refine({"budget": {"per_source": 1}}, [hits])[0]) == ["b", "c"]
    assert texts(refine({"budget": {"passages": 2}}, [hits])[0]) == ["b", "c"]
    with pytest.raises(RunError, match="needs the pipeline's language model, to count"):
        refine({"budget": {"tokens": 3}}, [hits])
    assert refine({"budget": {"tokens": 3}}, [[]]) == [[]]


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"budget": {}}, "at least one of tokens, passages, per_source"),
        ({"budget": {"passages": 2, "cut": "shorten"}}, "no place without tokens"),
        ({"order": {"by": "best"}}, "best_first"),
    ],
)
def test_settings_are_checked_at_load(written: Any, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages(written)


def test_a_budget_that_nothing_fits_into_is_told(caplog: pytest.LogCaptureFixture) -> None:
    hits = [hit("One two three.", 3.0), hit("Four five six seven.", 2.0)]
    assert refine({"budget": {"tokens": 2}}, [hits, []], count_tokens=count_words) == [[], []]
    assert "nothing fits into 2 tokens; the shortest passage has 3" in caplog.text
    caplog.clear()
    assert refine({"budget": {"tokens": 3}}, [hits, []], count_tokens=count_words) == [hits[:1], []]
    assert not caplog.text
