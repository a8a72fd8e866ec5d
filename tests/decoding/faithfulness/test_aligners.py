"""Aligners: what supports a sentence, where, and what does not."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from ragdecode.decoding.aligners.entailment import MODEL, Entailment, EntailmentSettings
from ragdecode.decoding.aligners.lexical import ENCODER, Lexical, LexicalSettings
from ragdecode.errors import InputError
from ragdecode.spec.model import ModelSpec

TOWER = "The tower was built in 1889 by Gustave Eiffel. It is 1,330 metres tall, and stands in Paris."
CATS = "Cats sleep a lot. They like fish."
PASSAGES = [CATS, TOWER]
WORDS = Lexical(LexicalSettings(encoder=None))


def score(sentence: str, passages=PASSAGES) -> float | None:
    return WORDS.align(sentence, passages).score


def test_a_copied_sentence_has_full_support_at_its_place():
    found = WORDS.align("It is 1,330 metres tall, and stands in Paris.", PASSAGES)
    assert found.score == pytest.approx(1)
    assert found.passage == 1
    (span,) = found.spans
    assert PASSAGES[span.passage][span.start : span.end] == "It is 1,330 metres tall, and stands in Paris."


def test_numbers_and_names_that_the_evidence_lacks_count_against_a_sentence():
    right, number, name = (
        score(f"The tower was built in {year} by Gustave {name}.")
        for year, name in ((1889, "Eiffel"), (1912, "Eiffel"), (1889, "Smith"))
    )
    assert right > 2 * number * 0.9
    assert right > name
    assert score("It is 1330 metres tall.") > score("It is 1340 metres tall.")  # thousands with or without a comma


def test_what_has_nothing_in_common_has_no_support_and_no_place():
    found = WORDS.align("Bananas grow quickly.", PASSAGES)
    assert found.score == 0
    assert found.passage is None
    assert found.passages == ()


def test_rare_words_count_more_than_common_ones():
    passages = ["the the the the the the the zebra of the the of"]
    assert score("zebra lion", passages) > score("the lion", passages) > 0


@pytest.mark.parametrize("sentence", ["...", "—", "", "   ", "```\n```", "🙂"])
def test_a_sentence_without_words_has_no_score(sentence):
    assert WORDS.align(sentence, PASSAGES).score is None


@pytest.mark.parametrize("passages", [[""], ["   "], ["…"], []])
def test_evidence_without_words_supports_nothing(passages):
    assert score("A tower.", passages) in (0, 0.0)


@pytest.mark.parametrize(
    ("passage", "right", "wrong"),
    [
        ("東京は日本の首都です。人口は多い。", "東京は首都です。", "大阪の猫は黒い。"),
        ("दिल्ली भारत की राजधानी है। वहाँ भीड़ है।", "दिल्ली राजधानी है।", "मुंबई में समुद्र नीला।"),
        ("القاهرة عاصمة مصر. المدينة كبيرة.", "القاهرة عاصمة مصر.", "باريس مدينة جميلة؟"),
        ("def add(a, b):\n    return a + b", "return a + b", "import os"),
    ],
)
def test_other_scripts_and_code(passage, right, wrong):
    assert score(right, [passage]) > 0.8
    assert score(wrong, [passage]) < 0.4


def test_a_single_word_and_a_very_long_sentence():
    assert score("Paris", PASSAGES) == pytest.approx(1)
    long = " ".join(f"word{place} the tower" for place in range(4000))
    started = time.process_time()
    found = WORDS.align(long, [TOWER * 50])
    assert 0 < found.score < 1
    assert time.process_time() - started < 5


def test_the_cosine_comes_from_the_encoder_and_is_asked_for_once_a_passage():
    asked = []

    def encode(texts):
        asked.append(list(texts))
        return np.asarray([[1.0, 0.0] if "tower" in text or "spire" in text else [0.0, 1.0] for text in texts])

    aligner = Lexical(LexicalSettings())
    session = aligner.start(PASSAGES, {ENCODER: encode})
    assert session.align("A spire of iron.").parts["cosine"] == 1
    assert session.align("Nothing.").parts["cosine"] == 1  # like the sentences without the word
    assert len(asked) == 3
    assert asked[0] == ["Cats sleep a lot.", "They like fish.", *_sentences(TOWER)]
    assert "cosine" not in aligner.start(PASSAGES, {}).align("A spire.").parts


def _sentences(text):
    return [text[: text.index("It")].strip(), text[text.index("It") :]]


def test_an_encoder_that_makes_no_number_of_a_text_does_not_spoil_the_score():
    session = Lexical(LexicalSettings()).start(PASSAGES, {ENCODER: lambda texts: np.full((len(texts), 2), np.nan)})
    assert math.isfinite(session.align("The tower.").score)


def entailment(words: int = 350) -> Entailment:
    spec = ModelSpec(name="nli", kind="cross_encoder", source={"path": {"path": "/nowhere"}})
    return Entailment(EntailmentSettings(model=spec, words=words))


def test_entailment_takes_the_best_chunk_and_names_its_sentence():
    seen = []

    def judge(pairs):
        seen.extend(pairs)
        return [0.9 if "1889" in premise else 0.1 for premise, _ in pairs]

    found = entailment().align("Gustave Eiffel built it.", PASSAGES, {MODEL: judge})
    assert [premise for premise, _ in seen] == [CATS, TOWER]
    assert found.score == 0.9
    assert found.passages == (1,)
    assert TOWER[found.spans[0].start : found.spans[0].end].startswith("The tower was built")


def test_chunks_are_whole_sentences_and_lose_nothing():
    text = " ".join(f"This is sentence number {place} of many." for place in range(60))
    seen = []
    entailment(words=40).align(
        "Many sentences.", [text], {MODEL: lambda pairs: seen.extend(pairs) or [0.2] * len(pairs)}
    )
    chunks = [premise for premise, _ in seen]
    assert " ".join(chunks) == text
    assert all(len(chunk.split()) <= 40 and chunk.endswith(".") for chunk in chunks)
    assert min(len(chunk.split()) for chunk in chunks[:-1]) > 30


def test_a_weak_entailment_supports_nothing():
    found = entailment().align("A tower.", PASSAGES, {MODEL: lambda pairs: [0.3] * len(pairs)})
    assert found.score == 0.3
    assert found.passage is None


def test_entailment_without_its_model_says_so():
    with pytest.raises(InputError, match="needs its model"):
        entailment().start(PASSAGES, {})
