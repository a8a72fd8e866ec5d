"""Metrics over words against references written from their definitions, and ROUGE against Google's own package."""

from __future__ import annotations

import random
import re
import string

import pytest
from rouge_score import rouge_scorer

from ragdecode.evaluation.example import Answered, Example
from ragdecode.evaluation.metrics import evidence_words, short_answers
from ragdecode.evaluation.metrics.rouge import rouge_l, rouge_lsum, rouge_n
from ragdecode.evaluation.metrics.rouge_scores import Rouge, RougeSettings
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.turn import Turn
from ragdecode.spec.settings import NoSettings

WORDS = ["the", "A", "cat", "cats", "cat's", "sat", "on", "mat", "state-of-the-art", "Paris,", "1,903", "an", "Öl", "?"]


def tokens(text):
    """SQuAD's normalisation, step by step."""
    text = text.lower()
    text = "".join(one for one in text if one not in set(string.punctuation))
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return text.split()


def common(one, other):
    left, count = list(other), 0
    for word in one:
        if word in left:
            left.remove(word)
            count += 1
    return count


def precision(said, wanted):
    return common(said, wanted) / len(said) if said else 0.0


def recall(said, wanted):
    return common(said, wanted) / len(wanted) if wanted else 1.0


def f1(said, wanted):
    if not said or not wanted:
        return float(said == wanted)
    p, r = precision(said, wanted), recall(said, wanted)
    return 2 * p * r / (p + r) if p + r else 0.0


KINDS = {
    short_answers.ExactMatch: lambda said, wanted: float(said == wanted),
    short_answers.F1: f1,
    short_answers.Precision: precision,
    short_answers.Recall: recall,
    short_answers.RecallEM: lambda said, wanted: float(" ".join(wanted) in " ".join(said)),
    short_answers.ContainsAnswer: lambda said, wanted: float(
        bool(wanted) and any(said[at : at + len(wanted)] == wanted for at in range(len(said)))
    ),
}


def phrase(draw, most=7):
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(0, most)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_short_answers_equal_the_reference(kind):
    draw = random.Random(kind.__name__)
    metric, seen = kind(NoSettings()), set()
    for _ in range(400):
        answer, golden = phrase(draw), tuple(phrase(draw, 4) for _ in range(draw.randint(1, 3)))
        (value,) = metric.score(Answered(Example("1", "q", golden), answer)).values()
        assert value == pytest.approx(max(KINDS[kind](tokens(answer), tokens(one)) for one in golden)), (answer, golden)
        seen.add(round(value, 3))
    assert {0.0, 1.0} <= seen


def knowledge(name, answer, passages, asked):
    said, known = tokens(answer), tokens(" ".join(passages))
    if name.endswith("++"):
        said = [word for word in said if word not in tokens(" ".join(asked))]
        if not said:
            return 1.0
    return {"k_precision": precision, "k_recall": recall, "k_f1": f1}[name.rstrip("+")](said, known)


@pytest.mark.parametrize(
    "kind",
    [
        getattr(evidence_words, name)
        for name in ("KPrecision", "KRecall", "KF1", "KPrecisionNew", "KRecallNew", "KF1New")
    ],
)
def test_evidence_words_equal_the_reference(kind):
    draw = random.Random(kind.part_name)
    metric, seen = kind(NoSettings()), set()
    for _ in range(300):
        answer, question = phrase(draw), phrase(draw, 3)
        turns = [Turn("user", phrase(draw, 3)) for _ in range(draw.randint(0, 2))]
        texts = [phrase(draw, 9) for _ in range(draw.randint(1, 3))]
        passages = [Passage(str(at), "", text, rank=at + 1) for at, text in enumerate(texts)]
        example = Example("1", question, history=tuple(turns))
        (value,) = metric.score(Answered(example, answer, passages)).values()
        asked = [*(turn.content for turn in turns), question]
        assert value == pytest.approx(knowledge(kind.part_name, answer, texts, asked)), (answer, texts, asked)
        seen.add(round(value, 3))
    assert len(seen) > 5


@pytest.mark.parametrize(
    ("name", "answer", "passage", "question", "value"),
    [
        (
            "k_precision",
            "Paris Paris in France",
            "Paris is in France.",
            "",
            0.75,
        ),  # the second Paris is not there twice
        ("k_recall", "Paris", "Paris is in France.", "", 0.25),
        ("k_f1", "Paris Lyon", "Paris is", "", 0.5),
        ("k_precision++", "Paris", "The capital is Paris.", "capital of France?", 1.0),
        ("k_precision++", "France France Lyon", "Lyon France", "where is France", 1.0),  # all occurrences are taken out
        ("k_precision++", "capital of France", "nothing of it", "capital of France?", 1.0),  # nothing is left
        ("k_recall++", "France Lyon", "Lyon is in France", "France?", 0.25),  # the passages stay whole
        ("k_f1++", "France Lyon", "Lyon in", "France?", 2 / 3),
        ("k_precision++", "", "x", "q", 1.0),
        ("k_precision", "", "x", "q", 0.0),
    ],
)
def test_evidence_words_by_hand(name, answer, passage, question, value):
    kind = next(kind for kind in vars(evidence_words).values() if getattr(kind, "part_name", "") == name)
    answered = Answered(Example("1", question), answer, [Passage("1", "", passage)])
    assert kind(NoSettings()).score(answered)[name] == pytest.approx(value)


def summary(draw):
    lines = [" ".join(draw.choice("abcdef") * draw.randint(1, 2) for _ in range(draw.randint(0, 6))) for _ in range(3)]
    return "\n".join(lines)


def test_rouge_is_that_of_rouge_score():
    draw = random.Random(8)
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    theirs = rouge_scorer.RougeScorer(kinds, use_stemmer=False)
    for _ in range(300):
        text, references = summary(draw), [summary(draw) for _ in range(draw.randint(1, 3))]
        wanted = theirs.score_multi(references, text)
        found = {
            "rouge1": rouge_n(text, references, 1),
            "rouge2": rouge_n(text, references, 2),
            "rougeL": rouge_l(text, references),
            "rougeLsum": rouge_lsum(text, references, str.splitlines),
        }
        for kind in kinds:
            assert found[kind] == pytest.approx(wanted[kind].fmeasure), (kind, text, references)


def test_the_metric_rouge_is_that_of_rouge_score_with_sentences_as_lines():
    text = "The mill stands at the river. It was built in 1842! Who built it?"
    golden = ("A mill was built at the river in 1842. Nobody knows who built it.", "The mill is old.")
    kinds = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    found = Rouge(RougeSettings(variants=kinds)).score(Answered(Example("1", "q", golden), text))
    theirs = rouge_scorer.RougeScorer(list(kinds), use_stemmer=False)

    def lines(one):
        return re.sub(r"(?<=[.!?]) ", "\n", one)

    wanted = theirs.score_multi([lines(one) for one in golden], lines(text))
    assert found == pytest.approx({kind: wanted[kind].fmeasure for kind in kinds})
