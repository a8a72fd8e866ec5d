"""A view that drafts: same tokens in fewer steps, within the passes that were announced."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ragdecode.decoding.drafter import Draft, Look
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Rewind
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.speculation.asking import reading
from tests.decoding.engines import VOCAB, backend, decode, model, prompt
from tests.decoding.test_commit import Scripted
from tests.reference import naive

LONG = prompt(1, 40)
CAD = [Cad(CadSettings(alpha=0.5))]
SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.7, seed=2),
    Sampling(temperature=1.0, seed=3),
    Sampling(temperature=1.2, top_k=12, top_p=0.9, repetition_penalty=1.3, seed=4),
]


def drafter(name="rag", **settings) -> ViewDrafter:
    return ViewDrafter(ViewDrafterSettings(**{"name": name, "gain": 0.0, **settings}))


def ask(identity="a", *, rag=LONG[5:], model="main", max_new_tokens=24, **settings) -> Request:
    views = {
        "with_context": View(LONG),
        "without_context": View(prompt(2, 8)),
        "rag": View(rag, model=model, role="draft"),
    }
    return Request(identity, views, max_new_tokens=max_new_tokens, **settings)


def run(item: Request, **engine):
    return decode(Engine({"main": backend(), "small": backend(seed=9)}, **engine), item)[item.id]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("rules", [[], CAD], ids=["plain", "cad"])
@pytest.mark.parametrize("shape", [{}, {"depth": 6, "width": 4, "branch": 5}, {"width": 1, "branch": 1}], ids=str)
def test_tokens_are_those_of_undrafted_decoding(sampling, rules, shape):
    plain = run(ask(sampling=sampling, rules=rules))
    for settings in ({"rag": LONG[5:]}, {"rag": LONG, "model": "small"}):
        drafted = run(ask(sampling=sampling, rules=rules, drafters=[drafter(**shape)], **settings))
        assert drafted.tokens == plain.tokens
        assert [r.logprob for r in drafted.records] == pytest.approx([r.logprob for r in plain.records], abs=1e-9)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("depth", [2, 5])
def test_a_view_that_is_the_target_gets_every_token_accepted(sampling, depth):
    chain = drafter(depth=depth, width=1, branch=1)
    result = run(ask(rag=LONG, sampling=sampling, drafters=[chain], max_new_tokens=6 * (depth + 1)))
    assert result.stats.steps == 6  # depth + 1 tokens a step
    assert result.stats.accepted == result.stats.drafted == 6 * depth
    assert result.stats.sources == {"view": {"proposed": 6 * depth, "accepted": 6 * depth}}
    assert result.stats.forward_passes == 6 * (depth + 1)


def test_without_the_shared_noise_sampled_tokens_would_be_missed():
    """The view that is the target, but drafting for another seed: acceptance falls to what chance gives."""
    sampling = Sampling(temperature=1.0, seed=3)
    chain = drafter(width=1, branch=1)
    start = chain.start
    chain.start = lambda request: start(Request("other", request.views, sampling=sampling))
    assert run(ask(rag=LONG, sampling=sampling, drafters=[chain])).stats.mean_accepted < 3.0


@pytest.mark.parametrize("settings", [{}, {"depth": 3, "width": 5, "branch": 8}])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_step_looks_no_more_often_than_its_depth(settings, temperature):
    part = drafter(**settings)
    sizes: list[int] = []
    mine = backend()
    forward = mine.forward

    def counted(segments, **kwargs):
        sizes.extend(len(segment.tokens) for segment in segments)
        return forward(segments, **kwargs)

    mine.forward = counted
    item = ask(drafters=[part], sampling=Sampling(temperature=temperature), max_draft_nodes=16)
    stats = decode(Engine({"main": mine}), item)["a"].stats
    assert stats.steps < stats.forward_passes <= stats.steps * (1 + part.settings.depth)
    assert stats.mean_accepted > 1.2
    read = [len(LONG), len(LONG) - 5]  # the prompts, with the first looks and the first tree
    assert max(sizes) <= max(read) + 16
    assert all(size <= max(16, 18 + part.look_nodes) for size in sizes if size < 35)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_view_that_a_rule_reads_drafts_too(temperature):
    sampling = Sampling(temperature=temperature)
    views = {"with_context": View(LONG), "amateur": View(LONG[30:], model="small")}
    rule = [Cad(CadSettings(alpha=0.3, against="amateur"))]
    tokens = [
        run(Request("a", views, rules=rule, drafters=drafters, sampling=sampling, max_new_tokens=20)).tokens
        for drafters in ([], [drafter("amateur")], [drafter("amateur", depth=1, branch=7)])
    ]
    assert tokens[0] == tokens[1] == tokens[2]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_change_nothing(temperature):
    sampling = Sampling(temperature=temperature, seed=6)
    items = [
        ask(f"r{i}", rag=LONG[i:], model=("main", "small")[i % 2], rules=CAD if i % 3 else [], sampling=sampling,
            drafters=[drafter(depth=1 + i)], max_new_tokens=5 + 4 * i)
        for i in range(5)
    ]  # fmt: skip
    engine = Engine({"main": backend(), "small": backend(seed=9)}, max_batch=3, prefill_tokens=48)
    together = decode(engine, *items)
    for item in items:
        alone = run(item)
        assert together[item.id].tokens == alone.tokens
        assert together[item.id].stats.accepted == alone.stats.accepted


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_after_a_rewind_the_view_drafts_as_well_as_before(temperature):
    sampling = Sampling(temperature=temperature, seed=1)

    def twice(session, token):
        return Rewind(3, bans=[token.token]) if token.position == 8 and len(session.rewinds) < 2 else None

    plain = run(ask(sampling=sampling, monitors=[Scripted(twice)]))
    chain = drafter(depth=3, width=1, branch=1)
    drafted = run(ask(rag=LONG, sampling=sampling, monitors=[Scripted(twice)], drafters=[chain]))
    assert drafted.tokens == plain.tokens
    assert len(drafted.notes) == len(plain.notes)
    # all that was drafted is right; a rewind's bans and what it throws away cost two steps each at most
    assert drafted.stats.committed / drafted.stats.steps > 2.8


def test_draws_of_a_view_verified_by_rejection_follow_the_target():
    """First tokens of many answers against the exact probabilities."""
    sampling = Sampling(temperature=1.0)
    samples = 500
    items = [
        ask(f"s{i}", rag=LONG[30:], model="small", sampling=sampling, verification="rejection",
            drafters=[drafter(depth=2, width=2, branch=3)], max_new_tokens=2)
        for i in range(samples)
    ]  # fmt: skip
    engine = Engine({"main": backend(), "small": backend(seed=9)}, max_batch=64, prefill_tokens=8192)
    answers = decode(engine, *items)
    first = torch.softmax(naive.next_log_probs(model(), LONG), -1)
    counts = torch.bincount(torch.tensor([result.tokens[0] for result in answers.values()]), minlength=VOCAB)
    distance = 0.5 * (counts / samples - first).abs().sum()
    chance = 0.5 * (2 / torch.pi * first * (1 - first) / samples).sqrt().sum()
    assert distance < 1.5 * chance
    assert sum(result.stats.accepted for result in answers.values()) > 0.2 * samples


def test_the_target_itself_is_refused_as_its_draft_model():
    with pytest.raises(ValueError, match="costs a full pass for every token.*quantized"):
        ViewDrafterSettings(name="with_context")


def test_the_first_look_reads_the_prompt_which_is_no_cost_of_the_draft():
    shares: list[float] = []

    class Watched(ViewDrafter):
        part_name = "watched"

        def start(self, request):
            session = super().start(request)
            grow = session.grow

            def watched(nodes, base=None):
                growing = grow(nodes, base)
                look, answer = next(growing), None
                try:
                    while True:
                        shares.append(reading(active, look))
                        answer = yield look
                        look = growing.send(answer)
                except StopIteration as done:
                    return done.value

            session.grow = watched
            return session

    engine = Engine({"main": backend()})
    engine.submit(ask(drafters=[Watched(ViewDrafterSettings(name="rag", gain=0.0, depth=2))], max_new_tokens=6))
    active = engine._waiting[0]
    while engine.busy:
        engine.step()
    assert shares[0] == 34 / 35  # the last token of the prompt is what the draft goes on from
    assert len(shares) > 4
    assert set(shares[1:]) == {0.0}


def test_the_share_of_a_prompt_in_a_look_is_that_of_its_tokens():
    row = SimpleNamespace(prompt=range(30), cached=20, length=lambda tokens: 30 + len(tokens))
    item = SimpleNamespace(rows={"rag": row}, tokens=[5] * 4)
    look = Look("rag", Draft.chain([7] * 6))
    assert reading(item, look) == 9 / 20
    row.cached = 29
    assert reading(item, look) == 0.0
