"""Reranking without further weights: yes or no, a list, vectors; and questions that are too long."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit
from tests.indexing.doubles import ENCODER, HashedWords
from tests.retrieval.chains import chain, small_index, stages
from tests.retrieval.passages import count_words, hit, refine, texts

WORDS = ["red", "green", "blue", "sea", "sky", "pear", "apple", "cloud"]


def candidates(seed: int, count: int) -> list[Hit]:
    generator = random.Random(seed)
    return [hit(" ".join(generator.choices(WORDS, k=5)), float(-at), start=at) for at in range(count)]


class Likelihood:
    """A deterministic number for each pair; counts calls and pairs."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        self.calls.append(list(pairs))
        return [random.Random(f"{prefix}|{continuation}").uniform(-9, 0) for prefix, continuation in pairs]


def test_yes_no_is_the_log_odds_of_yes() -> None:
    hits = [hit("green pear"), hit("blue sea"), hit("red apple")]

    def likelihood(pairs: Sequence[tuple[str, str]]) -> list[float]:
        assert all("Question: Which sea?\n" in prefix and prefix.endswith("Answer:") for prefix, _ in pairs)
        yes = {"green pear": -3.0, "blue sea": -0.5, "red apple": -2.0}
        return [yes[re.match("Passage: (.*)", prefix)[1]] if word == " yes" else -1.5 for prefix, word in pairs]

    (found,) = refine({"rerank": {"by": "yes_no", "top_k": 2}}, [hits], ["Which sea?"], likelihood=likelihood)
    assert [(one.passage.text, one.score, one.scores) for one in found] == [
        ("blue sea", 1.0, {"yes_no": 1.0}),
        ("red apple", -0.5, {"yes_no": -0.5}),
    ]


def naive_list(likelihood: Any, prompt: str, count: int) -> list[int]:
    """Constrained greedy decoding, one scoring at a time: only unused letters are legal."""
    order: list[int] = []
    while len(order) < count:
        legal = [place for place in range(count) if place not in order]
        written = prompt + "".join(f" {chr(65 + place)} >" for place in order)
        order.append(max(legal, key=lambda place: likelihood([(written, f" {chr(65 + place)}")])[0]))
    return order


@pytest.mark.parametrize("seed", range(6))
def test_a_list_is_greedy_constrained_decoding_and_a_permutation(seed: int) -> None:
    count = 2 + seed
    hits, other = candidates(seed, count), candidates(seed + 100, 3)
    likelihood = Likelihood()
    written = {"rerank": {"by": "listwise", "top_k": 20}}
    found, second, none = refine(written, [hits, other, []], ["Which?", "What?", "Who?"], likelihood=likelihood)
    assert sorted(texts(found)) == sorted(texts(hits))
    assert sorted(texts(second)) == sorted(texts(other))
    assert none == []
    assert sum(map(len, likelihood.calls)) == count * (count + 1) // 2 - 1 + 5
    assert len(likelihood.calls) <= max(count, 3) - 1
    prompt = next(prefix for prefix, _ in likelihood.calls[0] if "Which?" in prefix)
    assert [line for line in prompt.split("\n") if line.startswith("[")] == [
        f"[{chr(65 + at)}] {one.passage.text}" for at, one in enumerate(hits)
    ]
    order = naive_list(Likelihood(), prompt, count)
    assert texts(found) == [hits[place].passage.text for place in order]
    assert [one.score for one in found] == [1 / rank for rank in range(1, count + 1)]


def test_beyond_its_depth_a_list_keeps_the_order() -> None:
    hits = candidates(1, 6)
    (found,) = refine({"rerank": {"by": "listwise", "depth": 3, "top_k": 6}}, [hits], likelihood=Likelihood())
    assert texts(found[3:]) == texts(hits[3:])
    assert sorted(texts(found[:3])) == sorted(texts(hits[:3]))


def test_a_list_is_of_the_best_in_any_order() -> None:
    hits = [replace(one, score=float(at)) for at, one in enumerate(candidates(1, 6))]
    written = {"rerank": {"by": "listwise", "depth": 3, "top_k": 6}}
    (rising,) = refine(written, [hits], likelihood=Likelihood())
    assert sorted(texts(rising[:3])) == sorted(texts(hits[3:]))
    assert [rising] == refine(written, [hits[::-1]], likelihood=Likelihood())


def test_long_passages_are_shown_to_the_list_up_to_a_sentence() -> None:
    long = hit("One two three. Four five six. Seven eight nine.")
    likelihood = Likelihood()
    written = {"rerank": {"by": "listwise", "passage_tokens": 7}}
    (found,) = refine(written, [[long, hit("Short.")]], likelihood=likelihood, count_tokens=count_words)
    assert "[A] One two three. Four five six.\n[B] Short.\n" in likelihood.calls[0][0][0]
    assert sorted(texts(found)) == sorted([long.passage.text, "Short."])


@pytest.mark.parametrize("by", ["query_likelihood", "yes_no"])
def test_scores_of_single_passages_do_not_depend_on_their_order(by: str) -> None:
    hits = candidates(5, 8)
    shuffled = random.Random(0).sample(hits, len(hits))
    written = {"rerank": {"by": by, "top_k": 8}}
    assert refine(written, [hits], likelihood=Likelihood()) == refine(written, [shuffled], likelihood=Likelihood())


def test_by_cosine(tmp_path: Any) -> None:
    hits = [hit("green pear tree"), hit("the blue sea"), hit("pear")]
    written = {"rerank": {"by": "cosine", "encoder": ENCODER}}
    found, none = refine(written, [hits, []], ["pear", "sea"], encoders=lambda model: HashedWords(4096))
    assert texts(found) == ["pear", "green pear tree", "the blue sea"]
    assert [one.scores["cosine"] for one in found] == pytest.approx([1, 3**-0.5, 0], abs=1e-6)
    assert none == []
    index = small_index(tmp_path, stores=["bm25"])
    run = chain(index, "bm25", written, encoders=lambda model: HashedWords(4096))
    assert not run.needs_model
    assert run.retrieve(["pear tree"])[0][0].passage.source == "fruit/pear.md"


@pytest.mark.parametrize("count", [count_words, None])
def test_of_a_long_question_the_end_is_scored(count: Any) -> None:
    likelihood = Likelihood()
    long = "  " + " ".join(f"w{at}" for at in range(1000)) + " ? "
    context = {"likelihood": likelihood, "count_tokens": count}
    refine({"rerank": {"question_tokens": 5}}, [[hit("a")]] * 3, [long, "a  b c\nd", "1 2 3 4 5 6"], **context)
    assert [asked for _, asked in likelihood.calls[0]] == [" w996 w997 w998 w999 ?", " a  b c\nd", " 2 3 4 5 6"]


def test_a_word_that_is_too_long_alone_stays() -> None:
    likelihood = Likelihood()

    def characters(texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    context = {"likelihood": likelihood, "count_tokens": characters}
    refine({"rerank": {"question_tokens": 3}}, [[hit("a")]] * 2, ["ab endless", "a b c"], **context)
    assert [asked for _, asked in likelihood.calls[0]] == [" endless", " b c"]


def test_a_missing_model_is_told() -> None:
    for by in ("yes_no", "listwise"):
        with pytest.raises(RunError, match=f"rerank by {by} needs the pipeline's language model"):
            refine({"rerank": {"by": by}}, [[hit("a")]])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"by": "cosine", "question_tokens": 9}, "question_tokens has no place with cosine"),
        ({"by": "yes_no", "template": "{{ text }}"}, "template has no place with yes_no"),
        ({"depth": 3}, "depth has no place with query_likelihood"),
        ({"by": "listwise", "depth": 27}, "less than or equal to 26"),
        ({"store": "faiss"}, "store has no place with query_likelihood; it belongs to cosine"),
        ({"by": "cosine", "encoder": ENCODER, "store": "faiss"}, "not both"),
    ],
)
def test_settings_are_checked_at_load(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"rerank": settings})
