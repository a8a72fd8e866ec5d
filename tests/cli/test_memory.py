"""``ragdecode memory``: what it writes can be used, and what is wrong is said before the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ragdecode.cli.group import cli
from ragdecode.decoding.grounding.space import GroundingSpace
from ragdecode.errors import InputError
from tests.decoding.test_rule_caad import FakeEncoder
from tests.models.tiny import path_spec
from tests.pipeline import tiny_app

ROWS = [{"question": "Where is it?", "golden_answers": [answer]} for answer in ("In the old town.", "By the sea.")]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_app.write_model(tmp_path / "weights")
    (tmp_path / "configs/models").mkdir(parents=True)
    spec = {"kind": "causal", "source": {"path": {"path": "../../weights"}}}
    (tmp_path / "configs/models/tiny.yaml").write_text(json.dumps(spec))
    (tmp_path / "q.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str):
    return CliRunner().invoke(cli, args)


GROUND = ("memory", "ground", "tiny", "--data", "q.jsonl", "--out", "space.safetensors")


@pytest.fixture
def encoder(monkeypatch):
    class Words(FakeEncoder):
        spec = path_spec(Path("fake"), name="fake", kind="encoder")

        def encode(self, texts, progress=None, role="document"):
            self.asked += texts
            return np.array([[1.0, 0.0] if len(text) % 2 else [0.0, 1.0] for text in texts], np.float32)

    fake = Words()
    monkeypatch.setattr("ragdecode.models.encoder.load_encoder", lambda *_args, **_more: fake)
    return fake


def test_a_grounding_space_holds_what_the_model_predicts_inside_the_answers(app, encoder):
    from ragdecode.models.catalogue import find_model
    from ragdecode.models.causal import load_causal
    from ragdecode.pipeline.prompts import PromptRenderer
    from ragdecode.pipeline.views import ViewPlan
    from ragdecode.spec.load import load_document

    result = run(*GROUND, "--window", "5", "--top", "7")
    assert result.exit_code == 0, result.output
    assert "2 answers gave" in result.stderr
    made = GroundingSpace.load(app / "space.safetensors")
    model = load_causal(find_model("tiny"))
    view = ViewPlan("with_context", load_document("prompts", "short-answer").spec)
    stock = model.hf_model()
    at = 0
    for row in ROWS:
        ids = list(PromptRenderer([view], model.tokenizer).render([view], row["question"], ())["with_context"].ids)
        answer = model.tokenizer.encode(row["golden_answers"][0], special=False)
        for place, _ in enumerate(answer):
            before = [*ids, *answer[:place]]
            assert encoder.asked[at] == model.tokenizer.decode(before[-5:])
            with torch.no_grad():
                logits = stock(torch.tensor([before])).logits[0, -1, : model.vocab_size]
            expected = torch.log_softmax(logits.double(), -1)
            best = made.tokens[at].tolist()
            assert made.log_probs[at] == pytest.approx(expected[best].numpy(), abs=5e-3)
            assert float(made.log_probs[at].min()) >= float(np.delete(expected.numpy(), best).max()) - 5e-3
            at += 1
    assert at == len(made.keys) == len(encoder.asked)
    assert (made.window, made.encoder, made.vocab_size) == (5, "enc", model.vocab_size)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--out", "nowhere/space.safetensors"), "folder does not exist"),
        (("--skip", "5"), "leaves no question"),
        (("--encoder", "tiny"), "needs one of kind encoder"),
        (("--data", "none.jsonl"), "cannot read the questions"),
    ],
)
def test_mistakes_are_told_before_the_model_is_read(app, encoder, monkeypatch, args, message):
    def never(*_args, **_more):
        raise AssertionError("the model is opened")

    monkeypatch.setattr("ragdecode.models.causal.load_causal", never)
    result = run(*GROUND, *args)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_an_encoder_without_lengths_is_refused(app, encoder):
    encoder.normalised = False
    result = run(*GROUND)
    assert "their inner product is no cosine" in str(result.exception)
    assert not (app / "space.safetensors").exists()
