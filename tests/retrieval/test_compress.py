from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.documents.passage import Passage
from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.excerpt import excerpt, kept_spans, overlap, sentences
from tests.indexing.doubles import ENCODER, HashedWords
from tests.retrieval.chains import stages
from tests.retrieval.passages import count_words, hit, refine, texts

DOCUMENT = (
    "# Bridge\n\nThe bridge has 12 arches. It was built in 1889 by Clara Aven.\nNobody lives there.\n\n"
    "Ships pass below. The toll is 3.5 marks (e.g. for carts). A flag marks the middle!  The end."
)


def of(start: int, end: int, **more: Any) -> Hit:
    return hit(DOCUMENT[start:end], start=start, **more)


WHOLE = of(0, len(DOCUMENT))
HALF = of(DOCUMENT.index("Ships"), len(DOCUMENT), score=1.0)


def shown(passage: Passage) -> list[str]:
    """What the passage shows, read from the document by its offsets."""
    return [DOCUMENT[start:end] for start, end in kept_spans(passage)]


def test_sentences_do_not_cross_paragraphs_nor_hold_blanks() -> None:
    assert [DOCUMENT[start:end] for start, end in sentences(WHOLE.passage)] == [
        "# Bridge",
        "The bridge has 12 arches.",
        "It was built in 1889 by Clara Aven.",
        "Nobody lives there.",
        "Ships pass below.",
        "The toll is 3.5 marks (e.g. for carts).",
        "A flag marks the middle!",
        "The end.",
    ]
    assert sentences(hit(" \n ").passage) == []


def test_kept_parts_stand_where_the_passage_says() -> None:
    (found,) = refine({"compress": {"sentences": 2}}, [[WHOLE, HALF]], ["Was it built, of 12 arches?"])
    (one,) = found
    assert one.passage.text == "The bridge has 12 arches. It was built in 1889 by Clara Aven."
    assert shown(one.passage) == [one.passage.text]
    assert one.passage.attributes["kept"] == f"10-{10 + len(one.passage.text)}"
    assert (one.passage.id, one.passage.start, one.passage.end) == (WHOLE.passage.id, 0, len(DOCUMENT))
    assert (one.score, one.row) == (WHOLE.score, None)


def test_gaps_are_marked_and_the_order_is_the_documents() -> None:
    (found,) = refine({"compress": {"sentences": 3}}, [[WHOLE]], ["Flag? Ships? Bridge?"])
    text = "# Bridge … Ships pass below. … A flag marks the middle!"
    assert texts(found) == [text]
    assert shown(found[0].passage) == text.split(" … ")


def test_what_was_compressed_twice_still_points_at_its_place() -> None:
    (once,) = refine({"compress": {"sentences": 4}}, [[HALF]], ["toll"])
    assert once == [HALF]  # all of it
    (once,) = refine({"compress": {"sentences": 5}}, [[WHOLE]], ["ships toll flag end bridge"])
    (twice,) = refine({"compress": {"sentences": 2}}, [once], ["flag ships"])
    assert texts(twice) == ["Ships pass below. … A flag marks the middle!"]
    assert shown(twice[0].passage) == texts(twice)[0].split(" … ")


@pytest.mark.parametrize("seed", range(30))
def test_any_parts_of_parts_equal_the_document_at_their_offsets(seed: int) -> None:
    generator = random.Random(seed)
    passage = WHOLE.passage if seed % 2 else HALF.passage
    for _ in range(3):
        cuts = sorted(generator.sample(range(len(passage.text) + 1), min(6, len(passage.text) // 4 * 2)))
        parts = list(zip(cuts[::2], cuts[1::2], strict=True))
        if not parts:
            break
        before = passage.text
        passage = excerpt(passage, parts)
        assert passage.text == " … ".join(shown(passage))
        # nothing is lost but marks and blanks between parts
        bare = "".join(before[start:end] for start, end in parts)
        assert re.sub(r"[\s…]", "", passage.text) == re.sub(r"[\s…]", "", bare)


def naive_bm25(question: str, candidates: Sequence[str]) -> list[float]:
    split = [re.findall(r"\w+", text.lower()) for text in candidates]
    scores = []
    for words in split:
        score = 0.0
        for term in set(re.findall(r"\w+", question.lower())):
            df = sum(term in other for other in split)
            tf = words.count(term)
            idf = math.log(1 + (len(split) - df + 0.5) / (df + 0.5))
            score += idf * tf * 2.2 / (tf + 1.2) if tf else 0.0
        scores.append(score)
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_words_are_scored_by_bm25_over_the_sentences(seed: int) -> None:
    generator = random.Random(seed)
    vocabulary = ["pear", "sea", "tree", "blue", "red", "sky", "salt", "rain"]
    made = [
        [" ".join(generator.choices(vocabulary, k=generator.randint(2, 9))).capitalize() + "." for _ in range(4)]
        for _ in range(3)
    ]
    hits = [hit(" ".join(own), source=f"{at}.md") for at, own in enumerate(made)]
    question = " ".join(generator.sample(vocabulary, 3))
    flat = [text for own in made for text in own]
    scores = naive_bm25(question, flat)
    best = sorted(range(12), key=lambda at: (-round(scores[at], 6), at))[:4]
    expected = [[text for at, text in enumerate(flat) if at in best and at // 4 == place] for place in range(3)]
    (found,) = refine({"compress": {"sentences": 4}}, [hits], [question])
    assert [re.split(r"(?<=\.) (?:… )?", text) for text in texts(found)] == [own for own in expected if own]


def test_each_passage_may_have_a_limit_of_its_own() -> None:
    (found,) = refine({"compress": {"sentences": 1, "scope": "each"}}, [[WHOLE, HALF]], ["Who built it, and the toll?"])
    assert [one.passage.id for one in found] == [WHOLE.passage.id, HALF.passage.id]
    assert texts(found) == ["It was built in 1889 by Clara Aven.", "The toll is 3.5 marks (e.g. for carts)."]


@pytest.mark.parametrize("limit", [1, 4, 9, 20, 60])
def test_tokens_hold_and_the_best_come_first(limit: int) -> None:
    written = {"compress": {"tokens": limit}}
    (found,) = refine(written, [[WHOLE]], ["Who built it in 1889?"], count_tokens=count_words)
    used = sum(count_words(texts(found)))
    assert used <= limit
    assert (used > 0) == (limit > 2)
    if limit == 9:
        assert "1889" in texts(found)[0]


def test_a_limit_that_no_sentence_fits_into_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert refine({"compress": {"tokens": 1}}, [[WHOLE]], ["toll"], count_tokens=count_words) == [[]]
    assert "no sentence fits into the limit" in caplog.text


def test_a_share_of_the_characters() -> None:
    (all_of_it,) = refine({"compress": {"ratio": 1}}, [[WHOLE]], ["toll"])
    assert all_of_it == [WHOLE]
    (found,) = refine({"compress": {"ratio": 0.3}}, [[WHOLE]], ["toll"])
    assert "toll" in texts(found)[0]
    assert len(texts(found)[0].replace(" … ", "")) <= 0.3 * len(DOCUMENT)


def test_by_vectors_and_by_likelihood() -> None:
    written = {"compress": {"by": "dense", "encoder": ENCODER, "sentences": 1}}
    found = refine(written, [[WHOLE], []], ["ships below", "x"], encoders=lambda model: HashedWords(1024))
    assert [texts(hits) for hits in found] == [["Ships pass below."], []]
    calls: list[Sequence[tuple[str, str]]] = []

    def likelihood(pairs: Sequence[tuple[str, str]]) -> list[float]:
        calls.append(pairs)
        return [-1.0 if "12 arches" in prefix else -2.0 for prefix, _ in pairs]

    written = {"compress": {"by": "query_likelihood", "sentences": 1}}
    found = refine(written, [[WHOLE], [HALF]], ["How many?", "When?"], likelihood=likelihood)
    assert [texts(hits) for hits in found] == [["The bridge has 12 arches."], ["Ships pass below."]]
    assert [len(pairs) for pairs in calls] == [12]
    assert calls[0][0] == ("Passage: # Bridge\nPlease write a question based on this passage.\nQuestion:", " How many?")


def test_questions_do_not_touch_one_another() -> None:
    queries = ["Who built it?", "What is the toll?"]
    together = refine({"compress": {"sentences": 1}}, [[WHOLE, HALF]] * 2, queries)
    alone = [refine({"compress": {"sentences": 1}}, [[WHOLE, HALF]], [query])[0] for query in queries]
    assert together == alone
    assert refine({"compress": {"sentences": 1}}, [[]]) == [[]]


def test_overlap_counts_what_is_still_shown() -> None:
    assert overlap(WHOLE.passage, HALF.passage) == 1.0
    first = excerpt(WHOLE.passage, [(0, 8)])
    assert overlap(first, HALF.passage) == 0.0


def test_a_missing_model_is_told() -> None:
    with pytest.raises(RunError, match="needs the pipeline's language model, to count"):
        refine({"compress": {"tokens": 5}}, [[WHOLE]])
    with pytest.raises(RunError, match="compress by query_likelihood needs"):
        refine({"compress": {"by": "query_likelihood", "ratio": 0.5}}, [[WHOLE]])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "expected one of sentences, tokens, ratio; found none"),
        ({"sentences": 1, "ratio": 0.5}, "found sentences, ratio"),
        ({"sentences": 1, "encoder": ENCODER}, "no place with by: words"),
        ({"ratio": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_are_checked_at_load(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"compress": settings})
