"""The summary of a journal: means, intervals, failures, speed and comparisons, against figures made apart."""

from __future__ import annotations

import json
import random
from itertools import product
from statistics import fmean

import pytest

from ragdecode.evaluation.paired import holm, permutation_test
from ragdecode.evaluation.runs.record import Cell, Record
from ragdecode.evaluation.runs.summarise import summarise
from tests.evaluation.runs.sample_run import sample_plan, sample_records, write_sample_run


@pytest.fixture(scope="module")
def run():
    plan = sample_plan()
    records = sample_records(plan)
    return plan, records, summarise(plan, records)


def test_records_survive_the_journal(run):
    for record in run[1]:
        line = json.loads(json.dumps(record.to_json(), allow_nan=False))
        assert Record.from_json(line).to_json() == line
        assert line["system"] == record.cell.system


def test_cells_have_keys_of_their_own():
    cells = [Cell(*one) for one in product("ab", "xy", [{}, {"k": 1}, {"k": 1.5}, {"k": "1"}], [0, 1])]
    assert len({cell.key for cell in cells}) == len(cells)
    assert Cell("a", "x", {"k": 1, "l": 2}).key == Cell("a", "x", {"l": 2, "k": 1}).key
    assert Cell("cad", "nq", {"decode.rule.cad.alpha": 0.5}).system == "cad (decode.rule.cad.alpha=0.5)"


def test_means_are_over_answered_samples(run):
    plan, records, summary = run
    assert summary["complete"]
    assert [cell["cell"] for cell in summary["cells"]] == [cell.key for cell in plan.cells]
    for cell in summary["cells"]:
        own = [record for record in records if record.cell.key == cell["cell"]]
        answered = [record for record in own if record.error is None]
        assert (cell["samples"], cell["answered"], cell["failed"]) == (
            len(own),
            len(answered),
            len(own) - len(answered),
        )
        assert sum(cell["failures"].values()) == cell["failed"]
        for name in ("f1", "length"):
            figure = cell["metrics"][name]
            assert figure["mean"] == pytest.approx(fmean(record.metrics[name] for record in answered))
            assert figure["low"] <= figure["mean"] <= figure["high"]
        tokens = sum(record.stats["new_tokens"] for record in answered)
        seconds = sum(sum(record.stats["seconds"][key] for key in ("prefill", "decode")) for record in answered)
        assert cell["speed"]["tokens_per_second"] == pytest.approx(tokens / seconds)
        assert 0 < cell["metrics"]["auroc"]["low"] <= cell["metrics"]["auroc"]["mean"] <= 1
        assert set(cell["curves"]["confidence"]) == {"roc", "calibration", "risk_coverage"}
    assert sum(cell["failed"] for cell in summary["cells"]) == summary["failed"] > 0
    json.dumps(summary, allow_nan=False)


def test_the_order_of_lines_changes_nothing(run):
    plan, records, summary = run
    mixed = list(records)
    random.Random(1).shuffle(mixed)
    assert summarise(plan, mixed) == summary


def test_comparisons_are_paired_and_corrected(run):
    _, records, summary = run
    found = [one for one in summary["comparisons"] if one["metric"] == "f1"]
    assert len(found) == 4  # two systems against the baseline, two data sets
    for one in found:
        scores = {}
        for record in records:
            if record.error is None and record.cell.dataset == one["dataset"]:
                scores.setdefault(record.cell.system, {})[record.id] = record.metrics["f1"]
        both = scores[one["system"]].keys() & scores["plain"].keys()
        assert one["n"] == len(both)
        assert one["difference"] == pytest.approx(
            fmean(scores[one["system"]][name] - scores["plain"][name] for name in both)
        )
        assert one["p"] <= one["p_holm"] <= 1
    assert [one["p_holm"] for one in found] == holm([one["p"] for one in found])


def test_an_empty_journal_has_no_numbers_and_says_so():
    summary = summarise(sample_plan(), [])
    assert not summary["complete"]
    figure = summary["cells"][0]["metrics"]["f1"]
    assert (figure["mean"], figure["why"]) == (None, "no sample was answered")
    assert summary["cells"][0]["metrics"]["auroc"]["mean"] is None
    assert summary["comparisons"][0]["p_holm"] is None
    json.dumps(summary, allow_nan=False)


def test_seeds_are_averaged_before_comparing():
    plan = sample_plan(1)
    cells = {Cell(name, "d", {}, seed): 2 for name in ("plain", "other") for seed in (0, 1)}
    values = {("plain", 0): 0.0, ("plain", 1): 1.0, ("other", 0): 1.0, ("other", 1): 1.0}
    stats = sample_records(sample_plan())[0].stats
    records = [
        Record(cell, name, "q", answer="x", metrics={"f1": values[cell.pipeline, cell.seed]}, stats=stats)
        for cell in cells
        for name in ("a", "b")
    ]
    summary = summarise(type(plan)(**(vars(plan) | {"cells": cells, "cell_metrics": ()})), records)
    (one,) = [one for one in summary["comparisons"] if one["metric"] == "f1"]
    assert (one["n"], one["difference"]) == (2, 0.5)


def test_the_sample_is_written(tmp_path):
    folder = write_sample_run(tmp_path / "run", 6)
    assert len((folder / "predictions.jsonl").read_text().splitlines()) == 36
    assert json.loads((folder / "summary.json").read_text())["format"] == 1


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.25, -0.125], [0.0, 1.0, 1.0, 1.0, 1.0, -1.0], [0.1] * 9])
def test_few_differences_are_tried_one_by_one(values):
    known = [one for one in values if one]
    seen = abs(sum(known))
    patterns = [sum(s * v for s, v in zip(signs, known, strict=True)) for signs in product((1, -1), repeat=len(known))]
    expected = sum(abs(one) >= seen - 1e-9 for one in patterns) / len(patterns)
    assert permutation_test(values) == pytest.approx(expected)


def test_many_differences_are_sampled():
    draw = random.Random(2)
    noise = [draw.gauss(0, 1) for _ in range(200)]
    assert permutation_test(noise) > 0.05
    assert permutation_test([one + 0.5 for one in noise]) < 0.001
    assert permutation_test(noise) == permutation_test(noise)  # seeded
    assert permutation_test([]) is None
    assert permutation_test([0.0, 0.0]) == 1.0


def test_p_values_are_right_where_nothing_differs():
    draw = random.Random(4)
    small = [permutation_test([draw.gauss(0, 1) for _ in range(30)], resamples=400) for _ in range(300)]
    assert 0.02 < sum(p <= 0.05 for p in small) / len(small) < 0.09


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.6]) == [1.0, None, 1.0]
    assert holm([]) == []
