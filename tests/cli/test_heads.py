"""The commands that look at attention heads: what they write can be used, and what is wrong is said before the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragdecode.cli.group import cli
from ragdecode.errors import InputError, RunError, SpecError
from ragdecode.evaluation.heads import used_context
from ragdecode.spec.load import load_document
from tests.evaluation.test_heads import examples
from tests.pipeline import tiny_app

ROW = {"question": "Where?", "golden_answers": ["x"], "contexts": [{"text": "The Old Town of Tollin has 12 arches."}]}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_app.write_model(tmp_path / "weights")
    for folder in ("models", "heads", "detectors"):
        (tmp_path / "configs" / folder).mkdir(parents=True)
    spec = {"kind": "causal", "source": {"path": {"path": "../../weights"}}}
    (tmp_path / "configs/models/tiny.yaml").write_text(json.dumps(spec))
    (tmp_path / "q.jsonl").write_text("\n".join(json.dumps(ROW) for _ in range(30)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str):
    return CliRunner().invoke(cli, args)


HEADS = ("heads", "tiny", "--forced", "--lengths", "40,60", "--depths", "1", "--trials", "1")


def test_a_list_is_written_that_yaml_can_name(app):
    result = run(*HEADS, "--out", "configs/heads/mine.yaml")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "2 of 2 trials count; best heads:" in result.stderr
    spec = load_document("heads", "mine").spec
    assert spec.description == "Retrieval heads of tiny, by 2 of 2 needles that it read in texts of 40, 60 tokens."
    assert len(spec.model) == 16
    assert run("check", "configs/heads/mine.yaml").exit_code == 0
    again = run(*HEADS)
    assert again.stdout == (app / "configs/heads/mine.yaml").read_text()


def test_a_detector_is_written_that_yaml_can_name(app, monkeypatch):
    """A random model answers nothing rightly, so that what is collected is made here."""
    asked = []

    def collect(model, backend, questions, prompt, *, progress):
        asked.extend(questions)
        return examples(25)

    monkeypatch.setattr(used_context, "collect", collect)
    result = run("detector", "tiny", "--data", "q.jsonl", "--skip", "2", "--limit", "25", "--heads", "3",
                 "--out", "configs/detectors/mine.yaml")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len(asked) == 25
    spec = load_document("detectors", "mine").spec
    assert len(spec.heads) == 3
    assert "25 of 25 questions, 25 used tokens among 75, AUC" in spec.description
    assert run("check", "configs/detectors/mine.yaml").exit_code == 0


def test_a_model_that_answers_nothing_teaches_nothing(app):
    result = run("detector", "tiny", "--data", "q.jsonl", "--limit", "3")
    assert isinstance(result.exception, RunError)
    assert "0 tokens of used context from 0 of 3 questions" in result.exception.message


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (("heads", "nope"), SpecError, "no nope.yaml in configs/models/"),
        (("heads", "minilm"), InputError, "is a model of kind encoder"),
        (("heads", "tiny", "--out", "no/x.yaml"), InputError, "its folder does not exist"),
        (("heads", "tiny", "--out", "configs"), InputError, "it is a folder"),
        (("heads", "tiny", "--haystack", "no.txt"), InputError, "cannot read the haystack no.txt"),
        (("heads", "tiny", "--haystack", "q.jsonl", "--lengths", "9000"), InputError, "the longest prompt wants 9000"),
        (("heads", "tiny", "--lengths", "2000"), InputError, "does not fit the model's window"),
        (("detector", "tiny", "--data", "no.jsonl"), InputError, "cannot read the questions no.jsonl"),
        (("detector", "tiny", "--data", "q.jsonl", "--skip", "30"), InputError, "--skip 30 leaves no question"),
        (("detector", "tiny", "--data", "q.jsonl", "--prompt", "no"), SpecError, "no no.yaml in configs/prompts/"),
        (("detector", "tiny", "--data", "configs/models/tiny.yaml"), InputError, "tiny.yaml:1: 'question' is missing"),
    ],
)
def test_what_is_wrong_is_refused(app, args, error, message):
    result = run(*args)
    assert isinstance(result.exception, error), result.output
    assert message in str(result.exception)


@pytest.mark.parametrize("lengths", ["", "a", "10", "300,,5"])
def test_lengths_that_are_none_are_refused(app, lengths):
    result = run("heads", "tiny", "--lengths", lengths)
    assert result.exit_code != 0
    assert "--lengths" in f"{result.output} {result.stderr} {result.exception}"
    assert not list((app / "configs/heads").iterdir())
