"""Every rule that needs one model only, inside transformers' ``generate()``: the engine's tokens."""

from __future__ import annotations

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from ragdecode.decoding import processors
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.intervention import EarlyExit, Evidence
from ragdecode.decoding.processors import RuleLogitsProcessor, class_name
from ragdecode.decoding.processors.processor import _inside
from ragdecode.decoding.request import TARGET, Request, View
from ragdecode.errors import InputError
from ragdecode.spec import registry
from tests.decoding.engines import VOCAB, backend, decode, model, prompt

LENGTH = 12
PROMPTS = [prompt(1, 37), prompt(2, 24), prompt(3, 30)]
HEADS = {"heads": [{"layer": 1, "head": 2}, {"layer": 0, "head": 1}]}
DETECTOR = {"intercept": -0.02, "heads": [{"layer": 1, "head": 2, "coefficient": 1.5}]}
#: Settings without which a rule cannot be made here; other rules are tried as they are.
SETTINGS = {
    "contrast": {"amateur": "early"},
    "dagcd": {"detector": DETECTOR},
    "decore": {"heads": HEADS, "top": 2},
    "dola": {"layers": [0]},
    "dynamic_focus": {"layers": [0]},
    "lookback": {"threshold": 3.0, "prompt": 8},
    "plausible": {"of": "union"},
    "reward": {"beta": 4.0},
    "transfer": {"from": "without_context"},
}
#: Rules that no processor can be, and why.
ENGINE_ONLY = {"entropy_switch": "decides which model runs"}
#: caad reads a file made for one model and encoder; its own tests make one.
RULES = sorted(registry.parts("rule").keys() - {"caad"})


def text_of(tokens):
    return "".join(f"{' ' if token % 3 else ''}{'abcdefg'[token % 7]}" for token in tokens)


def made(name):
    info = registry.find("rule", name)
    return info.cls(info.settings.model_validate(SETTINGS.get(name, {})))


def views_of(rule, ids, seed):
    """A prompt of its own for each view that the rule reads; where passages are, for rules that ask."""
    views = {TARGET: View(ids, evidence=(Evidence(3, 9, 0, 2.0), Evidence(10, 18, 1, 1.0)))}
    for place, view in enumerate(rule.views):
        spec = rule.declares.get(view)
        if view == "early":
            views[view] = View(ids, intervention=EarlyExit(0))
        elif view != TARGET and (spec is None or spec.intervention is None):
            own = prompt(100 * seed + place, 8 + 5 * seed + place)
            views[view] = View(own, evidence=(Evidence(1, 5, place, 1.0 / (1 + place)),))
    return views


def batch_of(prompts):
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    return ids, mask


def generate(processor, prompts, **settings):
    ids, mask = batch_of(prompts)
    settings = {"do_sample": False, "max_new_tokens": LENGTH, **settings}
    out = model().generate(
        ids,
        attention_mask=mask,
        logits_processor=LogitsProcessorList([processor]),
        pad_token_id=0,
        eos_token_id=None,
        **settings,
    )
    return out[:, ids.shape[1] :].tolist()


def by_engine(name, prompts):
    rule = made(name)
    requests = []
    for seed, ids in enumerate(prompts):
        views = views_of(rule, ids, seed)
        views |= {view: View(ids, intervention=_inside(spec)) for view, spec in rule.declares.items() if _inside(spec)}
        requests.append(Request(str(seed), views, rules=[rule], max_new_tokens=LENGTH, detokenize=text_of))
    results = decode(Engine({"main": backend()}), *requests)
    return [results[str(seed)].tokens for seed in range(len(prompts))]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_inside_generate_equals_the_engine(name):
    if name in ENGINE_ONLY:
        with pytest.raises(InputError, match=ENGINE_ONLY[name]):
            getattr(processors, class_name(name))(model(), small="other")
        return
    rule = made(name)
    views = [views_of(rule, ids, seed) for seed, ids in enumerate(PROMPTS)]
    kind = getattr(processors, class_name(name))
    assert issubclass(kind, LogitsProcessor)
    assert name in kind.__doc__
    _, mask = batch_of(PROMPTS)
    settings = SETTINGS.get(name, {})
    processor = kind(model(), views, attention_mask=mask, max_new_tokens=LENGTH, detokenize=text_of, **settings)
    expected = by_engine(name, PROMPTS)
    assert generate(processor, PROMPTS) == expected
    assert generate(processor, PROMPTS) == expected  # once more, with what the object holds


def test_only_new_tokens_are_fed_and_the_target_is_not_run_again(monkeypatch):
    shared = backend()
    passes = []
    forward = type(shared).forward
    monkeypatch.setattr(
        type(shared), "forward", lambda self, segments, **more: (
            passes.append([len(segment.tokens) for segment in segments]), forward(self, segments, **more))[1],
    )  # fmt: skip
    views = [{"without_context": prompt(8, 9)}, {"without_context": prompt(9, 14)}]
    processor = processors.CadLogitsProcessor(shared, views, alpha=1.0, attention_mask=batch_of(PROMPTS[:2])[1])
    generate(processor, PROMPTS[:2])
    assert passes == [[9, 14]] + [[1, 1]] * (LENGTH - 1)


def test_chains_and_sampling():
    """Two rules in one processor, and the distribution that generate() draws from."""
    from ragdecode.decoding.rules.cad import Cad, CadSettings
    from ragdecode.decoding.rules.plausible import Plausible, PlausibleSettings
    from tests.reference import naive

    rules = [Cad(CadSettings(alpha=1.0)), Plausible(PlausibleSettings(ratio=0.3))]
    other = prompt(8, 9)
    found = RuleLogitsProcessor(rules, model(), [{"without_context": other}], temperature=1.0)
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        scores = model()(ids).logits[:, -1].float()
    row = found(ids, scores)[0].double()
    own, closed = (naive.next_log_probs(model(), one) for one in (PROMPTS[0], other))
    expected = torch.log_softmax(2 * own - closed, -1)
    expected = expected.masked_fill(own < own.max() + torch.log(torch.tensor(0.3)), -torch.inf).log_softmax(-1)
    assert torch.allclose(row, expected, atol=1e-5)
    torch.manual_seed(0)
    sampled = generate(found, PROMPTS[:1], do_sample=True, temperature=0.8)
    torch.manual_seed(0)
    assert generate(found, PROMPTS[:1], do_sample=True, temperature=0.8) == sampled
    assert len(sampled[0]) == LENGTH


def test_what_is_forbidden_stays_so():
    processor = processors.CadLogitsProcessor(model(), [{"without_context": prompt(8, 9)}])
    scores = torch.zeros(1, VOCAB)
    scores[0, 5:] = -torch.inf
    assert processor(torch.tensor([PROMPTS[0]]), scores)[0, 5:].isneginf().all()


@pytest.mark.parametrize("name", ["acd", "decore", "dola", "alignment"])
def test_a_padded_vocabulary_counts_for_nothing(name):
    """What the table of embeddings has beyond the tokenizer would have entropy, and could be picked."""
    rule, known = made(name), VOCAB - 40
    ids = [token % known for token in PROMPTS[0]]
    own = {view: View([token % known for token in shown.prompt]) for view, shown in views_of(rule, ids, 0).items()}
    kind = getattr(processors, class_name(name))
    processor = kind(model(), [own], vocab_size=known, detokenize=text_of, **SETTINGS.get(name, {}))
    whole = own | {view: View(ids, intervention=_inside(spec)) for view, spec in rule.declares.items() if _inside(spec)}
    request = Request("0", whole, rules=[rule], max_new_tokens=LENGTH)
    expected = decode(Engine({"main": backend()}, vocab_size=known), request)["0"]
    assert generate(processor, [ids]) == [expected.tokens]
    with torch.no_grad():
        logits = model()(torch.tensor([ids])).logits[:, -1]
    found = processor(torch.tensor([ids]), logits)
    assert found[:, known:].isneginf().all()
    assert float(found[0, expected.tokens[0]]) == pytest.approx(expected.records[0].logprob, abs=1e-5)


def test_what_cannot_be_is_refused():
    views = [{"without_context": prompt(8, 9)}]
    with pytest.raises(InputError, match="views of 1 sequences and 3 in the batch"):
        generate(processors.CadLogitsProcessor(model(), views), PROMPTS[:1], num_beams=3)
    with pytest.raises(InputError, match="reordered"):
        generate(processors.DolaLogitsProcessor(backend(), layers=[0]), PROMPTS[:1], num_beams=4)
    with pytest.raises(InputError, match="lacks the view 'without_context'"):
        generate(processors.CadLogitsProcessor(model()), PROMPTS[:1])
    with pytest.raises(InputError, match="longer than 4 tokens"):
        generate(processors.CadLogitsProcessor(model(), views, max_new_tokens=4), PROMPTS[:1])
    with pytest.raises(InputError, match="is not the prompt"):
        generate(RuleLogitsProcessor([made("cad")], model(), [{TARGET: [1, 2], **views[0]}]), PROMPTS[:1])
    right = torch.tensor([[1] * 30 + [0] * 7])
    with pytest.raises(InputError, match="padded on the left"):
        generate(processors.CadLogitsProcessor(model(), views, attention_mask=right), PROMPTS[:1])
    stale = processors.CadLogitsProcessor(model(), views, attention_mask=torch.ones(1, 24))
    assert generate(stale, PROMPTS[1:2]) == generate(stale, PROMPTS[1:2])
    with pytest.raises(InputError, match=r"mask is \[1, 24\], the batch \[1, 37\]"):
        generate(stale, PROMPTS[:1])
    processor = processors.ContrastiveSearchLogitsProcessor(backend(), sampling_temperature=0.7)
    with pytest.raises(InputError, match="temperature"):
        generate(processor, PROMPTS[:1])
    with pytest.raises(AttributeError):
        _ = processors.NothingLogitsProcessor
    assert "CadLogitsProcessor" in dir(processors)
