"""Stages that work on passages, and the information-bottleneck score, under the default language model."""

from __future__ import annotations

import pytest

from ragdecode.evaluation.metrics.information_bottleneck import Compressed, ib_scores, of_pipeline
from ragdecode.pipeline.generation import Writer
from ragdecode.pipeline.likelihood import QueryLikelihood
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from tests.retrieval.chains import stages
from tests.retrieval.passages import hit

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


def refine(pipeline, written, hits, questions):
    """What one stage makes of hits, with the pipeline's own model."""
    (part,) = stages(written)
    likelihood = QueryLikelihood(pipeline._models)
    context = RetrievalContext(
        likelihood=likelihood,
        generate=Writer(pipeline._models, pipeline.loaded.spec.engine),
        count_tokens=lambda texts: [len(pipeline.tokenizer.encode(text, special=False)) for text in texts],
    )
    return part.build().refine([Query(question) for question in questions], hits, context)


def test_evidence_keeps_what_holds_the_answer_and_backs_off_without_it(pipeline):
    hits = [hit(text, 1.0 - at / 10, start=100 * at) for at, text in enumerate(SENTENCES)]
    useless = [one for one in hits if "Aven" not in one.passage.text]
    questions = [QUESTION, QUESTION, "What is the capital of Italy?"]
    kept, nothing, same = refine(pipeline, {"evidence": {"margin": 1.0}}, [hits, useless, useless], questions)
    assert [one.passage.text for one in kept] == [SENTENCES[1]]
    assert nothing == []
    assert same == useless  # the answer is Rome, with them or without
