"""Finding retrieval heads and training detectors: prompts, scores, the regression, and both from end to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.watching import watch_forced, watch_greedy
from ragdecode.errors import InputError, RunError
from ragdecode.evaluation.heads import copying
from ragdecode.evaluation.heads.copying import all_heads, copied, find_retrieval_heads, recall
from ragdecode.evaluation.heads.detector import train
from ragdecode.evaluation.heads.haystack import Trial, documentation, needles, trials
from ragdecode.evaluation.heads.questions import read_questions
from ragdecode.evaluation.heads.used_context import Examples, collect, golden_places
from ragdecode.evaluation.learning.logistic import auc, best_strength, fit, folds
from ragdecode.models.catalogue import find_model
from ragdecode.models.causal import load_causal
from ragdecode.pipeline.models import open_backend
from ragdecode.spec.load import load_document
from ragdecode.spec.pipeline import EngineSpec
from tests.decoding.engines import prompt
from tests.decoding.tiny_models import tiny
from tests.pipeline import tiny_app
from tests.reference.heads import HeadsLlama


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_app.write_model(tmp_path_factory.mktemp("model") / "tiny")
    file = folder.parent / "m.yaml"
    file.write_text(json.dumps({"kind": "causal", "source": {"path": {"path": str(folder)}}}))
    return load_causal(find_model(str(file)), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def backend(model):
    return open_backend(model, EngineSpec(device="cpu"))


def test_watching_tells_the_attention_of_a_plain_forward():
    stock = tiny("llama")
    own = LlamaBackend(stock.config.to_dict(), stock.state_dict(), dtype=torch.float64)
    text, heads = prompt(4, 600)[:60], [(1, 3), (0, 0)]
    tokens, attention = watch_greedy(own, text, heads, 6, (), 97)
    forced, logits = watch_forced(own, text, tokens, heads)
    reference_logits, told = HeadsLlama(stock).run([*text, *tokens])
    assert tokens == reference_logits[59:-1].argmax(-1).tolist()
    expected = torch.stack([told[head][59:-1, :60] for head in heads], dim=1).float()
    assert torch.allclose(attention, expected, atol=1e-6)
    assert torch.allclose(forced, expected, atol=1e-6)
    assert torch.allclose(logits, reference_logits[59:-1])
    assert watch_greedy(own, text, heads, 6, {tokens[2]}, 97)[0] == tokens[:2]
    assert not own._rows


def test_trials_hide_every_needle_at_every_depth(model):
    found = list(trials(model.tokenizer, documentation(), [60, 200], 3, 3))
    assert len(found) == 2 * 3 * len(needles())
    places = []
    for trial in found:
        shown = model.tokenizer.decode(trial.prompt[trial.start : trial.stop])
        assert trial.needle in shown
        assert len(shown) < len(trial.needle) + 12
        places.append(trial.start / len(trial.prompt))
    assert places[3] < places[4] < places[5]
    assert abs(len(found[3].prompt) - len(found[0].prompt) - 140) < 30
    with pytest.raises(InputError, match=r"the haystack has \d+ tokens, the longest prompt wants 50"):
        list(trials(model.tokenizer, "A short text.", [50], 1, 1))


def test_a_head_scores_when_it_looks_at_what_comes_next():
    trial = Trial(prompt=[9, 5, 6, 7, 9], needle="", answer=[5, 6, 7], start=1, stop=4)
    attention = torch.zeros(3, 3, 5)
    for row, place in enumerate([1, 2, 3]):
        attention[row, 0, place] = 1.0  # copies all
        attention[row, 1, 0] = 1.0  # looks elsewhere
    attention[0, 2, 1] = attention[1, 2, 1] = attention[2, 2, 3] = 1.0  # the second place is not what comes next
    assert copied(attention, [5, 6, 7], trial).tolist() == pytest.approx([1.0, 0.0, 2 / 3])
    assert copied(attention[:2], [5, 5], trial).tolist() == pytest.approx([1 / 3, 0.0, 1 / 3])  # a place counts once


def test_recall_counts_words():
    assert recall("The red bee sleeps.", "A red bee, a red fox") == pytest.approx(2 / 4)
    assert recall("", "red") == 0


def test_heads_are_ranked_and_progress_is_told(model, backend, monkeypatch):
    tried = list(trials(model.tokenizer, documentation(), [60], 2, 1))
    told = []
    found = find_retrieval_heads(model, backend, tried, forced=True, progress=lambda *said: told.append(said))
    expected = sum(
        copied(watch_forced(backend, one.prompt, one.answer, all_heads(backend))[0], one.answer, one) for one in tried
    ) / len(tried)
    table = dict(zip(all_heads(backend), expected.tolist(), strict=True))
    assert [one.score for one in found.spec.heads] == sorted((one.score for one in found.spec.heads), reverse=True)
    for one in found.spec.heads:
        assert one.score == pytest.approx(table[one.layer, one.head], abs=1e-4)
    assert (found.trials, found.kept, found.spec.model) == (2, 2, model.heads_fingerprint)
    assert told[0][1:] == (0, 2)
    assert told[-1][1:] == (2, 2)
    monkeypatch.setattr(copying, "_ANSWER", 3)
    with pytest.raises(RunError, match="copied the needle in none of 2 answers"):
        find_retrieval_heads(model, backend, tried)


def test_the_regression_is_at_its_minimum():
    rng = np.random.default_rng(0)
    x = rng.random((120, 5))
    y = rng.random(120) < 1 / (1 + np.exp(-(4 * x[:, 0] - 3 * x[:, 1])))
    for strength in (0.01, 1.0, 100.0):
        model = fit(x, y, strength)
        p = 1 / (1 + np.exp(-model.logits(x)))
        assert np.abs(model.coefficients + strength * x.T @ (p - y)).max() < 1e-6 * max(10.0, strength)
        assert abs((p - y).sum()) * strength < 1e-6 * max(10.0, strength)
    separable = fit(np.array([[0.0], [1.0]]), np.array([False, True]), 100.0)
    assert np.isfinite(separable.coefficients).all()


def test_auc_and_folds():
    labels = np.array([True, False, True, False])
    assert auc(np.array([0.9, 0.1, 0.5, 0.5]), labels) == pytest.approx(3.5 / 4)
    assert np.isnan(auc(np.ones(2), np.array([True, True])))
    groups = [0, 0, 1, 2, 2, 3, 4, 5]
    parts = folds(groups, 5)
    assert sum(part.astype(int) for part in parts).tolist() == [1] * 8
    assert all(part[0] == part[1] and part[3] == part[4] for part in parts)
    x = np.random.default_rng(1).random((8, 2))
    assert best_strength(x, x[:, 0] > 0.5, parts) in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


def examples(count: int = 40) -> Examples:
    rng = np.random.default_rng(3)
    used = [bool(number % 3 == 0) for number in range(3 * count)]
    features = [
        [0.1 * rng.random(), 0.6 * one + 0.3 * rng.random(), 0.5 * one + 0.4 * rng.random(), rng.random()]
        for one in used
    ]
    return Examples(features, used, [number // 3 for number in range(3 * count)], count, count)


def test_a_detector_finds_the_heads_that_tell():
    heads = [(0, 0), (0, 1), (1, 0), (1, 1)]
    trained = train(examples(), heads, 2, "abc")
    assert {(one.layer, one.head) for one in trained.spec.heads} == {(0, 1), (1, 0)}
    assert trained.spec.model == "abc"
    assert trained.auc > 0.95
    noise = examples()
    noise.features = np.random.default_rng(5).random((120, 4)).tolist()
    assert train(noise, heads, 2, "").auc < 0.7
    with pytest.raises(RunError, match="5 tokens of used context"):
        train(examples(5), heads, 2, "")


def test_golden_places_are_the_tokens_of_the_answer():
    pieces = ["The", " answer", " is", " New", " York", ".", " New"]

    def decode(ids):
        return "".join(pieces[one] for one in ids)

    assert golden_places(decode, range(7), ["new york", "york"]) == [3, 4]
    assert golden_places(decode, range(7), ["ork"]) == []


def test_examples_are_of_questions_answered_from_their_passages(model, backend, tmp_path, monkeypatch):
    """Right and wrong are decided here: a random model knows nothing."""
    from ragdecode.evaluation.heads import used_context

    asked = [
        {"question": "Where?", "golden_answers": ["x"], "contexts": [{"text": "In the Old Town of Tollin by 1889."}]}
    ]
    file = tmp_path / "q.jsonl"
    file.write_text("\n".join(map(json.dumps, asked)))
    (question,) = read_questions(file)
    verdicts = iter([True, False])
    monkeypatch.setattr(used_context, "_right", lambda *_: next(verdicts))
    monkeypatch.setattr(used_context, "golden_places", lambda decode, tokens, golden: [0])
    inside = model.tokenizer.encode(" Tollin", special=False)[-1]
    monkeypatch.setattr(
        used_context._Collector, "answers", lambda self, stage, prompts, progress: {key: [inside] for key in prompts}
    )
    found = collect(model, backend, [question], load_document("prompts", "short-answer").spec)
    assert (found.asked, found.kept, sum(found.used)) == (1, 1, 1)
    assert 1 < len(found.used) <= 5
    assert all(len(row) == len(all_heads(backend)) and 0 <= min(row) <= max(row) <= 1 for row in found.features)
    verdicts = iter([True, True])
    assert collect(model, backend, [question], load_document("prompts", "short-answer").spec).kept == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "Expecting"), ("[]", "expected one JSON object"), ('{"question": 3}', "'question' is missing"),
     ('{"question": "a", "golden_answers": "b"}', "no list of texts"),
     ('{"question": "a", "contexts": ["b"]}', "no list of objects"),
     ('{"question": "a", "golden_answers": ["b"]}', "no question with answers and contexts")],
)  # fmt: skip
def test_wrong_questions_are_refused_with_their_line(tmp_path, line, message):
    file = tmp_path / "q.jsonl"
    file.write_text(f"\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        read_questions(file)
    assert "no question with" in message or f"{file}:2:" in str(caught.value)
