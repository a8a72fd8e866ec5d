"""Stages that work on passages, and the information-bottleneck score, under the default language model."""

from __future__ import annotations

import pytest

from ragdecode.evaluation.metrics.information_bottleneck import Compressed, ib_scores, of_pipeline
from ragdecode.pipeline.pipeline import Pipeline

pytestmark = pytest.mark.real

QUESTION = "Who built the bridge of Tollin?"
ANSWER = "Clara Aven"
SENTENCES = [
    "The river Oss runs through the town of Tollin.",
    "The bridge of Tollin was built by Clara Aven.",
    "On Sundays the people of Tollin sell their cheese.",
    "A tower of grey stone stands beside the old mill.",
]
SOURCE = " ".join(SENTENCES)


@pytest.fixture(scope="module")
def pipeline():
    with Pipeline.load("docs-qa") as opened:
        yield opened


def test_the_compression_that_holds_the_answer_scores_best(pipeline):
    texts = {"full": SOURCE, "empty": "", **dict(zip("abcd", SENTENCES, strict=True))}
    cases = [Compressed(QUESTION, SOURCE, text, ANSWER) for text in texts.values()]
    scores = dict(zip(texts, ib_scores(cases, of_pipeline(pipeline)), strict=True))
    # one sentence is about as long as another: only one holds the answer
    assert all(scores["b"].answer > scores[name].answer for name in "acd")
    assert all(scores["b"].score < scores[name].score for name in "acd")
    assert max(scores, key=lambda name: scores[name].source) == "full"
    assert min(scores, key=lambda name: scores[name].answer) == "empty"
