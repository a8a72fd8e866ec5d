"""Conflicts, choices, confidence and retrieval against scikit-learn, pytrec_eval and plain counting."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import pytrec_eval
from sklearn import metrics as sklearn

from ragdecode.evaluation.example import Answered, Example
from ragdecode.evaluation.metric import CellRecords
from ragdecode.evaluation.metrics import detection
from ragdecode.evaluation.metrics.found_passages import RetrievalScores, RetrievalSettings
from ragdecode.evaluation.metrics.memorisation import (
    Conflict,
    ConflictSettings,
    Memorisation,
    MemorisationSettings,
)
from ragdecode.evaluation.metrics.options import Choice
from ragdecode.evaluation.metrics.selective import Confidence, ConfidenceSettings
from ragdecode.evaluation.runs.record import Cell, Record
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.settings import NoSettings

ANSWERS = ["Paris", "Lyon", "It is Paris.", "Not Lyon but Paris", "I do not know", "", "the PARIS!"]


@pytest.mark.parametrize(
    ("match", "says"),
    [
        ("exact", ["original", "substitute", "other", "other", "other", "other", "original"]),
        ("contains", ["original", "substitute", "original", "other", "other", "other", "original"]),
    ],
)
def test_answers_to_changed_passages_by_hand(match, says):
    metric = Conflict(ConflictSettings(match=match))
    example = Example("1", "q", ("Lyon",), originals=("Paris", "City of Paris"))
    for answer, wanted in zip(ANSWERS, says, strict=True):
        found = metric.score(Answered(example, answer))
        assert found == {f"says_{name}": float(name == wanted) for name in ("substitute", "original", "other")}, answer
    assert set(metric.score(Answered(Example("1", "q", ("Lyon",)), "Lyon")).values()) == {None}


def conflicts(draw, dataset, count=60):
    """Records whose answers are the original, the substitute or neither, and whether each is right."""
    records = []
    for number in range(count):
        kind = draw.choice(["original", "substitute", "other"])
        values = {f"says_{name}": float(name == kind) for name in ("original", "substitute", "other")}
        values["exact_match"] = float(draw.random() < 0.5)
        records.append(Record(Cell("p", dataset), str(number), "q", answer="x", metrics=values))
    return records


def test_the_memorisation_ratio_counts_what_was_known():
    draw = random.Random(4)
    known, swapped = conflicts(draw, "real"), conflicts(draw, "swapped")
    for name in ("", "real"):
        metric = Memorisation(MemorisationSettings(known=name))
        original = substitute = 0
        for before, after in zip(known, swapped, strict=True):
            if name and before.metrics["exact_match"] != 1.0:
                continue
            original += after.metrics["says_original"] == 1.0
            substitute += after.metrics["says_substitute"] == 1.0
        found = metric.of_cell(CellRecords(swapped, {"real": known}))
        assert found == {"memorisation_ratio": pytest.approx(original / (original + substitute))}
    nobody = [Record(Cell("p", "d"), "1", "q", answer="x", metrics={"says_original": 0.0, "says_substitute": 0.0})]
    metric = Memorisation(MemorisationSettings())
    assert metric.of_cell(CellRecords(nobody, {})) == {"memorisation_ratio": None}
    assert metric.why(CellRecords(nobody, {}))


@pytest.mark.parametrize(
    ("values", "correct", "wanted"),
    [
        ((-3.0, -2.5), 1, 1.0),
        ((-3.0, -2.5), 0, 0.0),
        ((-2.5, -2.5), 0, 0.0),  # a tie is no choice
        ((-9.0, -4.0, -3.9, -8.0), 2, 1.0),
        ((-3.0,), 0, None),  # nothing to choose from
        ((), None, None),
    ],
)
def test_a_choice_is_the_most_probable_option(values, correct, wanted):
    example = Example("1", "q", options=tuple("abcd"[: len(values)]), correct=correct)
    assert Choice(NoSettings()).score(Answered(example, "", options=values)) == {"choice": wanted}


def scored(draw, count):
    """Scores with ties, and labels of both kinds that follow them somewhat."""
    scores = [draw.randrange(12) / 12 for _ in range(count)]
    labels = [draw.random() < 0.2 + 0.6 * score for score in scores]
    return scores, [True, False, *labels[2:]]


def test_detection_is_that_of_scikit_learn():
    draw = random.Random(6)
    for _ in range(100):
        scores, labels = scored(draw, draw.randint(4, 60))
        assert detection.labelled_auroc(scores, labels) == pytest.approx(sklearn.roc_auc_score(labels, scores))
        wanted = sklearn.average_precision_score(labels, scores)
        assert detection.average_precision(scores, labels) == pytest.approx(wanted)
        border = draw.random()
        wanted = sklearn.balanced_accuracy_score(labels, [score >= border for score in scores])
        assert detection.balanced_accuracy(scores, labels, border) == pytest.approx(wanted)
        false, true, thresholds = sklearn.roc_curve(labels, scores, drop_intermediate=False)
        found = detection.roc_curve(scores, labels)
        assert [point.x for point in found] == pytest.approx(false.tolist())
        assert [point.y for point in found] == pytest.approx(true.tolist())
        assert [point.threshold for point in found] == pytest.approx(thresholds.tolist())


def confident(scores, labels):
    return [
        Record(Cell("p", "d"), str(at), "q", answer="x", metrics={"f1": float(label)}, stats={"confidence": score})
        for at, (score, label) in enumerate(zip(scores, labels, strict=True))
    ]


def test_confidence_of_a_cell_equals_references():
    draw = random.Random(9)
    metric = Confidence(ConfidenceSettings(right="f1", bins=5))
    for _ in range(30):
        scores, labels = scored(draw, draw.randint(12, 40))
        found = metric.of_cell(CellRecords(confident(scores, labels), {}))
        assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(labels, scores))
        assert found["auprc"] == pytest.approx(sklearn.average_precision_score(labels, scores))
        assert found["base_rate"] == pytest.approx(np.mean(labels))
        # calibration: five bins of equal mass, sizes that differ by at most one
        rising = sorted(zip(scores, labels, range(len(scores)), strict=True), key=lambda one: (one[0], one[2]))
        ends = [0]
        for number in range(5):
            ends.append(ends[-1] + len(rising) // 5 + (number < len(rising) % 5))
        gaps = [abs(sum(one[0] for one in rising[a:b]) - sum(one[1] for one in rising[a:b])) for a, b in pairwise(ends)]
        assert found["ece"] == pytest.approx(sum(gaps) / len(rising))
        # risk against coverage: ties are taken in a mean order
        falling = sorted(set(scores), reverse=True)
        expected, taken = [], 0.0
        for level in falling:
            own = [label for score, label in zip(scores, labels, strict=True) if score == level]
            for _ in own:
                taken += sum(own) / len(own)
                expected.append(taken)
        risks = [1 - hits / (at + 1) for at, hits in enumerate(expected)]
        assert found["aurc"] == pytest.approx(np.mean(risks))
        for share in (50, 80):
            count = max(1, round(share / 100 * len(scores)))
            assert found[f"accuracy@{share}"] == pytest.approx(expected[count - 1] / count)


def test_the_threshold_of_a_cell_comes_from_the_other_half():
    scores = [0.9, 0.8, 0.2, 0.7, 0.6, 0.1, 0.3, 0.2]
    labels = [True, True, False, False, True, False, False, True]
    halves = [(scores[side::2], labels[side::2]) for side in (0, 1)]
    values = []
    for (dev, dev_labels), (test, test_labels) in (halves[::-1], halves):
        best = max(
            sorted(set(dev)),
            key=lambda border: (
                round(sklearn.balanced_accuracy_score(dev_labels, [one >= border for one in dev]), 9),
                border,
            ),
        )
        values.append(sklearn.balanced_accuracy_score(test_labels, [one >= best for one in test]))
    found = Confidence(ConfidenceSettings(right="f1")).of_cell(CellRecords(confident(scores, labels), {}))
    assert found["balanced_accuracy"] == pytest.approx(np.mean(values))


def test_retrieval_is_that_of_trec_eval_over_documents():
    draw = random.Random(2)
    measures = ("recall@1", "recall@5", "mrr@10", "ndcg@10", "ndcg@3", "precision@5")
    names = {"recall": "recall", "ndcg": "ndcg_cut", "precision": "P"}
    metric = RetrievalScores(RetrievalSettings(measures=measures))
    for _ in range(60):
        documents = [f"d{at}" for at in range(12)]
        grades = {one: draw.choice([0, 0, 1, 2]) for one in draw.sample(documents, 6)}
        if not any(grades.values()):
            continue
        ranking = draw.sample(documents, draw.randint(1, 10))
        # some documents come again as later passages: only their first one ranks
        shown = [*ranking, *draw.sample(ranking, min(2, len(ranking)))]
        passages = [Passage(f"{one}#{at}", one, "x", 1.0, at + 1, {"record": one}) for at, one in enumerate(shown)]
        found = metric.score(Answered(Example("1", "q", relevant=grades), "x", passages))
        run = {"q": {one: float(-at) for at, one in enumerate(ranking)}}
        wanted = {f"{names[name]}.{cut}" for name, _, cut in (one.partition("@") for one in measures) if name in names}
        theirs = pytrec_eval.RelevanceEvaluator({"q": grades}, {*wanted, "recip_rank"}).evaluate(run)["q"]
        for one in measures:
            name, _, cut = one.partition("@")
            value = theirs["recip_rank"] if name == "mrr" else theirs[f"{names[name]}_{cut}"]
            assert found[f"retrieval_{one}"] == pytest.approx(value), (one, grades, ranking)


def test_retrieval_without_judgements_has_no_value():
    metric = RetrievalScores(RetrievalSettings())
    for grades in ({}, {"a": 0, "b": -1}):
        assert set(metric.score(Answered(Example("1", "q", relevant=grades), "x")).values()) == {None}
    nothing = metric.score(Answered(Example("1", "q", relevant={"a": 1}), "x", []))
    assert nothing == {"retrieval_recall@5": 0.0, "retrieval_mrr@10": 0.0, "retrieval_ndcg@10": 0.0}
