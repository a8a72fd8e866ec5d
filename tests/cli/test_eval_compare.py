"""``ragdecode eval compare``: its table, its JSON and its page; mistakes are told without a traceback."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ragdecode.cli.group import cli
from ragdecode.errors import InputError
from tests.evaluation.runs.sample_run import write_sample_run


def compare(*arguments):
    done = CliRunner().invoke(cli, ["eval", "compare", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return write_sample_run(folder / "a", 12), write_sample_run(folder / "b", 8)


def test_the_table_names_metrics_pipelines_and_notes(runs):
    told = compare(*runs, "--metric", "f1", "--metric", "auroc").stdout
    assert f"A: {runs[0]}, B: {runs[1]}" in told
    assert told.count("\nF1 ") == 6
    assert told.count("\nAUROC ") == 6
    assert "Holm's correction over 6 comparisons" in told
    assert "plain on towns: 8 of 12 and 8" in told


def test_json_and_page(runs, tmp_path):
    target = tmp_path / "changed.html"
    done = compare(*runs, "--json", "--html", target)
    result = json.loads(done.stdout)
    assert {one["metric"] for one in result["comparisons"]} == {
        "exact_match", "f1", "recall", "contains_answer", "k_precision", "length"
    }  # fmt: skip
    assert target.read_text().startswith("<!doctype html>")
    assert str(target) in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--metric", "nope"], "no metric 'nope'"),
        (["--pair", "plain"], "expected a pipeline of A"),
        (["--pair", "plain=nobody"], "no pipeline 'nobody'"),
        (["--html", "/nowhere/at/all.html"], "/nowhere/at"),
    ],
)
def test_mistakes_are_told(runs, arguments, told):
    with pytest.raises(InputError, match=told):
        compare(*runs, *arguments)


def test_names_with_settings_can_be_paired(runs):
    name = "cad (decode.rule.cad.alpha=0.5)"
    told = compare(*runs, "--metric", "f1", "--pair", f"plain={name}").stdout
    assert f"plain → {name}, towns" in told


def test_folders_that_are_no_runs_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match="is not the folder of a run"):
        compare(runs[0], tmp_path / "none")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "predictions.jsonl").touch()
    with pytest.raises(InputError, match="has not come to its summary"):
        compare(runs[0], tmp_path / "begun")
    (tmp_path / "begun" / "summary.json").write_text('{"format": 99, "cells": [], "systems": [], "metrics": {}}')
    with pytest.raises(InputError, match="has format 99"):
        compare(tmp_path / "begun", runs[0])
