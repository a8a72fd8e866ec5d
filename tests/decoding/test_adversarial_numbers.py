"""Numbers at their limits, constraints, per-request rules, and what drafts and looks may cost."""

from __future__ import annotations

import math

import pytest
import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.divergence import kl
from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import TokenEvent
from ragdecode.decoding.monitor import Rewind
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.sampling import warp
from ragdecode.decoding.speculation.fusion import fuse
from ragdecode.errors import InputError, RunError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt, request
from tests.decoding.test_adversarial import Track
from tests.decoding.test_commit import CAD, LOOKUP, VIEWS, Scripted, plain
from tests.decoding.test_model_drafters import Repulsion, ViewDrafter


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_constraints_never_meet_a_token_that_they_forbid(temperature):
    sampling = Sampling(temperature=temperature)
    alone = plain(constraints=[Track()], sampling=sampling).tokens
    assert all(token % 2 == place % 2 for place, token in enumerate(alone))
    for seed in range(4):
        drafters = [TreeDrafter(alone, seed), LOOKUP]
        assert plain(constraints=[Track()], sampling=sampling, drafters=drafters, max_draft_nodes=20).tokens == alone


class Nothing(Rule):
    part_name = "nothing"
    views = ()

    def compose(self, nodes):
        return torch.full_like(nodes.composed, float("nan"))


def test_predictions_that_are_not_numbers_are_an_error_and_not_a_text():
    with pytest.raises(RunError, match="is not a number"):
        decode(Engine({"main": backend()}), request("a", VIEWS, rules=[Nothing(NoSettings())]))


@pytest.mark.parametrize("alpha", [-1.0, -0.5, 0.0, 0.5, 2.0])
def test_cad_keeps_impossible_what_a_rule_before_it_made_impossible(alpha):
    composed = torch.tensor([[0.5, 0.5, 0.0, 0.0]], dtype=torch.float64).log()
    against = torch.tensor([[0.25, 0.25, 0.5, 0.0]], dtype=torch.float64).log()
    nodes = Nodes(composed=composed, log_probs={"with_context": composed, "without_context": against})
    got = torch.log_softmax(Cad(CadSettings(alpha=alpha)).compose(nodes), -1).exp()
    assert got.tolist() == [pytest.approx([0.5, 0.5, 0.0, 0.0])]


def test_divergence_is_finite_where_tokens_are_impossible():
    target = torch.tensor([[0.5, 0.5, 0.0, 0.0]], dtype=torch.float64).log()
    other = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64).log()
    assert kl(target, other).item() == pytest.approx(0.5 * math.log(2))
    assert math.isfinite(kl(other, target).item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tiny_temperature_is_nearly_the_argmax_and_not_nothing(dtype):
    scores = torch.log_softmax(torch.tensor([[-3.0, 1.0, 0.5, float("-inf")]], dtype=dtype), -1)
    warped = warp(scores, Sampling(temperature=1e-42, top_p=0.9, top_k=2))
    assert warped.exp().tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": math.nan}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 2}, {"top_k": -1}],
    ids=str,
)
def test_sampling_out_of_range_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_noise_takes_any_id():
    assert torch.isfinite(gumbel(0, "\ud800\x00", 0, [0, 1], 50, torch.device("cpu"))).all()


def test_neighbours_with_the_same_rule_may_want_other_signals():
    """One monitor reads hidden states, the other request of the same rule chain has none."""
    monitor = Scripted(lambda s, t: None)
    monitor.hidden = True
    items = [
        request("a", VIEWS, rules=CAD, max_new_tokens=6),
        request("b", VIEWS, rules=CAD, max_new_tokens=6, monitors=[monitor]),
        request("c", VIEWS, rules=CAD, max_new_tokens=6),
    ]
    for order in (items, items[::-1], [items[1], items[0]]):
        results = decode(Engine({"main": backend()}), *order)
        assert all(result.tokens == plain(6).tokens for result in results.values())
    assert all(token.hidden is not None for token in monitor.sessions[-1].seen)


class Own(Rule):
    """Prefers the request's own token: data of the request, bound when it starts."""

    part_name = "own"
    views = ()
    token = 0

    def start(self, request):
        mine = Own(self.settings)
        mine.token = len(request.views["with_context"].prompt)
        return mine

    def compose(self, nodes):
        scores = nodes.composed.clone()
        scores[:, self.token] += 100
        return scores


def test_a_rule_can_hold_data_of_each_request_in_a_batch_and_after_a_rewind():
    rule = Own(NoSettings())
    items = [
        request(
            f"r{i}",
            {"with_context": prompt(i, 5 + i)},
            rules=[rule],
            max_new_tokens=3,
            monitors=[Scripted(lambda s, t: None if s.rewinds or t.position < 1 else Rewind(0))],
        )
        for i in range(3)
    ]
    results = decode(Engine({"main": backend()}), *items)
    assert [results[f"r{i}"].tokens for i in range(3)] == [[5 + i] * 3 for i in range(3)]


def test_scores_that_are_not_numbers_cost_nothing_but_their_place():
    draft = Draft([5, 6, 7], [-1, 0, 1], [0.5, math.nan, 0.4])
    tree = fuse(1, [("d", draft)], nodes=3, max_depth=9, vocab_size=50, end_tokens=frozenset())
    assert list(tree.tokens) == [1, 5, 6]


def test_a_drafter_made_of_others_names_who_proposed_what():
    class Both(TreeDrafter):
        part_name = "both"

        def start(self, request):
            session = super().start(request)
            old = session.propose

            def propose(nodes):
                draft = old(nodes)
                names = [("left", "right")[i % 2] for i in range(len(draft.tokens))]
                return Draft(draft.tokens, draft.parents, draft.scores, names)

            session.propose = propose
            return session

    tokens = plain().tokens
    result = plain(drafters=[Both(tokens, 1)], max_draft_nodes=12)
    assert set(result.stats.sources) == {"left", "right"}
    assert sum(source["proposed"] for source in result.stats.sources.values()) == result.stats.drafted


def test_looking_beyond_the_window_near_its_end_breaks_nothing():
    long = prompt(1, 256 - 9)
    expected = decode(Engine({"main": backend()}), request("a", {"with_context": long}, max_new_tokens=9))["a"].tokens
    item = request("a", {"with_context": long}, drafters=[ViewDrafter("with_context", 6)], max_new_tokens=9)
    assert decode(Engine({"main": backend()}), item)["a"].tokens == expected


def spied(mine):
    """The backend, and a list that receives the number of tokens and rows of every pass."""
    passes, forward = [], mine.forward

    def counted(segments, **kwargs):
        passes.append((sum(len(segment.tokens) for segment in segments), len(segments)))
        return forward(segments, **kwargs)

    mine.forward = counted
    return mine, passes


def test_the_prompt_of_a_draft_only_view_is_read_in_chunks_too():
    mine, passes = spied(backend())
    views = {"with_context": View(prompt(1, 9)), "rag": View(prompt(2, 200), role="draft")}
    item = Request("a", views, drafters=[ViewDrafter("rag", 2)], max_new_tokens=6)
    expected = decode(Engine({"main": backend()}), request("a", {"with_context": prompt(1, 9)}, max_new_tokens=6))
    assert decode(Engine({"main": mine}, prefill_tokens=32), item)["a"].tokens == expected["a"].tokens
    assert max(tokens for tokens, _ in passes) <= 32 + 8


def test_a_draft_view_that_is_never_looked_at_stalls_nobody():
    views = {"with_context": View(prompt(1, 9)), "rag": View(prompt(2, 30), role="draft")}
    items = [Request(f"r{i}", views, drafters=[ViewDrafter("rag", 0)]) for i in range(2)]
    engine = Engine({"main": backend()}, prefill_tokens=40)
    for item in items:
        engine.submit(item)
    engine.step()
    engine.step()
    for _ in range(3):
        assert len([e for e in engine.step() if isinstance(e, TokenEvent)]) == 2


def test_candidates_of_a_batch_share_a_pass():
    mine, passes = spied(backend())
    rule = Repulsion(NoSettings())
    items = [request(f"r{i}", {"with_context": prompt(i, 5 + i)}, rules=[rule], max_new_tokens=4) for i in range(3)]
    together = decode(Engine({"main": mine}), *items)
    assert [rows for _, rows in passes] == [3] * 8
    for item in items:
        assert decode(Engine({"main": backend()}), item)[item.id].tokens == together[item.id].tokens


def test_a_view_for_drafting_is_not_read_by_a_rule():
    views = {"with_context": View(prompt(1, 5)), "without_context": View(prompt(2, 5), role="draft")}
    with pytest.raises(InputError, match="is for drafting"):
        Engine({"main": backend()}).submit(Request("a", views, rules=CAD))


def test_more_alternatives_than_tokens_are_all_tokens():
    result = plain(2, alternatives=VOCAB + 50)
    assert sorted(item.token for item in result.records[0].alternatives) == list(range(VOCAB))


class Last(Rule):
    """Forbids the last three tokens of each node's path, taken either way."""

    part_name = "last"
    views = ()

    def compose(self, nodes):
        scores = nodes.composed.clone()
        for node in range(scores.shape[0]):
            whole = nodes.path(node)
            for count in range(6):
                assert nodes.path(node, count) == whole[max(len(whole) - count, 0) :]
            scores[node, nodes.path(node, 3)] = float("-inf")
        return scores


def test_a_rule_can_read_the_end_of_a_path_alone():
    settings = {"rules": [Last(NoSettings())], "max_new_tokens": 20}
    alone = decode(Engine({"main": backend()}), request("a", VIEWS, **settings))["a"].tokens
    drafters = [TreeDrafter(alone, 1)]
    item = request("a", VIEWS, **settings, drafters=drafters, max_draft_nodes=14)
    assert decode(Engine({"main": backend()}), item)["a"].tokens == alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("linear", ["auto", "plain"])
def test_chunks_without_predictions_drafts_and_rewinds_run_in_every_dtype(dtype, linear):
    stock = model()
    mine = LlamaBackend(stock.config.to_dict(), stock.state_dict(), dtype=dtype, linear=linear)
    monitor = Scripted(lambda s, t: Rewind(2) if t.position == 6 and not s.rewinds else None)
    result = decode(
        Engine({"main": mine}, prefill_tokens=4),
        request("a", VIEWS, rules=CAD, drafters=[LOOKUP], monitors=[monitor], max_new_tokens=12),
    )["a"]
    assert len(result.tokens) == 12
    if dtype is torch.float32:
        assert result.tokens == plain(12).tokens


def test_views_of_drafters_that_may_not_draft_cost_no_row():
    views = {"with_context": View(prompt(1, 9)), "rag": View(prompt(2, 200), role="draft")}
    mine, passes = spied(backend())
    item = Request("a", views, drafters=[ViewDrafter("rag", 2)], max_draft_nodes=1, max_new_tokens=3)
    decode(Engine({"main": mine}, prefill_tokens=16), item)
    assert passes == [(9, 1), (1, 1), (1, 1)]
