"""``ragdecode explain``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ragdecode.cli.explain import command
from ragdecode.spec.load import load_pipeline


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, arguments)


def test_the_output_is_a_pipeline(run, tmp_path):
    result = run("docs-qa", "--set", "decode.rule.cad.alpha=0.25")
    assert result.exit_code == 0
    (tmp_path / "again.yaml").write_text(result.stdout)
    again = load_pipeline("again.yaml").spec
    assert again == load_pipeline("docs-qa", ["decode.rule.cad.alpha=0.25"]).spec
    assert again.decode.rule[0].settings.alpha == 0.25


def test_comments_say_names_views_and_cost(run):
    comments = [line for line in run("docs-qa").stdout.splitlines() if line.startswith("#")]
    assert comments[0] == "# docs-qa: hybrid % 8 >> rerank % 4 >> decode[cad + prompt_lookup]"
    assert any(line.split()[1:3] == ["model", "smollm2-135m"] and "(catalogue)" in line for line in comments)
    assert "#   without_context  grounded  none      smollm2-135m  cad" in comments
    assert "#   step     at most 1 forward pass of 2 rows, 16 tree nodes each: 32 new tokens" in comments


def test_json_is_one_object_of_the_same_facts(run):
    facts = json.loads(run("plain", "--json").stdout)
    assert (facts["pipeline"], facts["headline"]) == ("plain", "decode[prompt_lookup]")
    assert facts["step"] == {
        "passes": 1, "rows": 1, "nodes": 16, "tokens": 16, "expanding": [], "switching": [], "draft_views": [],
        "looks": 0, "prefill_tokens": 512, "governor": "throughput", "automatic": [],
    }  # fmt: skip
    assert facts["spec"]["decode"]["sampling"]["temperature"] == 0


def test_a_secret_is_not_printed(run, tmp_path, monkeypatch):
    monkeypatch.setenv("RAGDECODE_TEST_TOKEN", "s3cr3t-value")
    text = "model: {source: {hub: {repo: a/b, token: '${ENV:RAGDECODE_TEST_TOKEN}'}}}\n"
    (tmp_path / "p.yaml").write_text(text)
    shown = run("p.yaml").stdout + run("p.yaml", "--json").stdout
    assert "s3cr3t-value" not in shown
    assert shown.count("${ENV:RAGDECODE_TEST_TOKEN}") == 2


def test_a_rule_that_switches_has_one_row_of_its_views(run):
    result = run("plain", "--set", "decode=entropy_switch")
    assert "at most 1 forward pass of 1 row, 1 tree node each: 1 new token" in result.stdout
    assert "#   switch   entropy_switch runs one of its views a step" in result.stdout
    assert json.loads(run("plain", "--set", "decode=entropy_switch", "--json").stdout)["step"]["switching"] == [
        "entropy_switch"
    ]
