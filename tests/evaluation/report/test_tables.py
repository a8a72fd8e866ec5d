"""A run as CSV, read back by the standard library."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from click.testing import CliRunner

from ragdecode.cli.group import cli
from ragdecode.errors import InputError
from ragdecode.evaluation.report.run_folder import RunFolder
from ragdecode.evaluation.report.tables import samples_csv, summary_csv
from tests.evaluation.runs.sample_run import sample_plan, sample_records, write_sample_run


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_a_cell_and_a_line_a_sample(tmp_path):
    folder = write_sample_run(tmp_path / "run", 8)
    done = CliRunner().invoke(cli, ["eval", "report", str(folder), "--cases", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    run = RunFolder.open(folder)
    cells = rows((folder / "summary.csv").read_text())
    assert len(cells) == len(run.summary["cells"])
    for line, cell in zip(cells, run.summary["cells"], strict=True):
        assert (line["system"], line["dataset"]) == (cell["system"], cell["dataset"])
        for name, figure in cell["metrics"].items():
            assert [line[name], line[f"{name}_low"]] == [
                "" if figure[key] is None else str(figure[key]) for key in ("mean", "low")
            ]
        assert line["decode.rule.cad.alpha"] == str(cell["settings"].get("decode.rule.cad.alpha", ""))
        assert float(line["decode_seconds"]) == cell["speed"]["seconds"]["decode"]
    samples = rows((folder / "samples.csv").read_text())
    records = list(run.records())
    assert len(samples) == len(records) == 48
    for line, record in zip(samples, records, strict=True):
        assert (line["id"], line["answer"]) == (record.id, record.answer or "")
        assert line["error"] == (record.error.kind if record.error else "")
        assert line["f1"] == ("" if record.error else str(record.metrics["f1"]))
    assert "3 of 16 questions" in (folder / "report.html").read_text()


def test_texts_are_no_formulas_and_break_no_line():
    record = next(one for one in sample_records(sample_plan(2)) if one.error is None)
    texts = ["=1+1", "@cmd", "-2", 'a "quote", a\nline', "\ud83d\x00"]
    made = "".join(samples_csv([replace(record, answer=text) for text in texts], ["f1"]))
    assert [line["answer"] for line in rows(made)] == ["'=1+1", "'@cmd", "'-2", 'a "quote", a\nline', "?\ufffd"]


def test_a_run_without_records_has_heads_only(tmp_path):
    plan = sample_plan(2)
    from ragdecode.evaluation.runs.summarise import summarise

    assert [line["samples"] for line in rows(summary_csv(summarise(plan, [])))] == ["0"] * 6
    assert len("".join(samples_csv([], ["f1"])).splitlines()) == 1
    with pytest.raises(InputError, match="is not the folder of a run"):
        CliRunner().invoke(cli, ["eval", "report", str(tmp_path / "none")], catch_exceptions=False)
