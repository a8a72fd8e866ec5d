"""``ragdecode decode``."""

from __future__ import annotations

import json

import pytest

from ragdecode.models import causal
from tests.cli.test_ask import app, run, tiny_model  # noqa: F401

GOOD = {"id": "a", "question": "Why?", "passages": [{"text": "Because of the arches."}]}
PAIR = {"id": "b", "prompts": {"with_context": "The bridge", "without_context": "A", "unused": "x"}, "more": 1}


@pytest.fixture
def requests(tmp_path):
    def write(*lines):
        file = tmp_path / "requests.jsonl"
        file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return file

    return write


def test_one_line_a_request_in_order(run, requests):  # noqa: F811
    code, out, err = run("decode", "qa", "--requests", requests(GOOD, PAIR))
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [line["id"] for line in lines]) == (0, ["a", "b"])
    for line in lines:
        assert len(line["token_ids"]) == len(line["logprobs"]) == line["stats"]["new_tokens"] == 8
        assert all(value <= 0 for value in line["logprobs"])
    assert "index" not in err  # nothing is searched


def test_out_appears_whole(run, requests, tmp_path):  # noqa: F811
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    code, stdout, err = run("decode", "qa", "--requests", requests(GOOD, PAIR), "--out", out)
    assert (code, stdout) == (0, "")
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["a", "b"]
    assert f"{out}: 2 answers" in err
    assert not list(tmp_path.glob("*.partial"))


def test_bad_lines_are_all_told_before_any_model_is_opened(run, requests, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(causal, "load_causal", lambda *_, **__: pytest.fail("a model was opened"))
    file = requests(GOOD, "nope", GOOD, {"id": "c", "prompt": "x"})
    code, out, err = run("decode", "qa", "--requests", file, "--out", tmp_path / "out.jsonl")
    assert (code, out) == (2, "")
    assert f"{file}:2: not JSON" in err
    assert f"{file}:3: the id 'a' is already that of line 1" in err
    assert f"{file}:4: prompt is the view with_context alone, and the pipeline also needs without_context" in err
    assert not list(tmp_path.glob("out.jsonl*"))


def test_a_prompt_that_is_too_long_names_its_line(run, requests):  # noqa: F811
    long = {"id": "b", "prompts": {"with_context": "x" * 5000, "without_context": "y"}}
    code, out, err = run("decode", "qa", "--requests", requests(GOOD, "", long))
    assert (code, out) == (2, "")
    assert "line 3: the prompt of the view with_context is too long: it takes 5000 tokens" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--requests", "none.jsonl"], "cannot read the requests none.jsonl"),
        ([], "Missing option '--requests'"),
        (["--requests", "pipelines/qa.yaml", "--out", "no/where.jsonl"], "its folder does not exist"),
    ],
)
def test_wrong_arguments_end_with_two(run, arguments, message):  # noqa: F811
    code, out, err = run("decode", "qa", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_an_interrupt_keeps_what_is_done_and_says_where(run, requests, tmp_path, monkeypatch):  # noqa: F811
    from ragdecode.pipeline.pipeline import Pipeline

    decode = Pipeline.decode

    def interrupted(self, lines):
        results = decode(self, lines)
        yield next(results)
        results.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "decode", interrupted)
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    code, _, err = run("decode", "qa", "--requests", requests(GOOD, PAIR), "--out", out)
    assert code == 130
    assert f"the answers so far are in {out}.partial" in err
    assert out.read_text() == "old"
    (line,) = (tmp_path / "out.jsonl.partial").read_text().splitlines()
    assert json.loads(line)["id"] == "a"


def test_a_full_disk_ends_with_one_and_no_traceback(run, requests, tmp_path):  # noqa: F811
    (tmp_path / "full.partial").symlink_to("/dev/full")
    code, _, err = run("decode", "qa", "--requests", requests(GOOD), "--out", tmp_path / "full")
    assert code == 1
    assert "No space left on device" in err
    assert "Traceback" not in err
    assert not (tmp_path / "full").exists()
