"""What the rules that adapt do with real weights: signatures of their papers."""

from __future__ import annotations

import pytest

from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.pipeline import Pipeline

pytestmark = pytest.mark.real

FACTS = [
    ("When was the Eiffel Tower finished?", "The Eiffel Tower in Paris was finished in March 1889."),
    ("Who wrote Middlemarch?", "Middlemarch is a novel by George Eliot, published in 1871."),
    ("What is the tallest mountain in Africa?", "Kilimanjaro, in Tanzania, is the tallest mountain in Africa."),
    ("Who discovered the element radium?", "Radium was discovered by Marie and Pierre Curie in 1898."),
    ("Which river flows through Vienna?", "Vienna lies on both banks of the Danube."),
    ("What is the chemical symbol of tungsten?", "Tungsten, also called wolfram, has the chemical symbol W."),
]


def test_acd_finds_passages_noisier_that_are_off_the_point():
    settings = ["decode.rule=acd", "decode.monitor=signals", "decode.max_new_tokens=1", "decode.draft=[]"]
    with Pipeline.load("conflict", settings) as pipeline:

        def noise(shift):
            """At the first token, over all questions, with the passage of the question that many places further."""
            total = 0.0
            for place, (question, _) in enumerate(FACTS):
                text = FACTS[(place + shift) % len(FACTS)][1]
                answer = pipeline.ask(question, passages=(Passage("p", "x", text, 0.0, 1),))
                total += answer.monitors["signals"]["tokens"][0]["rules"]["acd.noise"]
            return total / len(FACTS)

        gold = noise(0)
        assert noise(1) > gold + 0.05
        assert noise(3) > gold + 0.05


def test_a_passage_about_cheese_does_not_keep_acd_from_knowing_the_capital_of_france():
    cheese = Passage("p", "x", "Cheese is made in the summer from milk of cows that graze on high meadows.", 0.0, 1)
    answers = {}
    for rule in ("cad", "acd"):
        with Pipeline.load("conflict", [f"decode.rule={rule}", "decode.max_new_tokens=24"]) as pipeline:
            answers[rule] = pipeline.ask("What is the capital of France?", passages=(cheese,)).answer
    assert "Paris" in answers["acd"]
    assert "Paris" not in answers["cad"]
