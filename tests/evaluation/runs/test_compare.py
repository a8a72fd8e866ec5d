"""Two runs held against each other, against figures worked out apart from the journal's lines."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from statistics import fmean

import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.paired import holm, permutation_test
from ragdecode.evaluation.report.compare import page
from ragdecode.evaluation.runs.compare import compare
from ragdecode.evaluation.runs.pairing import Side, pairs
from ragdecode.evaluation.runs.record import Cell, Failure
from ragdecode.evaluation.runs.summarise import summarise
from tests.evaluation.report.chromium import after, needs_browser
from tests.evaluation.runs.sample_run import sample_plan, sample_records

METRICS = ("f1", "recall", "k_precision", "length")


def side(plan, records):
    return Side(summarise(plan, records), records)


def better(records, chance, system="plain"):
    """The same run, in which a system more often answers as the best one did, and faster."""
    draw, right = random.Random(5), {}
    for record in records:
        if record.metrics.get("recall") == 1.0:
            right[record.cell.dataset, record.id] = record
    changed = []
    for record in records:
        other = right.get((record.cell.dataset, record.id))
        if record.cell.system == system and record.error is None and other and draw.random() < chance:
            seconds = {name: value / 2 for name, value in record.stats["seconds"].items()}
            changed.append(replace(other, cell=record.cell, stats={**record.stats, "seconds": seconds}))
        else:
            changed.append(record)
    return changed


@pytest.fixture(scope="module")
def both():
    plan = sample_plan(40)
    records = sample_records(plan)
    return side(plan, records), side(plan, better(records, 0.9))


def lines(one, system, dataset):
    return {
        record.id: record for record in one.records if (record.cell.system, record.cell.dataset) == (system, dataset)
    }


def test_differences_are_of_the_same_examples(both):
    a, b = both
    result = compare(a, b, pairs(a, b))
    assert len(result["comparisons"]) == 3 * 2 * 6
    for one in result["comparisons"]:
        own, theirs = lines(a, one["baseline"], one["dataset"]), lines(b, one["system"], one["dataset"])
        ids = [name for name in own if own[name].error is None and theirs[name].error is None]
        differences = [theirs[name].metrics[one["metric"]] - own[name].metrics[one["metric"]] for name in sorted(ids)]
        assert one["n"] == len(ids)
        assert one["difference"] == pytest.approx(fmean(differences))
        assert one["a"] == pytest.approx(fmean(own[name].metrics[one["metric"]] for name in ids))
        assert one["b"] - one["a"] == pytest.approx(one["difference"])
        assert one["low"] <= one["difference"] <= one["high"]
        assert one["p"] == permutation_test(differences)
        assert (one["better"], one["worse"]) == (sum(d > 0 for d in differences), sum(d < 0 for d in differences))
        assert one["better"] + one["worse"] + one["same"] == one["n"]
    assert [one["p_holm"] for one in result["comparisons"]] == holm([one["p"] for one in result["comparisons"]])
    found = {
        (one["system"], one["dataset"]): one["p_holm"] for one in result["comparisons"] if one["metric"] == "recall"
    }
    assert found["plain", "towns"] < 0.05
    assert found["cad (decode.rule.cad.alpha=1.0)", "towns"] == 1.0
    json.dumps(result, allow_nan=False)


def test_what_changed_is_what_differs(both):
    a, b = both
    result = compare(a, b, pairs(a, b), METRICS)
    wanted = set()
    for one in a.records:
        other = lines(b, one.cell.system, one.cell.dataset)[one.id]
        if one.answer != other.answer or any(one.metrics.get(name) != other.metrics.get(name) for name in METRICS):
            wanted.add((one.cell.system, one.cell.dataset, one.id))
    assert {(one["system"], one["dataset"], one["id"]) for one in result["changed"]} == wanted
    assert len(wanted) > 5
    sizes = [one["size"] for one in result["changed"]]
    assert sizes == sorted(sizes, reverse=True)
    assert result["changed"][0]["metrics"]["recall"] == {"a": 0.0, "b": 1.0}
    assert {one["size"] for one in result["changed"] if set(one["metrics"]) == {"length"}} <= {0.5, 5 / 11}  # of words


def test_speed_is_a_ratio_over_the_same_examples(both):
    a, b = both
    for one in compare(a, b, pairs(a, b))["speed"]:
        own, theirs = lines(a, one["baseline"], one["dataset"]), lines(b, one["system"], one["dataset"])
        ids = [name for name in own if own[name].error is None and theirs[name].error is None]

        def rate(records, ids=ids):
            seconds = sum(sum(records[name].stats["seconds"][key] for key in ("prefill", "decode")) for name in ids)
            return sum(records[name].stats["new_tokens"] for name in ids) / seconds

        assert one["a"] == pytest.approx(rate(own))
        assert one["b"] == pytest.approx(rate(theirs))
        assert one["ratio"] == pytest.approx(rate(theirs) / rate(own))
        assert one["low"] <= one["ratio"] <= one["high"]
        if one["system"] != "plain":
            assert one["low"] == one["high"] == pytest.approx(1.0)


def test_equal_runs_do_not_differ():
    plan = sample_plan(8)
    one = side(plan, sample_records(plan))
    result = compare(one, one, pairs(one, one))
    assert {entry["difference"] for entry in result["comparisons"]} == {0.0}
    assert {entry["p_holm"] for entry in result["comparisons"]} == {1.0}
    assert result["changed"] == []
    assert result["notes"] == []


def only(plan, records, system, name):
    """A run of one system under another name."""
    cells = {Cell(name, cell.dataset): count for cell, count in plan.cells.items() if cell.system == system}
    kept = [replace(one, cell=Cell(name, one.cell.dataset)) for one in records if one.cell.system == system]
    return side(type(plan)(**(vars(plan) | {"cells": cells, "baseline": name})), kept)


def test_systems_of_other_names_are_paired_where_that_is_clear_or_said():
    plan = sample_plan(6)
    records = sample_records(plan)
    whole, single, other = side(plan, records), only(plan, records, "plain", "new"), only(plan, records, "plain", "old")
    assert {(pair.a, pair.b) for pair in pairs(other, single)} == {("old", "new")}
    with pytest.raises(InputError, match="no pipeline of the same name"):
        pairs(whole, single)
    said = pairs(whole, single, [("plain", "new")])
    assert {(pair.a, pair.b, pair.dataset) for pair in said} == {
        ("plain", "new", "towns"),
        ("plain", "new", "changed-towns"),
    }
    result = compare(whole, single, said)
    assert {one["difference"] for one in result["comparisons"]} == {0.0}
    assert any("only in the first run: cad" in note for note in result["notes"])
    with pytest.raises(InputError, match="second run has no pipeline 'x'"):
        pairs(whole, single, [("plain", "x")])


def test_what_does_not_fit_is_left_out_and_said():
    plan = sample_plan(6)
    records = sample_records(plan)
    changed = [replace(one, question="another") if one.id == "q1" else one for one in records if one.id != "q0"]
    a, b = side(plan, records), side(plan, changed)
    found = pairs(a, b)
    assert all("q0" not in pair.ids and "q1" not in pair.ids for pair in found)
    notes = " ".join(compare(a, b, found)["notes"])
    assert "the second run is not whole" in notes
    assert "6 ids stand for another question" in notes
    assert "plain on towns: 4 of 6 and 5" in notes
    with pytest.raises(InputError, match="no example in common"):
        pairs(a, side(plan, [replace(one, question="another") for one in records]))
    cells = {Cell(cell.pipeline, "elsewhere", cell.settings): count for cell, count in plan.cells.items()}
    with pytest.raises(InputError, match="no data set in common"):
        pairs(a, side(type(plan)(**(vars(plan) | {"cells": cells})), []))
    with pytest.raises(InputError, match="no metric 'nope'"):
        compare(a, a, pairs(a, a), ["nope"])


def test_failures_are_told_apart():
    plan = sample_plan(6)
    records = [one for one in sample_records(plan) if one.error is None]
    broken = [
        replace(one, answer=None, metrics={}, sentences=(), error=Failure("part", "boom")) if one.id == "q2" else one
        for one in records
    ]
    a, b = side(plan, records), side(plan, broken)
    result = compare(a, b, pairs(a, b), ["f1"])
    assert {tuple(one["only_b"]) for one in result["failures"]} == {("q2",)}
    assert {tuple(one["only_a"]) for one in result["failures"]} == {()}
    assert all(one["left_out"] == 1 for one in result["comparisons"])
    case = next(one for one in result["changed"] if one["id"] == "q2")
    assert (case["b"], case["size"], case["metrics"]["f1"]["b"]) == ("failed: boom", 1.0, None)


def test_seeds_are_averaged_an_example_first():
    plan = sample_plan(2)
    cells = {Cell("p", "d", {}, seed): 2 for seed in (0, 1)}
    values = {("q0", 0): 0.0, ("q0", 1): 1.0, ("q1", 0): 0.5, ("q1", 1): 0.5}
    base = next(one for one in sample_records(plan) if one.error is None)

    def run(more):
        made = [
            replace(base, cell=Cell("p", "d", {}, seed), id=name, metrics={"f1": value + more})
            for (name, seed), value in values.items()
        ]
        return side(type(plan)(**(vars(plan) | {"cells": cells, "baseline": "p", "cell_metrics": ()})), made)

    a, b = run(0.0), run(0.25)
    (one,) = compare(a, b, pairs(a, b), ["f1"])["comparisons"]
    assert (one["n"], one["a"], one["b"], one["difference"]) == (2, 0.5, 0.75, 0.25)


@needs_browser
def test_the_page_shows_changed_answers_side_by_side(both, tmp_path):
    a, b = both
    together = pairs(a, b)
    result = compare(a, b, together, METRICS)
    shown = page(result, a, b, together)
    script = """
    document.querySelector(".case > button").click();
    const names = [...document.querySelectorAll(".answer header b")].map((one) => one.textContent);
    document.body.setAttribute("data-names", names.join(";"));
    document.body.setAttribute("data-cases", document.getElementById("case-count").textContent);
    """
    found = after(shown, script, tmp_path)
    questions = {(one["dataset"], one["id"]) for one in result["changed"]}
    assert f'data-cases="{len(questions)} of {len(questions)} questions"' in found
    assert 'data-names="A: ' in found
    assert ";B: plain" in found
