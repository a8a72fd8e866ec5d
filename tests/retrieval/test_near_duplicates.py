from __future__ import annotations

import random
import re
from typing import Any

import pytest
from pydantic import ValidationError

from tests.indexing.doubles import ENCODER, HashedWords
from tests.retrieval.chains import stages
from tests.retrieval.passages import hit, refine, texts


def shingles(text: str, size: int) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[at : at + size]) for at in range(max(1, len(words) - size + 1))}


def naive(all_texts: list[str], size: int, threshold: float, shorter: bool) -> list[str]:
    stay: list[str] = []
    for text in all_texts:
        for old in stay:
            a, b = shingles(text, size), shingles(old, size)
            if len(a & b) / (min(len(a), len(b)) if shorter else len(a | b)) >= threshold:
                break
        else:
            stay.append(text)
    return stay


@pytest.mark.parametrize("measure", ["jaccard", "containment"])
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_definition(seed: int, measure: str) -> None:
    generator = random.Random(seed)
    whole = [generator.choice("abcdefghij") for _ in range(60)]
    spans = [(start, start + generator.randint(2, 30)) for start in (generator.randint(0, 50) for _ in range(25))]
    hits = [hit(" ".join(whole[start:end]), start=at * 1000) for at, (start, end) in enumerate(spans)]
    for size in (1, 2, 5):
        settings = {"jaccard": None, measure: 0.5, "shingle": size}
        (found,) = refine({"near_duplicates": settings}, [hits])
        expected = naive(texts(hits), size, 0.5, measure == "containment")
        assert texts(found) == expected
    assert 1 < len(expected) < len(hits)


def test_the_better_one_stays_and_case_and_marks_do_not_count() -> None:
    sentence = "The bridge of Tollin was built in 1889 by Clara Aven."
    hits = [hit("Other words entirely, of another thing."), hit(sentence, start=50), hit(sentence.upper() + "!")]
    (found,) = refine("near_duplicates", [hits])
    assert found == hits[:2]


def test_each_question_is_looked_at_alone() -> None:
    one = hit("a b c d e f")
    assert refine("near_duplicates", [[one, one], [one], []]) == [[one], [one], []]


def test_overlapping_neighbours_of_one_file() -> None:
    text = "abcdefghij" * 10

    def part(start: int, end: int, **more: Any) -> Any:
        return hit(text[start:end], start=start, **more)

    first, near, far, other = part(0, 50), part(20, 70), part(40, 90), part(0, 50, source="b.md")
    settings = {"jaccard": None, "overlap": 0.6}
    assert refine({"near_duplicates": settings}, [[first, near, far, other]]) == [[first, far, other]]
    assert refine({"near_duplicates": {**settings, "overlap": 0.61}}, [[first, near, far]]) == [[first, near, far]]


def test_passages_that_do_not_know_their_offsets_do_not_overlap() -> None:
    hits = [hit("The sea is salty."), hit("The sky is blue and wide."), hit("The sea is salty. So they say.")]
    (found,) = refine({"near_duplicates": {"jaccard": None, "overlap": 0.5}}, [hits])
    assert found == hits[:2]


def test_by_cosine() -> None:
    hits = [hit("pear tree"), hit("tree pear"), hit("pear tree blue sea"), hit("salt")]
    settings = {"jaccard": None, "cosine": 1.0, "encoder": ENCODER}

    def encoders(model: Any) -> HashedWords:
        return HashedWords()

    (found,) = refine({"near_duplicates": settings}, [hits], encoders=encoders)
    assert texts(found) == ["pear tree", "pear tree blue sea", "salt"]
    (found,) = refine({"near_duplicates": {**settings, "cosine": 0.7}}, [hits], encoders=encoders)
    assert texts(found) == ["pear tree", "salt"]


def test_short_texts_and_texts_without_words() -> None:
    hits = [hit("pear"), hit("Pear."), hit("pear tree"), hit("---"), hit("---", start=9), hit("***")]
    (found,) = refine("near_duplicates", [hits])
    assert texts(found) == ["pear", "pear tree", "---", "***"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"jaccard": None}, "at least one of"),
        ({"store": "faiss"}, "no place without cosine"),
        ({"cosine": 0.9, "store": "faiss", "encoder": ENCODER}, "not both"),
        ({"jaccard": 0}, "greater than 0"),
    ],
)
def test_settings_are_checked_at_load(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"near_duplicates": settings})


def test_the_better_twin_stays_in_any_order() -> None:
    text = "The bridge of Tollin was built in 1889 by Clara Aven."
    worst, twin, other, best = (
        hit(text, 1.0),
        hit(text, 2.0, start=50),
        hit("Other words.", 2.5),
        hit(text, 3.0, start=99),
    )
    assert refine("near_duplicates", [[worst, twin, other, best]]) == [[other, best]]
    assert refine("near_duplicates", [[best, other, twin, worst]]) == [[best, other]]
    assert refine("near_duplicates", [[twin, best, worst, other]]) == [[best, other]]
