"""`ragdecode monitor`: what it writes can be named in YAML and judges; what is wrong is said before the model runs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragdecode.cli.monitor import command
from ragdecode.errors import InputError, SpecError
from ragdecode.evaluation.learning.trees import TreeSettings
from ragdecode.evaluation.monitors import figures, fitting, watching
from ragdecode.evaluation.monitors.examples import GROUPS
from ragdecode.spec.load import load_document
from tests.pipeline import tiny_app

ALIGN = ("--align", "{lexical: {encoder: null}}")
WORDS = ("stone", "water", "paper", "light", "green", "river", "tower", "bread", "salt", "copper", "winter", "music")


def rows(sources: int, seed: int = 0):
    """Half of the answers have a sentence of words that the passage has not."""
    rng = random.Random(seed)
    for number in range(sources):
        said = [f"The {rng.choice(WORDS)} of {name} has {rng.randrange(90)} parts." for name in ("Tollin", "Morvan")]
        right, wrong = said[0], f"A {rng.choice(WORDS)} is {rng.choice(WORDS)} there."
        for bad in (False, True):
            response = f"{right} {wrong if bad else said[1]}"
            label = {"start": len(right) + 1, "end": len(response), "type": "Baseless"}
            yield {
                "id": f"{number}-{bad}",
                "source": {"question": f"What is it, {number}?", "passages": [{"text": f"{number}. {' '.join(said)}"}]},
                "response": response,
                "hallucinated": bad,
                "labels": [label] if bad else [],
            }


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_app.write_model(tmp_path / "weights")
    for folder in ("models", "monitors", "prompts"):
        (tmp_path / "configs" / folder).mkdir(parents=True)
    spec = {"kind": "causal", "source": {"path": {"path": "../../weights"}}}
    (tmp_path / "configs/models/tiny.yaml").write_text(json.dumps(spec))
    (tmp_path / "configs/prompts/grounded.yaml").write_text(json.dumps(tiny_app.PROMPT))
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows(32))))
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, rows(12, seed=9))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "_RESAMPLES", 40)
    monkeypatch.setattr(fitting, "_DEPTHS", (2,))
    monkeypatch.setattr(fitting, "_TREES", (TreeSettings(10, 2),))
    return tmp_path


def run(*args: str):
    return CliRunner().invoke(command, args)


def train(*args: str):
    return run("train", "d.jsonl", "--model", "tiny", *ALIGN, "--cache", "kept.jsonl", *args)


@pytest.mark.parametrize("kind", ["logistic", "trees"])
def test_what_is_trained_can_be_named_and_judges_other_data(app, kind):
    file = "configs/monitors/mine.yaml"
    result = train("--kind", kind, "--out", file, "--licence", "MIT")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    spec = load_document("monitors", "mine").spec
    assert (spec.kind, len(spec.model), spec.prompt, spec.aligner) == (kind, 16, "grounded", "lexical_support")
    assert [(one.name, one.licence, one.sources, one.answers) for one in spec.data] == [("d", "MIT", 32, 64)]
    assert (spec.data[0].sentences, spec.data[0].unfaithful) == (128, 32)
    assert spec.figures["auroc"] > 0.9
    assert (app / "configs/monitors/mine.safetensors").is_file()
    assert "lid_15" in {one.name for one in spec.features}
    judged = run(
        "eval", "other.jsonl", "--monitor", "mine", "--model", "tiny", *ALIGN, "--cache", "kept.jsonl", "--json"
    )
    assert judged.exit_code == 0, judged.output
    found = json.loads(judged.stdout)["other"]["rows"]
    assert [row["name"] for row in found] == ["trained", "unsupervised"]
    assert found[0]["sentences"]["auroc"]["value"] > 0.9
    assert found[0]["answers"]["examples"] == 24
    assert "NaN" not in judged.stdout
    plain = run("eval", "other.jsonl", "--monitor", file, "--model", "tiny", *ALIGN, "--cache", "kept.jsonl")
    assert "trained, 48 sentences of 12 sources: AUROC " in plain.stdout


def test_features_that_are_left_out_are_not_read(app):
    result = train("--without", "lid", "--without", "influence", "--calibration", "isotonic", "--out", "mine.yaml")
    assert result.exit_code == 0, result.output
    spec = load_document("monitors", "mine.yaml").spec
    names = {one.name for one in spec.features}
    assert names == {"max_entropy", "mean_entropy", "min_prob", "mean_prob", "alignment", "n_tokens"}
    assert spec.arrays is None
    assert not (app / "mine.safetensors").exists()


def test_interrupted_it_keeps_what_was_read(app, monkeypatch):
    original = watching.read_answers
    seen = []

    def slow(*args):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(watching, "read_answers", slow)
    result = train("--out", "mine.yaml")
    assert result.exit_code == 1 or isinstance(result.exception, KeyboardInterrupt)
    assert "what was read so far is kept" in result.stderr
    assert not (app / "mine.yaml").exists()
    seen[:] = [1] * 10
    assert train("--out", "mine.yaml").exit_code == 0
    assert len(seen) == 10 + 28


def test_mistakes_are_said_before_the_model_is_opened(app, monkeypatch):
    monkeypatch.setattr("ragdecode.cli.open_model.opened_model", None)
    for args, error, words in (
        (("--out", "nowhere/x.yaml"), InputError, "its folder does not exist"),
        (("--out", "mine.json"), InputError, "is no YAML file"),
        (("--out", "mine.yaml", "--prompt", "grownded"), SpecError, "grownded"),
    ):
        result = train(*args)
        assert isinstance(result.exception, error), result.output
        assert words in str(result.exception)
    everything = [f for name in GROUPS for f in ("--without", name)]
    assert "leaves no feature" in str(train("--out", "mine.yaml", *everything).exception)
    bad = run("train", "d.jsonl", "--model", "tiny", "--out", "m.yaml", "--align", "lexikal")
    assert isinstance(bad.exception, InputError)
    (app / "d.jsonl").write_text('{"id": 1}\n')
    assert "d.jsonl:1: 'source' is missing" in str(train("--out", "mine.yaml").exception)


def test_a_monitor_of_another_model_or_aligner_is_refused(app):
    assert train("--without", "lid", "--out", "mine.yaml").exit_code == 0
    tiny_app.write_model(app / "weights", seed=5)
    result = run("eval", "other.jsonl", "--monitor", "mine.yaml", "--model", "tiny", *ALIGN)
    assert isinstance(result.exception, InputError)
    assert "made for another model" in str(result.exception)
    text = (app / "mine.yaml").read_text().replace("lexical_support", "entailment")
    (app / "mine.yaml").write_text(text)
    result = run("eval", "other.jsonl", "--monitor", "mine.yaml", "--model", "tiny", *ALIGN)
    assert "was trained with alignment by entailment" in str(result.exception)
