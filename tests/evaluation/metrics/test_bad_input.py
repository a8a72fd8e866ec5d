"""Answers, evidence and examples that lack something: every metric says so, and none gives a number that is none."""

from __future__ import annotations

import json
import math

import pytest

from ragdecode.evaluation.example import Answered, Example
from ragdecode.evaluation.metric import CellMetric, CellRecords, Metric
from ragdecode.evaluation.runs.record import Cell, Failure, Record
from ragdecode.evaluation.runs.summarise import Plan, summarise
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.registry import parts
from ragdecode.spec.settings import NoSettings

MODEL = {"kind": "cross_encoder", "source": {"path": {"path": "/models/judge"}}}
ANSWERS = [
    "",
    "   \n",
    "?!",
    "the",
    "Paris.",
    "北京是首都。",
    "🙂 [1][2][99]",
    "[1]",
    "ja\u0301 \x00 \ud83d",
    "a " * 3000,
]
PASSAGES = [[], [""], ["..."], ["Paris is the capital."], ["北京是中国的首都。", "🙂"]]
GOLDEN = [(), ("",), ("the",), ("Paris",), ("北京", "")]


class Judge:
    """Says yes to everything, and fails on what no model could be given."""

    def entails(self, model):
        def judge(pairs):
            assert all(isinstance(text, str) for pair in pairs for text in pair)
            return [1.0] * len(pairs)

        return judge

    def similarity(self, model):
        return self.entails(model)


def every(kind):
    found = []
    for info in parts("metric").values():
        if not issubclass(info.cls, kind):
            continue
        fields = info.settings.model_fields
        settings = info.settings(**({"model": MODEL} if "model" in fields else {}))
        metric = info.cls(settings)
        if isinstance(metric, Metric):
            metric.open(Judge())
        found.append(metric)
    return found


@pytest.mark.parametrize("metric", every(Metric), ids=lambda metric: metric.part_name)
def test_no_answer_breaks_a_metric(metric):
    for answer in ANSWERS:
        for texts in PASSAGES:
            passages = [Passage(f"p{at}", "", text, rank=at + 1) for at, text in enumerate(texts)]
            for golden in GOLDEN:
                example = Example("1", "Which?", golden, originals=golden[:1], relevant={"p0": 1} if texts else {})
                found = metric.score(Answered(example, answer, passages))
                assert set(found) == set(metric.facts)
                for name, value in found.items():
                    assert value is None or math.isfinite(value), (name, answer, texts, golden)
                    if value is not None and name != "length":
                        assert 0.0 <= value <= 1.0, (name, answer, texts, golden)


def test_metrics_of_what_is_missing_have_no_value():
    lacking = Answered(Example("1", "q"), "Paris.")
    for metric in every(Metric):
        if metric.part_name in ("length", "citations"):
            continue
        assert set(metric.score(lacking).values()) == {None}, metric.part_name
    assert {metric.part_name for metric in every(Metric)} >= {"exact_match", "rouge", "entailed", "choice", "retrieval"}


@pytest.mark.parametrize("metric", every(CellMetric), ids=lambda metric: metric.part_name)
def test_cells_without_what_a_metric_reads_have_no_value_and_say_why(metric):
    cell = Cell("p", "d")
    bare = Record(cell, "1", "q", answer="x")
    half = Record(cell, "2", "q", answer="x", metrics=dict.fromkeys(metric.reads), stats={"confidence": None})
    for records in ([], [bare], [bare, half]):
        group = CellRecords(records, {})
        found = metric.of_cell(group)
        assert set(found) == set(metric.facts)
        assert all(value is None for value in found.values()), found
        assert metric.why(group)
        json.dumps(metric.curve(group), allow_nan=False)


def test_the_summary_counts_what_has_no_value():
    cell = Cell("p", "d")
    metrics = [metric for metric in every(Metric) if isinstance(metric.settings, NoSettings)]
    records = []
    for at, (answer, texts) in enumerate(zip(ANSWERS, PASSAGES * 2, strict=True)):
        passages = [Passage("p", "", text) for text in texts]
        answered = Answered(Example(str(at), "q", ("Paris",) if at % 2 else ()), answer, passages)
        values = {name: value for metric in metrics for name, value in metric.score(answered).items()}
        records.append(Record(cell, str(at), "q", answer=answer, metrics=values))
    records.append(Record(cell, "x", "q", error=Failure("input", "the question is empty")))
    plan = Plan("run", "0", {cell: len(records)}, {}, metrics, every(CellMetric), "p")
    summary = summarise(plan, records)
    json.dumps(summary, allow_nan=False)
    (one,) = summary["cells"]
    assert (one["failed"], one["failures"], one["answered"]) == (1, {"input": 1}, len(ANSWERS))
    assert one["metrics"]["exact_match"]["n"] == len(ANSWERS) // 2
    assert one["metrics"]["exact_match"]["missing"] == len(ANSWERS) - len(ANSWERS) // 2
    assert one["metrics"]["k_precision"]["missing"] == 2
    assert one["metrics"]["choice"] == {
        "mean": None, "low": None, "high": None, "n": 0, "missing": len(ANSWERS), "why": "no sample has a value"
    }  # fmt: skip
    assert one["metrics"]["auroc"]["why"]
