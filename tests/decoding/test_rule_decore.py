"""DeCoRe against its formula over a plain model with heads off, and what its settings mean."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.decore import Decore, DecoreSettings
from ragdecode.errors import InputError, SpecError
from ragdecode.pipeline.views import plan_views
from ragdecode.spec.load import load_pipeline
from tests.decoding.engines import TreeDrafter, decode, prompt
from tests.decoding.tiny_models import tiny
from tests.reference import naive
from tests.reference.decore import decore
from tests.reference.heads import HeadsLlama

LIST = {"heads": [{"layer": 1, "head": 2}, {"layer": 0, "head": 1}, {"layer": 2, "head": 3}, {"layer": 2, "head": 0}]}
TEXT, CLOSED = prompt(1, 29), prompt(2, 9)


@cache
def model():
    return tiny("llama", num_hidden_layers=3)


def backend(**settings) -> LlamaBackend:
    return LlamaBackend(model().config.to_dict(), model().state_dict(), dtype=torch.float64, **settings)


def rule(**settings) -> Decore:
    return Decore(DecoreSettings.model_validate({"heads": LIST, "top": 3, **settings}))


def request(name: str, part: Decore, before=(), **settings) -> Request:
    from ragdecode.decoding.intervention import HeadMask

    heads = part.declares["masked"].intervention.heads
    mask = HeadMask(frozenset((one.layer, one.head) for one in heads.list.heads[: heads.top]), heads.how, heads.prompt)
    views = {"with_context": View(TEXT), "without_context": View(CLOSED), "masked": View(TEXT, intervention=mask)}
    return Request(name, views, rules=[*before, part], **{"max_new_tokens": 16, **settings})


def reference(how="zero", prompt_too=False, top=3):
    off = [(one["layer"], one["head"]) for one in LIST["heads"][:top]]
    first = 0 if prompt_too else len(TEXT) - 1
    return {
        "with_context": (HeadsLlama(model()), TEXT),
        "masked": (HeadsLlama(model(), off, how, first), TEXT),
        "without_context": (HeadsLlama(model()), CLOSED),
    }


def golden(**settings):
    zc = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64).log_softmax(-1)
    z = torch.tensor([[0.5, 1.5, 0.0, -1.0]], dtype=torch.float64).log_softmax(-1)
    nodes = Nodes(composed=zc, log_probs={"with_context": zc, "masked": z})
    return rule(**settings).compose(nodes).softmax(-1)[0].tolist()


def test_golden_values():
    assert golden() == pytest.approx([0.909105, 0.050269, 0.029700, 0.010926], abs=1e-6)
    assert golden(alpha=0.5) == pytest.approx([0.817808, 0.110678, 0.052281, 0.019233], abs=1e-6)
    assert golden(cap=0.5) == pytest.approx(golden(alpha=0.5))
    assert golden(normalise=True) == pytest.approx(golden(alpha=0.947537 / 1.386294), abs=1e-5)
    assert golden(ratio=0.1)[3] == 0


@pytest.mark.parametrize(
    ("settings", "view"),
    [
        ({}, {}),
        ({"how": "uniform"}, {"how": "uniform"}),
        ({"prompt": True, "alpha": 0.5}, {"prompt_too": True}),
        ({"top": 1, "normalise": True, "cap": 0.4}, {"top": 1}),
        ({"how": "uniform", "prompt": True, "ratio": 0.05, "cap": 2.0}, {"how": "uniform", "prompt_too": True}),
    ],
)
def test_tokens_and_log_probs_equal_the_naive_reference(settings, view):
    own = {key: value for key, value in settings.items() if key in ("alpha", "normalise", "cap", "ratio")}
    tokens, log_probs = naive.greedy(reference(**view), decore(**own), (), 16)
    assert (log_probs[0] - naive.next_log_probs(HeadsLlama(model()), TEXT)).abs().max() > 0.1
    for drafters in ([], [TreeDrafter(tokens, 4), PromptLookup(PromptLookupSettings())]):
        result = decode(
            Engine({"main": backend()}, prefill_tokens=16), request("a", rule(**settings), drafters=drafters)
        )["a"]
        assert result.tokens == tokens
        assert [r.logprob for r in result.records] == pytest.approx(log_probs[range(16), tokens].tolist(), abs=1e-9)


def test_after_cad_it_contrasts_what_cad_made():
    tokens, _ = naive.greedy(reference(), decore(alpha=0.7, base=naive.cad(0.5)), (), 12)
    item = request("a", rule(alpha=0.7), [Cad(CadSettings(alpha=0.5))], max_new_tokens=12)
    assert decode(Engine({"main": backend()}), item)["a"].tokens == tokens


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
def test_drafts_and_neighbours_change_nothing(temperature):
    sampling = Sampling(temperature=temperature, seed=5)

    def noise(position):
        return gumbel(5, "a", 0, [position], 97, torch.device("cpu"))[0]

    tokens, _ = naive.greedy(
        reference(), decore(cap=1.0), (), 14, temperature=temperature, noise=noise if temperature else None
    )
    neighbours = [
        request("b", rule(how="uniform"), sampling=sampling),
        Request("c", {"with_context": View(prompt(8, 21))}, max_new_tokens=9),
        request("d", rule(prompt=True), drafters=[TreeDrafter(tokens, 9)]),
    ]
    for seed in range(2):
        item = request("a", rule(cap=1.0), sampling=sampling, drafters=[TreeDrafter(tokens, seed)], max_new_tokens=14)
        engine = Engine({"main": backend()}, prefill_tokens=32)
        assert decode(engine, *neighbours[seed:], item)["a"].tokens == tokens


def test_without_weight_it_is_the_target_and_what_is_impossible_stays_so():
    item = request("a", rule(alpha=0.0))
    plain = decode(Engine({"main": backend()}), Request("p", {"with_context": View(TEXT)}, max_new_tokens=16))["p"]
    assert decode(Engine({"main": backend()}), item)["a"].tokens == plain.tokens
    composed = torch.tensor([[0.0, -1.0, -torch.inf]], dtype=torch.float64).log_softmax(-1)
    masked = torch.tensor([[-torch.inf, 0.0, -torch.inf]], dtype=torch.float64)
    scores = rule().compose(Nodes(composed=composed, log_probs={"with_context": composed, "masked": masked}))
    assert scores[0, 2] == -torch.inf
    assert torch.isfinite(scores[0, :2]).all()


def test_a_list_of_another_model_is_refused():
    for own, message in (
        ({"heads": {"model": "feedfeedfeedfeed", **LIST}}, "was made for another model: its fingerprint is feedfeed"),
        ({"heads": {"heads": [{"layer": 3, "head": 0}]}, "top": 1}, "head 0 of layer 3; the model has 3 layers of 4"),
        ({"heads": {"heads": [{"layer": 0, "head": 4}]}, "top": 1}, "head 4 of layer 0"),
    ):
        with pytest.raises(InputError, match=message):
            rule(**own).meet({"masked": backend(fingerprint="0123456789abcdef")})
    rule(heads={"model": "0123456789abcdef", **LIST}).meet({"masked": backend(fingerprint="0123456789abcdef")})


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"top": 0}, "greater"), ({"how": "half"}, "zero"), ({"alpha": 11}, "less"), ({"cap": 0}, "greater"),
     ({"ratio": 2}, "less"), ({"alpha": 1, "cap": 2}, "a constant 'alpha' replaces"),
     ({"alpha": 1, "normalise": True}, "a constant 'alpha' replaces"),
     ({"heads": {"heads": []}}, "at least 1"), ({"heads": {"heads": [{"layer": 0, "head": 0}] * 2}}, "stands twice")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        rule(**settings)


def test_yaml_names_the_list_and_brings_the_view(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    file = tmp_path / "pipelines/p.yaml"
    file.write_text("model: smollm2-135m\ndecode: {rule: {decore: {heads: smollm2-135m, top: 4, how: uniform}}}\n")
    _, masked = plan_views(load_pipeline("p").spec).views
    assert (masked.name, len(masked.intervention.heads), masked.intervention.how) == ("masked", 4, "uniform")
    assert masked.follows
    for text, message in (
        ("decode: {rule: {decore: {heads: smollm2}}}", r"pipelines/p.yaml:2: decode.rule.decore.heads: .*smollm2"),
        ("decode: {rule: decore}", r"decode.rule.decore.heads"),
        ("decode: {rule: {decore: {heads: smollm2-135m}}, views: {masked: {}}}", "brings the view 'masked' itself"),
    ):
        file.write_text(f"model: smollm2-135m\n{text}\n")
        with pytest.raises(SpecError, match=message):
            load_pipeline("p")


@pytest.mark.parametrize("change", [{"decore.top": 1}, {"decore.how": "uniform"}, {"decore.prompt": True}])
def test_a_monitor_cannot_change_the_heads_of_a_row_that_was_read_without_them(change):
    """The row keeps its heads: the change would be taken for done, and nothing would come of it."""
    from ragdecode.decoding.overrides import apply_overrides

    with pytest.raises(InputError, match="which rows the rule reads, or how"):
        apply_overrides([rule()], Sampling(), change)
    (changed,), _ = apply_overrides([rule()], Sampling(), {"decore.alpha": 0.3})
    assert changed.settings.alpha == 0.3


def test_a_prompt_that_ends_inside_the_old_one_is_read_without_the_heads_from_its_own_last_token():
    from ragdecode.decoding.row import Row

    spec = request("a", rule()).views["masked"].intervention
    row = Row("masked", "main", backend(), 1, TEXT, 64, True, cached=len(TEXT) + 3, mask=spec)
    row.replace_prompt(TEXT[:20], [*TEXT[20:24]])
    assert row.cached == 19
