"""Parts that use the model themselves: drafters that look at a view, rules that expand candidates, hidden states."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Look
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.scoring import continuation_log_probs
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import backend, decode, model, prompt, request
from tests.reference import naive
from tests.reference.llama import PlainLlama

VIEWS = {"with_context": prompt(1, 21), "without_context": prompt(2, 8)}
CAD = [Cad(CadSettings(alpha=0.5))]


class ViewDrafter(Drafter):
    """Drafts a greedy chain, with the second-best token as a sibling, from a view's own predictions."""

    part_name = "view_chain"

    def __init__(self, view: str, length: int) -> None:
        super().__init__(NoSettings())
        self.views = (view,)
        self.length = length
        self.look_nodes = 2 * length
        self.seen: list[torch.Tensor] = []

    def start(self, request):
        return ViewSession(self)


class ViewSession(DraftSession):
    def __init__(self, parent):
        self.parent = parent

    def propose(self, nodes):
        tokens, parents, last = [], [], -1
        for _ in range(self.parent.length):
            answer = yield Look(self.parent.views[0], Draft(tokens, parents, [1.0] * len(tokens)))
            assert answer.shape[0] == 1 + len(tokens)
            self.parent.seen.append(answer[last + 1])
            best = answer[last + 1].topk(2).indices.tolist()
            tokens = [*tokens, *best]
            parents = [*parents, last, last]
            last = len(tokens) - 2
        return Draft(tokens, parents, [0.9 ** (i + 1) for i in range(len(tokens))])

    def observe(self, verified):
        pass

    def rewind(self, length):
        pass


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, seed=2)])
@pytest.mark.parametrize("view", ["with_context", "without_context", "rag"])
def test_drafting_from_a_view_changes_speed_only(view, sampling):
    views = {**VIEWS, "rag": prompt(1, 21)[5:]}
    settings = {"rules": CAD, "sampling": sampling, "max_new_tokens": 18}
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, **settings))["a"]
    drafter = ViewDrafter(view, 3)
    drafted = decode(Engine({"main": backend()}), request("a", views, drafters=[drafter], **settings))["a"]
    assert drafted.tokens == plain.tokens
    assert [r.logprob for r in drafted.records] == pytest.approx([r.logprob for r in plain.records], abs=1e-9)
    first = naive.next_log_probs(PlainLlama(model()), views[view])
    assert (drafter.seen[0] - first).abs().max() < 1e-9
    if view == "with_context" and not sampling.temperature:
        assert drafted.stats.accepted > 0


def test_a_second_model_drafts_for_a_batch():
    requests = [
        Request(
            f"r{i}",
            {"with_context": View(prompt(i, 9 + i)), "draft": View(prompt(i, 9 + i), model="small", role="draft")},
            drafters=[ViewDrafter("draft", 2)],
            max_new_tokens=10 + i,
        )
        for i in range(4)
    ]
    engine = Engine({"main": backend(), "small": backend(seed=0)}, max_batch=3)
    together = decode(engine, *requests)
    for i, item in enumerate(requests):
        plain = decode(
            Engine({"main": backend()}), request("p", {"with_context": prompt(i, 9 + i)}, max_new_tokens=10 + i)
        )
        assert together[item.id].tokens == plain["p"].tokens
        # the drafter is the same model, so that all of its chain is accepted
        assert together[item.id].stats.mean_accepted > 2.4


def test_looking_at_more_than_was_reserved_is_a_clear_bug_of_the_drafter():
    drafter = ViewDrafter("with_context", 20)
    drafter.look_nodes = 4
    item = request("a", VIEWS, drafters=[drafter], max_new_tokens=5, max_draft_nodes=4)
    with pytest.raises(ValueError, match="`look_nodes` is too low"):
        decode(Engine({"main": backend()}), item)


class Repulsion(Rule):
    """A rule that needs everything: penalises candidates whose state is close to the node's own."""

    part_name = "repulsion"
    hidden = True
    expand = 4
    views = ()

    def compose(self, nodes: Nodes) -> torch.Tensor:
        own = nodes.hidden["with_context"][:, None]  # [N, 1, H]
        closeness = torch.cosine_similarity(nodes.candidate_hidden, own, dim=-1)  # [N, K]
        kept = nodes.composed.gather(-1, nodes.candidates) - 2 * closeness
        return torch.full_like(nodes.composed, float("-inf")).scatter(-1, nodes.candidates, kept)


def test_a_rule_sees_hidden_states_and_the_states_of_candidates():
    stock = model()

    def states(ids):
        with torch.no_grad():
            return stock(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]

    tokens = []
    for _ in range(8):
        text = [*VIEWS["with_context"], *tokens]
        log_probs = naive.next_log_probs(stock, text)
        best = log_probs.topk(4).indices.tolist()
        score = {
            c: float(log_probs[c]) - 2 * float(torch.cosine_similarity(states([*text, c]), states(text), dim=0))
            for c in best
        }
        tokens.append(max(score, key=score.get))
    from tests.decoding.engines import TreeDrafter

    for drafters in ([], [TreeDrafter(tokens, 1)]):
        result = decode(
            Engine({"main": backend()}),
            request("a", VIEWS, rules=[Repulsion(NoSettings())], drafters=drafters, max_new_tokens=8),
        )["a"]
        assert result.tokens == tokens


class PathLength(Rule):
    """A rule that reads the path: forbids a token that the answer holds."""

    part_name = "no_repeat"
    views = ()

    def compose(self, nodes: Nodes) -> torch.Tensor:
        scores = nodes.composed.clone()
        for node in range(scores.shape[0]):
            scores[node, nodes.path(node)] = float("-inf")
        return scores


def test_a_rule_gets_the_history_of_each_node():
    from tests.decoding.engines import TreeDrafter

    chain = [*CAD, PathLength(NoSettings())]
    plain = decode(Engine({"main": backend()}), request("a", VIEWS, rules=chain, max_new_tokens=20))["a"]
    assert len(set(plain.tokens)) == 20
    drafted = decode(
        Engine({"main": backend()}),
        request(
            "a", VIEWS, rules=chain, drafters=[TreeDrafter(plain.tokens, 5)], max_new_tokens=20, max_draft_nodes=20
        ),
    )["a"]
    assert drafted.tokens == plain.tokens


def test_every_step_costs_one_pass_a_model_and_one_row_a_view():
    mine = backend()
    calls = []
    forward = mine.forward

    def counted(segments, **kwargs):
        calls.append(len(segments))
        return forward(segments, **kwargs)

    mine.forward = counted
    views = {**VIEWS, "unused": prompt(9, 50)}
    result = decode(Engine({"main": mine}), request("a", views, rules=CAD, max_new_tokens=15))["a"]
    assert calls == [2] * 15
    assert result.stats.forward_passes == result.stats.steps == 15
    assert result.stats.forward_rows == 30


def test_a_long_prompt_that_joins_does_not_stall_the_others():
    engine = Engine({"main": backend()}, prefill_tokens=16)
    engine.submit(request("short", {"with_context": prompt(1, 5)}, max_new_tokens=30))
    engine.step()
    engine.submit(request("long", {"with_context": prompt(2, 150)}, max_new_tokens=2))
    for step in range(9):
        assert len(engine.step()) == 1, step  # a token of the short one, each step, while the long one is read
    while engine.busy:
        engine.step()


def test_continuations_are_scored_as_the_model_predicts_them():
    mine = backend()
    pairs = [
        (prompt(1, 9), prompt(2, 4)),
        (prompt(3, 30), prompt(4, 1)),
        (prompt(5, 2), []),
        (prompt(6, 12), prompt(7, 8)),
    ]
    for budget in (8, 1024):
        got = continuation_log_probs(mine, pairs, tokens_per_pass=budget)
        for (prefix, continuation), scores in zip(pairs, got, strict=True):
            expected = [
                float(naive.next_log_probs(PlainLlama(model()), [*prefix, *continuation[:i]])[token])
                for i, token in enumerate(continuation)
            ]
            assert scores == pytest.approx(expected, abs=1e-9)
    assert not mine._rows
