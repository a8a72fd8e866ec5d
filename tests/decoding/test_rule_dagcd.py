"""DAGCD against its formula over the attention of a plain model, and what it refuses or leaves alone."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.attention_shares import Shares
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.intervention import Evidence
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.dagcd import Dagcd, DagcdSettings
from ragdecode.errors import InputError, SpecError
from ragdecode.spec.load import load_pipeline
from tests.decoding.engines import TreeDrafter, decode, prompt
from tests.decoding.tiny_models import tiny
from tests.reference import naive
from tests.reference.dagcd import added, lifted
from tests.reference.heads import HeadsLlama

HEADS = [(1, 2, 1.5), (0, 3, 0.8), (2, 1, -0.4)]
TEXT = [*prompt(1, 20), *prompt(1, 8), *prompt(3, 12)]  # ids of the evidence repeat
CLOSED = prompt(2, 9)
SPANS = (Evidence(3, 15, 0), Evidence(18, 30, 1))
PLACES = [*range(3, 15), *range(18, 30)]


@cache
def model():
    return tiny("llama", num_hidden_layers=3)


def backend(**settings) -> LlamaBackend:
    return LlamaBackend(model().config.to_dict(), model().state_dict(), dtype=torch.float64, **settings)


def detector(intercept=-0.02, heads=HEADS, **more):
    return {
        "intercept": intercept,
        "heads": [{"layer": layer, "head": head, "coefficient": weight} for layer, head, weight in heads],
        **more,
    }


def rule(intercept=-0.02, **settings) -> Dagcd:
    return Dagcd(DagcdSettings.model_validate({"detector": detector(intercept), **settings}))


def request(name: str, rules, spans=SPANS, **settings) -> Request:
    views = {"with_context": View(TEXT, evidence=spans), "without_context": View(CLOSED)}
    return Request(name, views, rules=rules, **{"max_new_tokens": 14, **settings})


def expected(length, *, alpha=4.0, rank=10, intercept=-0.02, cad=None, pick=None):
    """Greedy (or picked) tokens, full prompts re-run, and how often anything was lifted."""
    tokens, log_probs, lifts = [], [], 0
    for position in range(length):
        logits, attention = HeadsLlama(model()).run([*TEXT, *tokens])
        composed = torch.log_softmax(logits[-1], -1)
        if cad is not None:
            closed = naive.next_log_probs(HeadsLlama(model()), [*CLOSED, *tokens])
            composed = torch.log_softmax(naive.cad(cad)({"with_context": composed, "without_context": closed}), -1)
        rows = [[float(attention[layer, head][-1, place]) for place in PLACES] for layer, head, _ in HEADS]
        probs = composed.exp().tolist()
        u = lifted(probs, rows, [TEXT[place] for place in PLACES], [w for _, _, w in HEADS], intercept, rank)
        lifts += any(u)
        final = torch.log_softmax(added(probs, u, alpha), -1)
        log_probs.append(final)
        tokens.append(int((final if pick is None else pick(final, position)).argmax()))
    return tokens, torch.stack(log_probs), lifts


def golden(u, alpha=2.0, **settings):
    """A detector whose one head looks at the evidence so that its shares are ``u``."""
    zc = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64).log_softmax(-1)
    spec = detector(0.0, [(0, 0, 1.0)])
    part = Dagcd(DagcdSettings.model_validate({"detector": spec, "alpha": alpha, **settings}))
    item = Request("g", {"with_context": View([3, 1, 2, 0], evidence=(Evidence(0, 4),))}, rules=[part])
    attention = torch.tensor([[u[3], u[1], u[2], u[0]]], dtype=torch.float64)
    return part.start(item).compose(Nodes(composed=zc, log_probs={}, attention=[attention])).exp()[0]


def test_golden_values():
    p = golden([0.0, 0.75, 0.25, 0.0])
    assert float(p.sum()) == pytest.approx(2.367007, abs=1e-6)
    assert (p / p.sum()).tolist() == pytest.approx([0.272037, 0.533221, 0.181198, 0.013544], abs=1e-6)
    assert golden([0.0, 0.75, 0.25, 0.0], rank=1).sum() == pytest.approx(1.0)


def test_shares_are_means_over_places_and_add_up_to_one():
    shares = Shares([5, 7, 5, 9, 7], [range(0, 3), range(2, 4)])
    assert shares.tokens.tolist() == [5, 7, 9]
    got = shares.of(torch.tensor([[0.2, 0.1, 0.4, 0.1, 0.2], [0.0, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64))
    assert got.tolist() == [pytest.approx([0.6, 0.2, 0.2]), [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "settings", [{}, {"alpha": 2.0, "rank": 3}, {"alpha": 50.0, "rank": 97}, {"intercept": 0.0, "rank": 20}]
)
def test_tokens_and_log_probs_equal_the_naive_reference(settings):
    tokens, log_probs, lifts = expected(14, **settings)
    assert lifts > 3
    for drafters in ([], [TreeDrafter(tokens, 4)]):
        item = request("a", [rule(**settings)], drafters=drafters, max_draft_nodes=12)
        result = decode(Engine({"main": backend()}, prefill_tokens=16), item)["a"]
        assert result.tokens == tokens
        assert [r.logprob for r in result.records] == pytest.approx(log_probs[range(14), tokens].tolist(), abs=1e-9)
        assert result.notes == ()


def test_it_adds_to_what_cad_made_and_refuses_to_come_before_it():
    tokens, _, _ = expected(10, cad=0.5)
    cad = Cad(CadSettings(alpha=0.5))
    item = request("a", [cad, rule()], drafters=[TreeDrafter(tokens, 1)], max_new_tokens=10)
    assert decode(Engine({"main": backend()}), item)["a"].tokens == tokens
    with pytest.raises(InputError, match="is the last of them; 'cad' comes later"):
        decode(Engine({"main": backend()}), request("b", [rule(), cad]))


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_sampling_drafts_and_neighbours_change_nothing(temperature):
    def pick(log_probs, position):
        noise = gumbel(5, "a", 0, [position], 97, torch.device("cpu"))[0]
        return naive.warped(log_probs, temperature, 0, 1.0, 0.0).log() + noise

    tokens, _, _ = expected(12, pick=pick)
    sampling = Sampling(temperature=temperature, seed=5)
    neighbours = [
        request("b", [rule(alpha=9.0)], (Evidence(5, 9),)),
        Request("c", {"with_context": View(prompt(8, 21))}, max_new_tokens=9),
        request("d", [rule()], sampling=sampling, drafters=[TreeDrafter(tokens, 7)]),
    ]
    item = request("a", [rule()], sampling=sampling, drafters=[TreeDrafter(tokens, 2)], max_new_tokens=12)
    assert decode(Engine({"main": backend()}, prefill_tokens=32), *neighbours, item)["a"].tokens == tokens


@pytest.mark.parametrize(("settings", "spans"), [({"alpha": 0.0}, SPANS), ({"intercept": -9.0}, SPANS), ({}, ())])
def test_where_nothing_is_lifted_it_is_the_plain_model(settings, spans):
    plain = decode(Engine({"main": backend()}), Request("p", {"with_context": View(TEXT)}, max_new_tokens=14))["p"]
    result = decode(Engine({"main": backend()}), request("a", [rule(**settings)], spans))["a"]
    assert result.tokens == plain.tokens
    assert [r.logprob for r in result.records] == pytest.approx([r.logprob for r in plain.records], abs=1e-12)
    assert len(result.notes) == (not spans)
    assert all("not known where the prompt shows passages" in note for note in result.notes)


def test_what_is_impossible_stays_so():
    composed = torch.tensor([[0.0, -1.0, -math.inf, -math.inf]], dtype=torch.float64).log_softmax(-1)
    item = Request("g", {"with_context": View([3, 1, 2, 0], evidence=(Evidence(0, 4),))})
    part = Dagcd(DagcdSettings.model_validate({"detector": detector(0.0, [(0, 0, 1.0)])})).start(item)
    nodes = Nodes(composed=composed, log_probs={}, attention=[torch.full((1, 4), 0.25, dtype=torch.float64)])
    found = part.compose(nodes)
    assert found[0, 2:].tolist() == [-math.inf, -math.inf]
    assert float(found[0, 1].exp() / found[0, 0].exp()) > math.exp(-1)


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="which this backend does not tell"):
        rule().meet({"with_context": TransformersBackend(model())})
    other = Dagcd(DagcdSettings.model_validate({"detector": detector(model="feedfeedfeedfeed")}))
    with pytest.raises(InputError, match="was made for another model"):
        other.meet({"with_context": backend(fingerprint="0123456789abcdef")})
    far = Dagcd(DagcdSettings.model_validate({"detector": detector(heads=[(3, 0, 1.0)])}))
    with pytest.raises(InputError, match="head 0 of layer 3"):
        decode(Engine({"main": backend()}), request("a", [far]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"alpha": -1}, "greater"), ({"rank": 0}, "greater"), ({"detector": detector(heads=[])}, "at least 1"),
     ({"detector": detector(heads=[(0, 0, -1.0)])}, "no positive sum"),
     ({"detector": detector(heads=[(0, 0, 1.0), (0, 0, 2.0)])}, "a head stands twice"),
     ({"detector": detector(math.inf)}, "finite")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        rule(**settings)


def test_yaml_names_the_detector_and_keeps_the_rule_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    file = tmp_path / "pipelines/p.yaml"
    file.write_text("model: smollm2-135m\ndecode: {rule: [cad, {dagcd: {detector: smollm2-135m}}]}\n")
    assert load_pipeline("p").spec.decode.rule[1].settings.alpha == 4.0
    for text, message in (
        ("[{dagcd: {detector: smollm2-135m}}, cad]", r"p.yaml:2: decode.rule.dagcd: .*'cad' comes later"),
        ("{dagcd: {detector: smollm}}", r"p.yaml:2: decode.rule.dagcd.detector: .*smollm"),
    ):
        file.write_text(f"model: smollm2-135m\ndecode: {{rule: {text}}}\n")
        with pytest.raises(SpecError, match=message):
            load_pipeline("p")
