"""`caad`: the guidance of a grounding space; engine against the definition in float64."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.engine import Engine
from ragdecode.decoding.grounding.guidance import Guide
from ragdecode.decoding.grounding.space import GroundingSpace, compact
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.caad import Caad, CaadSettings
from ragdecode.errors import InputError
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt
from tests.models.tiny import path_spec
from tests.reference import naive
from tests.reference.caad import guidance, row, shaped
from tests.reference.llama import PlainLlama

IDS = prompt(1, 31)
ENCODER = path_spec(Path("fake"), name="fake", kind="encoder")
WINDOW, WIDTH = 3, 5
PLAIN = PlainLlama(model())


def text_of(tokens):
    return " ".join(map(str, tokens))


def vector(text):
    """A direction for every text; texts with the same last token are alike."""
    parts = [int(hashlib.sha256(f"{at}{part}".encode()).hexdigest()[:4], 16) for at, part in enumerate(text.split())]
    table = np.array([[np.sin((part + 1) * (at + 1)) for at in range(WIDTH)] for part in parts])
    found = (table * np.array([0.3, 0.5, 1.5])[-len(table) :, None]).sum(0)
    return (found / np.linalg.norm(found)).astype(np.float32)


class FakeEncoder:
    fingerprint, normalised = "enc", True

    def __init__(self):
        self.asked = []

    def encode(self, texts, role="document"):
        self.asked += texts
        return np.array([vector(text) for text in texts])


@pytest.fixture
def encoder(monkeypatch):
    fake = FakeEncoder()
    monkeypatch.setattr("ragdecode.models.encoder.load_encoder", lambda _spec: fake)
    return fake


def space(top=VOCAB, entries=60, **changes):
    rng = np.random.default_rng(3)
    keys = np.array([vector(text_of(rng.integers(3, VOCAB, 3))) for _ in range(entries)]).astype(np.float16)
    logits = rng.normal(size=(entries, VOCAB)) * 3
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    facts = {"model": "", "tokenizer": "t", "encoder": "enc", "encoder_name": "fake", "window": WINDOW}
    made = GroundingSpace(keys, *compact(log_probs, top), vocab_size=VOCAB, **facts)
    return replace(made, **changes), log_probs


@pytest.fixture
def saved(tmp_path):
    def save(made, name="space.safetensors"):
        file = tmp_path / name
        file.write_bytes(made.to_bytes(file))
        return file

    return save


def rule(file, **settings) -> Caad:
    made = Caad(CaadSettings(file=str(file), encoder=ENCODER, **settings))
    made.meet({"with_context": backend()})
    return made


def item(of, name="a", ids=IDS, **more):
    return Request(name, {"with_context": View(ids)}, rules=[of], detokenize=text_of, **{"max_new_tokens": 14, **more})


def dense(made):
    return [
        row(ids, lps, rest, VOCAB)
        for ids, lps, rest in zip(made.tokens.tolist(), made.log_probs.tolist(), made.rest.tolist(), strict=True)
    ]


def greedy(made, alpha=0.5, threshold=0.7, most=2048, mean=False, form="linear", ids=IDS, rows=None):
    values, tokens, logs, touched = rows or dense(made), [], [], 0
    for _ in range(14):
        now = naive.next_log_probs(PLAIN, [*ids, *tokens])
        query = vector(text_of([*ids, *tokens][-WINDOW:]))
        given = guidance(query, made.keys.astype(np.float32).tolist(), values, threshold, most, mean)
        touched += given is not None
        now = shaped(now, given, alpha, form)
        tokens.append(int(now.argmax()))
        logs.append(float(now[tokens[-1]]))
    return tokens, logs, touched


@pytest.mark.parametrize(
    ("settings", "top"),
    [
        ({}, VOCAB),
        ({}, 9),
        ({"alpha": 2.0, "threshold": 0.2}, 5),
        ({"threshold": -1.0, "most": 3, "weights": "mean"}, 20),
        ({"form": "delta", "alpha": 0.8, "threshold": 0.3}, 9),
        ({"form": "prob_interp", "alpha": 0.6, "threshold": 0.3}, 9),
    ],
    ids=str,
)
def test_tokens_and_log_probabilities_are_those_of_the_definition(encoder, saved, settings, top):
    made, _ = space(top)
    told = {name: value for name, value in settings.items() if name != "weights"}
    tokens, logs, touched = greedy(made, mean=settings.get("weights") == "mean", **told)
    assert touched
    plain = naive.greedy({"with_context": (PLAIN, IDS)}, naive.plain(), (), 14)[0]
    of = rule(saved(made), **settings)
    for drafters in ((), [TreeDrafter(tokens, 1)], [TreeDrafter(plain, 2)]):
        result = decode(Engine({"main": backend()}), item(of, drafters=drafters))["a"]
        assert result.tokens == tokens
        assert [one.logprob for one in result.records] == pytest.approx(logs, abs=1e-6)  # cosines are of float32


def test_all_tokens_kept_are_the_papers_rows_but_for_half_precision(encoder, saved):
    made, log_probs = space()
    rows = [torch.tensor(one) for one in log_probs]
    exact = greedy(made, threshold=0.2, rows=rows)
    result = decode(Engine({"main": backend()}), item(rule(saved(made), threshold=0.2)))["a"]
    assert result.tokens == exact[0]
    assert [one.logprob for one in result.records] == pytest.approx(exact[1], abs=2e-2)


def test_what_is_kept_sums_to_one_and_the_others_share_the_rest():
    _, log_probs = space()
    tokens, best, rest = compact(log_probs, 11)
    for at in range(len(log_probs)):
        whole = row(tokens[at].tolist(), best[at].tolist(), rest[at], VOCAB)
        assert float(whole.exp().sum()) == pytest.approx(1, abs=5e-3)
        assert set(tokens[at]) == set(np.argsort(-log_probs[at])[:11])
    sure = np.full((1, 6), -np.inf)
    sure[0, 2] = 0.0
    assert np.isfinite(compact(np.where(np.isinf(sure), -800.0, sure), 2)[2]).all()


@pytest.mark.parametrize("temperature", [0.8, 1.4])
def test_drafts_neighbours_and_repetition_change_nothing(encoder, saved, temperature):
    of = rule(saved(space(9)[0]), threshold=0.2, alpha=1.0)
    sampling = Sampling(temperature=temperature, seed=3)
    alone = decode(Engine({"main": backend()}), item(of, sampling=sampling))["a"]
    other = item(of, "b", prompt(2, 9), sampling=sampling)
    lone = decode(Engine({"main": backend()}), other)["b"]
    drafted = item(of, sampling=sampling, drafters=[TreeDrafter(alone.tokens, 1)])
    both = decode(Engine({"main": backend()}, prefill_tokens=24), drafted, other)
    assert both["a"].tokens == alone.tokens
    assert both["b"].tokens == lone.tokens
    engine = Engine({"main": backend()})
    decode(engine, item(of, sampling=sampling))
    before = len(encoder.asked)
    decode(engine, item(of, sampling=sampling))
    assert len(encoder.asked) == before, "windows that were asked for are remembered"


def test_nothing_like_it_leaves_the_model_as_it_is(encoder, saved):
    plain = naive.greedy({"with_context": (PLAIN, IDS)}, naive.plain(), (), 14)
    for settings in ({"threshold": 1.0}, {"alpha": 0}, {"threshold": 1.0, "form": "delta"}):
        result = decode(Engine({"main": backend()}), item(rule(saved(space()[0]), **settings)))["a"]
        assert result.tokens == plain[0]
        assert [one.logprob for one in result.records] == pytest.approx(
            plain[1][range(14), plain[0]].tolist(), abs=1e-9
        )


def test_a_prompt_shorter_than_the_window_is_enough(encoder, saved):
    made, _ = space(9)
    result = decode(Engine({"main": backend()}), item(rule(saved(made), threshold=0.1), ids=[7]))["a"]
    assert result.tokens == greedy(made, threshold=0.1, ids=[7])[0]
    assert encoder.asked[0] == "7"


def test_what_is_impossible_stays_so(encoder, saved):
    made, _ = space(9)
    of = rule(saved(made), threshold=-1.0, alpha=3.0).start(item(rule(saved(made))))
    composed = torch.log_softmax(torch.randn(2, VOCAB, dtype=torch.float64), -1)
    composed[:, made.tokens[0]] = -torch.inf
    out = of.compose(SimpleNamespace(composed=composed, path=lambda *_: [5]))
    assert torch.equal(out.isneginf(), composed.isneginf())
    assert not out.isnan().any()


def test_windows_are_forgotten_in_turn(monkeypatch):
    made, _ = space(9)
    monkeypatch.setattr("ragdecode.decoding.grounding.guidance._KEPT", 2)
    asked = []

    def encode(texts):
        asked.extend(texts)
        return np.array([vector(text) for text in texts])

    guide = Guide(made, encode, 0.0, 10, False)
    guide.find(["1 2", "3 4", "1 2"])
    assert asked == ["1 2", "3 4"]
    guide.find(["5 6"])
    guide.find(["1 2", "3 4"])
    assert asked == ["1 2", "3 4", "5 6", "3 4"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"model": "f00"}, "made by another model"),
        ({"encoder": "other"}, "another encoder"),
        ({"vocab_size": VOCAB + 40}, "predicts 137 tokens; the model knows 97"),
    ],
)
def test_a_space_of_another_model_is_refused(encoder, saved, spoil, message):
    of = Caad(CaadSettings(file=str(saved(replace(space(9)[0], **spoil))), encoder=ENCODER))
    other = backend()
    other.fingerprint = "abc"
    with pytest.raises(InputError, match=message):
        of.meet({"with_context": other})


def test_damaged_files_are_refused(encoder, saved, tmp_path):
    good = saved(space(9)[0])
    data = good.read_bytes()
    cases = {"cut": data[: len(data) // 2], "none": b"", "noise": b"\x00" * 200}
    for name, bytes_ in cases.items():
        file = tmp_path / name
        file.write_bytes(bytes_)
        with pytest.raises(InputError, match="cannot be read"):
            GroundingSpace.load(file)
    with pytest.raises(InputError, match="cannot be read"):
        GroundingSpace.load(tmp_path / "missing")
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "other")
    with pytest.raises(InputError, match="no grounding space"):
        GroundingSpace.load(tmp_path / "other")
    made = space(9)[0]
    spoiled = [
        (replace(made, rest=made.rest * np.nan), "not finite"),
        (replace(made, rest=made.rest[:-1]), "do not fit"),
        (replace(made, tokens=made.tokens + 90), "tokens that there are not"),
        (replace(made, keys=made.keys.astype(np.float32)), "float32"),
    ]
    for one, message in spoiled:
        with pytest.raises(InputError, match=message):
            one.to_bytes(Path("x"))
    again = GroundingSpace.load(good)
    assert np.array_equal(again.keys, made.keys)
    assert (again.window, again.vocab_size, again.encoder_name) == (WINDOW, VOCAB, "fake")


def test_settings_are_checked(encoder, saved, tmp_path):
    with pytest.raises(ValidationError, match="share in this form"):
        CaadSettings(file="x", alpha=2, form="delta", encoder=ENCODER)
    with pytest.raises(ValidationError, match="need one of kind encoder"):
        CaadSettings(file="x", encoder=path_spec(tmp_path))
    with pytest.raises(InputError, match="cannot turn tokens into text"):
        decode(Engine({"main": backend()}), Request("a", {"with_context": View(IDS)}, rules=[rule(saved(space()[0]))]))
