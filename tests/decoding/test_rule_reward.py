"""`reward`: scorers on candidates, and the linear head; engine against definitions in float64."""

from __future__ import annotations

import random

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from ragdecode.decoding.engine import Engine
from ragdecode.decoding.intervention import Evidence
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.reward import Reward, RewardSettings
from ragdecode.decoding.scorers.support import SupportSession, SupportSettings
from ragdecode.errors import InputError
from ragdecode.spec import registry
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt
from tests.reference import naive
from tests.reference.llama import PlainLlama
from tests.reference.reward import rad, support

IDS = prompt(1, 37)
EVIDENCE = (Evidence(4, 18, 0), Evidence(19, 33, 1))
PLAIN = {"with_context": (PlainLlama(model()), IDS)}
_RNG = random.Random(0)
PIECES = [
    _RNG.choice(["", " ", " ", ". "]) + "".join(_RNG.choice("abé") for _ in range(_RNG.randrange(1, 3)))
    for _ in range(VOCAB)
]


def text_of(tokens):
    return "".join(PIECES[token] for token in tokens)


PASSAGES = [text_of(IDS[one.start : one.stop]) for one in EVIDENCE]


def reward(**settings) -> Reward:
    return Reward(RewardSettings(**settings))


def item(rule, name="a", evidence=EVIDENCE, **more) -> Request:
    views = {"with_context": View(IDS, evidence=evidence)}
    return Request(name, views, rules=[rule], detokenize=text_of, **{"max_new_tokens": 16, **more})


def greedy(score, **settings):
    """The reference's answer; ``score(tokens, hidden)`` gives a reward by token."""
    tokens, rows = [], []
    for _ in range(16):
        log_probs = naive.next_log_probs(PLAIN["with_context"][0], [*IDS, *tokens])
        row = torch.log_softmax(rad(log_probs, lambda token, now=tuple(tokens): score(now, token), **settings), -1)
        tokens.append(int(row.argmax()))
        rows.append(row)
    return tokens, rows


def supported(words=8, order=0.5):
    return lambda tokens, token: support(PASSAGES, text_of([*tokens, token]), words, order)


@pytest.mark.parametrize(
    ("settings", "scorer"),
    [
        ({}, {}),
        ({"beta": 3.0, "top_k": 5}, {"words": 3, "order": 1.0}),
        ({"beta": 50.0, "top_k": 256}, {"words": 2, "order": 0.0}),
        ({"beta": 8.0, "avoid": True}, {"words": 4}),
    ],
    ids=str,
)
def test_support_equals_the_reference_drafted_or_not(settings, scorer):
    given = {"k": settings.get("top_k", 20), "beta": settings.get("beta", 30.0), "avoid": settings.get("avoid", False)}
    tokens, rows = greedy(supported(**scorer), **given)
    plain = naive.greedy(PLAIN, naive.plain(), (), 16)[0]
    rule = reward(scorer={"support": scorer}, **settings)
    for drafters in ((), [TreeDrafter(tokens, 1)], [TreeDrafter(tokens, 2), TreeDrafter(plain, 3)]):
        result = decode(Engine({"main": backend()}), item(rule, drafters=drafters))["a"]
        assert result.tokens == tokens != plain
        expected = [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
        assert [record.logprob for record in result.records] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_drafts_and_neighbours_change_nothing_where_it_samples(temperature):
    sampling = Sampling(temperature=temperature, seed=4)
    rule = reward(beta=4.0)
    alone = decode(Engine({"main": backend()}), item(rule, sampling=sampling))["a"]
    other = item(rule, "b", (Evidence(2, 30),), sampling=sampling)
    lone = decode(Engine({"main": backend()}), other)["b"]
    drafted = item(rule, sampling=sampling, drafters=[TreeDrafter(alone.tokens, 1)])
    both = decode(Engine({"main": backend()}, prefill_tokens=24), drafted, other)
    assert both["a"].tokens == alone.tokens
    assert both["b"].tokens == lone.tokens
    assert both["a"].stats.steps < 16


def test_support_of_random_texts_equals_a_search():
    rng = random.Random(3)
    for _ in range(60):
        passages = [text_of(rng.choices(range(VOCAB), k=rng.randrange(12))) for _ in range(rng.randrange(3))]
        settings = SupportSettings(words=rng.randrange(1, 6), order=rng.choice([0.0, 0.4, 1.0]))
        session = SupportSession(passages, settings, text_of)
        tokens = rng.choices(range(VOCAB), k=rng.randrange(1, 9))
        found = session.score([tokens[:-1]], [[tokens[-1]]])[0][0]
        assert found == pytest.approx(support(passages, text_of(tokens), settings.words, settings.order))
        assert 0 <= found <= 1


def test_it_does_not_act_without_passages_and_says_so():
    plain = naive.greedy(PLAIN, naive.plain(), (), 16)[0]
    result = decode(Engine({"main": backend()}), item(reward(), evidence=()))["a"]
    assert result.tokens == plain
    assert any("no passages" in note for note in result.notes)
    with pytest.raises(InputError, match="cannot turn tokens into text"):
        decode(
            Engine({"main": backend()}), Request("a", {"with_context": View(IDS, evidence=EVIDENCE)}, rules=[reward()])
        )


def test_without_strength_it_is_a_cut_to_the_candidates():
    result = decode(Engine({"main": backend()}), item(reward(beta=0, top_k=VOCAB)))["a"]
    tokens, rows = naive.greedy(PLAIN, naive.plain(), (), 16)
    assert result.tokens == tokens
    assert [r.logprob for r in result.records] == pytest.approx(rows[range(16), tokens].tolist(), abs=1e-9)


def states_of(ids):
    """Last hidden state [H] and log-probabilities [V] after ids."""
    with torch.no_grad():
        out = model()(torch.tensor([ids]), output_hidden_states=True)
    return out.hidden_states[-1][0, -1], out.logits[0, -1]


def write_head(file, rank=6, seed=0, **changed):
    generator = torch.Generator().manual_seed(seed)
    hidden = model().config.hidden_size
    tensors = {
        "baseline.weight": torch.randn(hidden, generator=generator).double() / 20,
        "baseline.bias": torch.tensor(0.5).double(),
        "left": torch.randn(hidden, rank, generator=generator).double() / 20,
        "right": torch.randn(rank, hidden, generator=generator).double() / 20,
    }
    save_file({**tensors, **changed}, file)
    return tensors


def test_the_head_equals_its_formula(tmp_path):
    head = write_head(tmp_path / "head.safetensors")
    embeddings = model().lm_head.weight.detach()

    def score(tokens, token):
        h, _ = states_of([*IDS, *tokens])
        return float(
            h @ head["baseline.weight"] + head["baseline.bias"] + embeddings[token] @ head["left"] @ head["right"] @ h
        )

    tokens, rows = greedy(score, k=9, beta=6.0)
    rule = reward(arm={"file": str(tmp_path / "head.safetensors")}, top_k=9, beta=6.0)
    for drafters in ((), [TreeDrafter(tokens, 1)]):
        result = decode(Engine({"main": backend()}), item(rule, evidence=(), drafters=drafters))["a"]
        assert result.tokens == tokens
        expected = [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
        # the states come from the stock model, whose rotations are in float32
        assert [record.logprob for record in result.records] == pytest.approx(expected, abs=1e-4)


def test_a_head_distilled_from_a_scorer_scores_like_it(tmp_path):
    """The form is of use: squared error on a scorer's opinions of all tokens, then decoding earns more of them."""
    wanted = torch.tensor([1.0 if token % 7 == 0 else 0.0 for token in range(VOCAB)]).double()
    rng = random.Random(2)
    states = torch.stack([states_of(rng.choices(range(3, VOCAB), k=12))[0] for _ in range(40)])
    embeddings = model().lm_head.weight.detach()
    hidden, rank = states.shape[-1], 8
    generator = torch.Generator().manual_seed(0)
    head = {
        "baseline.weight": torch.zeros(hidden).double(),
        "baseline.bias": torch.zeros(()).double(),
        "left": torch.randn(hidden, rank, generator=generator).double() / 10,
        "right": torch.randn(rank, hidden, generator=generator).double() / 10,
    }
    for tensor in head.values():
        tensor.requires_grad_()
    optimizer = torch.optim.Adam(head.values(), lr=0.03)

    def rho(h):
        return (h @ head["baseline.weight"] + head["baseline.bias"])[:, None] + h @ head["right"].T @ head[
            "left"
        ].T @ embeddings.T

    losses = []
    for _ in range(200):
        loss = ((rho(states) - wanted) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * float(wanted.var(unbiased=False))
    save_file({name: tensor.detach().contiguous() for name, tensor in head.items()}, tmp_path / "head.safetensors")
    rule = reward(arm={"file": str(tmp_path / "head.safetensors")}, beta=10.0, top_k=40)

    def earned(rules):
        sampling = Sampling(temperature=1.0)
        requests = [
            Request(
                f"r{i}", {"with_context": View(prompt(60 + i, 10))}, rules=rules, sampling=sampling, max_new_tokens=10
            )
            for i in range(8)
        ]
        results = decode(Engine({"main": backend()}), *requests)
        return sum(float(wanted[token]) for result in results.values() for token in result.tokens)

    assert earned([rule]) > 2 * earned([])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"left": torch.zeros(7, 6)}, r"left has the shape \[7, 6\], expected \['H', 'R'\] with a hidden size H of 32"),
        ({"baseline.bias": torch.zeros(1)}, "baseline.bias has the shape"),
        ({"right": torch.zeros(5, 32)}, "right has the shape"),
        ({"extra": torch.zeros(1)}, "other tensors"),
        ({"left": torch.full((32, 6), torch.nan)}, "not finite"),
    ],
)
def test_a_head_of_another_model_is_refused_with_the_reason(tmp_path, changed, message):
    write_head(tmp_path / "head.safetensors", **changed)
    rule = reward(arm={"file": str(tmp_path / "head.safetensors")})
    with pytest.raises(InputError, match=message):
        rule.meet({"with_context": backend()})


def test_a_file_that_is_no_head_is_refused(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        reward(arm={"file": str(tmp_path / "head.safetensors")}).meet({"with_context": backend()})


def test_scorers_are_parts():
    assert "support" in registry.parts("scorer")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"beta": -1}, "greater"), ({"top_k": 0}, "greater"), ({"scorer": "suport"}, "did you mean"),
     ({"scorer": "support", "arm": {"file": "x"}}, "name one"), ({"scorer": {"support": {"order": 2}}}, "less")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        reward(**settings)
