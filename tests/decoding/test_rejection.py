"""Draws of a drafter are tested so that what comes out follows the composed distribution, and nothing else would."""

from __future__ import annotations

import itertools
import random
from functools import cache

import pytest
import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.drafter import Draft, Drafter, DraftSession
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Rewind
from ragdecode.decoding.noise import gumbel, uniform
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.speculation.governor import FixedTree
from ragdecode.decoding.speculation.rejection import pick, published, without_replacement
from ragdecode.decoding.tree import MODEL, Tree
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import decode
from tests.decoding.test_commit import Scripted
from tests.decoding.tiny_models import tiny
from tests.reference import naive

RUNS = 60_000
P = torch.tensor([0.30, 0.22, 0.16, 0.12, 0.09, 0.06, 0.04, 0.01], dtype=torch.float64)
Q = torch.tensor([0.05, 0.02, 0.30, 0.03, 0.25, 0.20, 0.10, 0.05], dtype=torch.float64)


def drawn(q: torch.Tensor, count: int, runs: int, seed: int) -> torch.Tensor:
    """Draws without replacement [runs, count], one after the other: the definition."""
    generator = torch.Generator().manual_seed(seed)
    left, draws = q.expand(runs, -1).clone(), []
    for _ in range(count):
        draws.append(torch.multinomial(left, 1, generator=generator))
        left.scatter_(1, draws[-1], 0.0)
    return torch.cat(draws, dim=1)


def outcome(draws: torch.Tensor, *, p: torch.Tensor = P, q: torch.Tensor = Q, seed: int = 0) -> torch.Tensor:
    """Frequencies [V] of the tokens that the tests let through, over all runs."""
    runs = draws.shape[0]
    generator = torch.Generator().manual_seed(seed + 1)
    uniforms = torch.rand(draws.shape, generator=generator, dtype=torch.float64)
    accepted, rest = without_replacement(p.expand(runs, -1), q.expand(runs, -1), draws, uniforms)
    token = torch.where(accepted >= 0, accepted, torch.multinomial(rest, 1, generator=generator)[:, 0])
    return token.bincount(minlength=len(p)).double() / runs


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(0.5 * (found - expected).abs().sum())


def chance(expected: torch.Tensor, runs: int) -> float:
    """Expected total variation of that many exact samples."""
    return float(0.5 * (2 / torch.pi * expected * (1 - expected) / runs).sqrt().sum())


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("q", [Q, P, P.flip(0), torch.tensor([0.5, 0.5, *(0.0,) * 6], dtype=torch.float64)], ids=str)
def test_the_outcome_follows_p_whatever_was_drawn(count, q):
    count = min(count, int((q > 0).sum()))
    assert distance(outcome(drawn(q, count, RUNS, count), q=q), P) < 3 * chance(P, RUNS)


def test_groups_of_different_sizes_stand_side_by_side():
    draws = drawn(Q, 3, RUNS, 5)
    draws[: RUNS // 2, 1:] = -1
    assert distance(outcome(draws), P) < 3 * chance(P, RUNS)


def test_one_draw_is_accepted_as_often_as_can_be():
    draws = drawn(Q, 1, RUNS, 7)
    uniforms = torch.rand(draws.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    accepted, _ = without_replacement(P.expand(RUNS, -1), Q.expand(RUNS, -1), draws, uniforms)
    assert float((accepted >= 0).double().mean()) == pytest.approx(float(torch.minimum(P, Q).sum()), abs=0.01)


@pytest.mark.parametrize("broken", ["best", "reordered", "pruned", "residual"])
def test_the_test_finds_what_breaks_the_law(broken):
    """The forbidden variants: the same check must fail for each, or it guards nothing."""
    draws = drawn(Q, 3, RUNS, 1)
    if broken == "best":  # the most probable tokens instead of draws
        draws = Q.topk(3).indices.expand(RUNS, -1)
    elif broken == "reordered":  # tested by probability instead of in the order of drawing
        draws = draws.gather(1, Q[draws].argsort(dim=1, descending=True))
    elif broken == "pruned":  # the best two of three
        draws = draws.gather(1, Q[draws].topk(2, dim=1).indices.sort(dim=1).values)
    found = outcome(draws)
    if broken == "residual":  # a rejected draw replaced by one from p itself
        found = outcome(draws[:, :1], q=Q) * 0 + _without_residual(draws[:, :1])
    assert distance(found, P) > 10 * chance(P, RUNS)


def _without_residual(draws: torch.Tensor) -> torch.Tensor:
    uniforms = torch.rand(draws.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    accepted, _ = without_replacement(P.expand(RUNS, -1), Q.expand(RUNS, -1), draws, uniforms)
    other = torch.multinomial(P.expand(RUNS, -1), 1, generator=torch.Generator().manual_seed(4))[:, 0]
    return torch.where(accepted >= 0, accepted, other).bincount(minlength=8).double() / RUNS


def test_the_published_test_of_rapid_follows_its_formula_and_neither_distribution():
    """What comes out is min(q, moved) + (1 - sum of that) norm(max(p - moved, p - q, 0))."""
    moved = torch.softmax(P.log() + 5 * (Q - P), dim=-1)
    draws = drawn(Q, 1, RUNS, 9)
    uniforms = torch.rand(draws.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    accepted, rest = published(P.expand(RUNS, -1), moved.expand(RUNS, -1), Q.expand(RUNS, -1), draws, uniforms)
    other = torch.multinomial(rest, 1, generator=torch.Generator().manual_seed(8))[:, 0]
    found = torch.where(accepted >= 0, accepted, other).bincount(minlength=8).double() / RUNS
    residual = torch.stack([P - moved, P - Q, torch.zeros_like(P)]).amax(dim=0)
    kept = torch.minimum(Q, moved)
    expected = kept + (1 - kept.sum()) * residual / residual.sum()
    assert distance(found, expected) < 3 * chance(expected, RUNS)
    assert min(distance(expected, P), distance(expected, moved)) > 0.05


def test_tests_have_numbers_of_their_own():
    device = torch.device("cpu")
    numbers = uniform(1, "a", 0, range(3), 4, device)
    assert numbers.shape == (3, 4)
    assert float(numbers.min()) > 0
    assert float(numbers.max()) < 1
    assert torch.equal(numbers, uniform(1, "a", 0, range(3), 9, device)[:, :4])
    assert not torch.equal(numbers, uniform(1, "a", 1, range(3), 4, device))
    noise = gumbel(1, "a", 0, range(3), 4, device)
    assert not torch.isclose(-torch.log(-torch.log(numbers)), noise).any()


def test_a_child_that_was_chosen_is_followed_where_it_is_sampled():
    """Node 0 has draws, node 1 a child that was not drawn: there the token is the noise's own."""
    tree = Tree([0, 3, 5, 2], [-1, 0, 0, 1], [0, 1, 1, 2], [(MODEL,)] * 4, {0: Q.log()})
    scores = torch.stack([P.log()] * 4)
    noise = gumbel(0, "a", 0, range(4), 8, torch.device("cpu"))
    picked = pick(scores, None, noise, torch.full((4, 2), 1 - 1e-9, dtype=torch.float64), tree)
    assert picked[1:].tolist() == (scores + noise).argmax(dim=-1)[1:].tolist()
    never = pick(scores, None, noise, torch.full((4, 2), 1e-9, dtype=torch.float64), tree)
    assert int(never[0]) == 3  # the first draw passes an easy test


# --- the engine -------------------------------------------------------------------------------------------------

VOCAB, LENGTH = 7, 3


class Drawing(Drafter):
    """Draws from a table by the last token: a drafter with a distribution that costs nothing."""

    part_name = "drawing"
    draws = True

    def __init__(self, branches: tuple[int, ...], keep: int | None = None, sharp: float = 1.5) -> None:
        super().__init__(NoSettings())
        self.branches, self.keep = branches, keep
        generator = torch.Generator().manual_seed(5)
        self.table = torch.log_softmax(sharp * torch.randn(VOCAB, VOCAB, generator=generator).double(), dim=-1)

    def start(self, request):
        return _Drawing(self, request)


class _Drawing(DraftSession):
    def __init__(self, parent, request):
        self.parent, self.last = parent, request.views["with_context"].prompt[-1]
        self.rng = random.Random(f"{request.sampling.seed} {request.id}")
        self.first, self.answer = self.last, []

    def propose(self, nodes):
        tokens, parents, scores, log_probs, level = [], [], [], {}, [(-1, self.last)]
        for count in self.parent.branches:
            below = []
            for parent, last in level:
                weights = self.parent.table[last].exp().tolist()
                draws = []
                for _ in range(count):
                    draws += self.rng.choices(range(VOCAB), weights)
                    weights[draws[-1]] = 0.0
                if self.parent.keep:  # forbidden: the most probable of the draws
                    best = sorted(draws, key=lambda token, last=last: -self.parent.table[last, token])
                    draws = [token for token in draws if token in best[: self.parent.keep]]
                log_probs[parent] = self.parent.table[last]
                for token in draws:
                    below.append((len(tokens), token))
                    tokens.append(token)
                    parents.append(parent)
                    scores.append(self.rng.random())  # must not matter
            level = below
        return Draft(tokens, parents, scores, drawn=log_probs)

    def observe(self, verified):
        self.answer += verified.committed
        self.last = ([self.first, *self.answer])[-1]

    def rewind(self, length):
        del self.answer[length:]
        self.last = ([self.first, *self.answer])[-1]


PROMPTS = {"with_context": [3, 5, 4, 6, 3, 3, 5], "without_context": [5, 4, 4]}


@cache
def stock():
    return tiny("llama", vocab_size=VOCAB, seed=3)


def engine(batch: int = 200, **settings) -> Engine:
    return Engine(
        {"main": LlamaBackend(stock().config.to_dict(), stock().state_dict(), dtype=torch.float64)},
        max_batch=batch,
        prefill_tokens=1 << 20,
        **settings,
    )


def asked(name: str, temperature: float, alpha: float | None, **settings) -> Request:
    return Request(
        name,
        {view: View(ids) for view, ids in PROMPTS.items()},
        rules=() if alpha is None else RULES[alpha],
        sampling=Sampling(temperature=temperature),
        max_new_tokens=LENGTH,
        **settings,
    )


RULES = {0.5: [Cad(CadSettings(alpha=0.5))]}


@cache
def joint(temperature: float, alpha: float | None) -> torch.Tensor:
    """Probabilities of all answers of LENGTH tokens [V ** LENGTH], from whole prompts."""
    compose = naive.plain() if alpha is None else naive.cad(alpha)
    table = torch.ones(1, dtype=torch.float64)
    for length in range(LENGTH):
        prefixes = list(itertools.product(range(VOCAB), repeat=length))
        with torch.no_grad():
            views = {
                view: torch.log_softmax(
                    stock()(torch.tensor([[*ids, *prefix] for prefix in prefixes]), use_cache=False).logits[:, -1], -1
                )
                for view, ids in PROMPTS.items()
            }
        scores = torch.log_softmax(compose(views), dim=-1) / temperature
        table = (table[:, None] * torch.softmax(scores, dim=-1)).flatten()
    return table


def surprise(answers: list[list[int]], expected: torch.Tensor) -> float:
    """Chi-square of the answers' frequencies in standard deviations; cells of fewer than 5 expected are pooled."""
    counts = torch.zeros_like(expected)
    for tokens in answers:
        place = 0
        for token in tokens:
            place = place * VOCAB + token
        counts[place] += 1
    ideal = expected * len(answers)
    small = ideal < 5
    ideal = torch.cat([ideal[~small], ideal[small].sum()[None]])
    counts = torch.cat([counts[~small], counts[small].sum()[None]])
    degrees = len(ideal) - 1
    square = float(((counts - ideal) ** 2 / ideal.clamp(min=1e-9)).sum())
    return (square - degrees) / (2 * degrees) ** 0.5


def sampled(runs: int, temperature: float, alpha: float | None, **settings) -> list[list[int]]:
    results = decode(engine(), *(asked(f"s{run}", temperature, alpha, **settings) for run in range(runs)))
    return [result.tokens for result in results.values()]


SHAPES = {"chain": (1, 1), "tree": (3, 2), "wide": (6,)}


@pytest.mark.parametrize(
    ("shape", "temperature", "alpha"),
    [("chain", 1.0, 0.5), ("tree", 1.0, 0.5), ("tree", 0.7, None), ("wide", 0.7, 0.5)],
)
def test_answers_follow_the_composed_distribution(shape, temperature, alpha):
    drafters = [Drawing(SHAPES[shape])]
    answers = sampled(400, temperature, alpha, drafters=drafters, max_draft_nodes=16, verification="rejection")
    assert surprise(answers, joint(temperature, alpha)) < 4


@pytest.mark.parametrize(("temperature", "alpha"), [(0.7, 0.5), (1.0, None)])
def test_noise_follows_it_too(temperature, alpha):
    answers = sampled(400, temperature, alpha, drafters=[Drawing((3, 2))], max_draft_nodes=16)
    assert surprise(answers, joint(temperature, alpha)) < 4


@pytest.mark.parametrize("branch", [1, 3])
def test_a_view_that_draws_follows_it(branch):
    drafter = ViewDrafter(ViewDrafterSettings(name="without_context", depth=2, branch=branch, gain=0.0))
    settings = {"drafters": [drafter], "max_draft_nodes": 9, "verification": "rejection"}
    results = decode(engine(), *(asked(f"s{run}", 1.0, 0.5, **settings) for run in range(400)))
    assert surprise([result.tokens for result in results.values()], joint(1.0, 0.5)) < 4
    assert sum(result.stats.accepted for result in results.values()) > 200


def test_sampling_transforms_and_the_penalty_come_before_the_test():
    """Top-k, top-p and the repetition penalty shape what draws are tested against, path by path."""
    sampling = Sampling(temperature=0.9, top_k=4, top_p=0.95, repetition_penalty=1.6)
    requests = [
        Request(
            f"s{run}",
            {"with_context": View(PROMPTS["with_context"])},
            drafters=[Drawing((2, 2))],
            sampling=sampling,
            max_new_tokens=2,
            max_draft_nodes=16,
            verification="rejection",
        )
        for run in range(400)
    ]
    counts = torch.zeros(VOCAB, VOCAB, dtype=torch.float64)
    for result in decode(engine(), *requests).values():
        counts[tuple(result.tokens)] += 1
    ideal = torch.zeros_like(counts)
    for path in itertools.product(range(VOCAB), repeat=2):
        chance = 1.0
        for length, token in enumerate(path):
            scores = naive.next_log_probs(stock(), [*PROMPTS["with_context"], *path[:length]])
            for seen in set(path[:length]):
                scores[seen] *= 1.6
            chance *= float(naive.warped(scores, 0.9, 4, 0.95, 0.0)[token])
        ideal[path] = 400 * chance
    assert not counts[ideal == 0].any()
    large = ideal >= 5
    degrees = int(large.sum()) - 1
    square = float(((counts - ideal) ** 2 / ideal)[large].sum())
    assert (square - degrees) / (2 * degrees) ** 0.5 < 4


def test_a_drafter_that_drops_draws_is_found_out():
    drafters = [Drawing((3, 3), keep=2)]
    answers = sampled(700, 1.0, 0.5, drafters=drafters, max_draft_nodes=16, verification="rejection")
    assert surprise(answers, joint(1.0, 0.5)) > 10


def test_after_a_rewind_with_a_ban_the_rest_keeps_its_proportions():
    """Token x rejected and banned at the first place: there, p(y) / (1 - p(x)) for all others."""
    first = joint(1.0, None).view(VOCAB, -1)
    banned = int(first.sum(dim=1).argmax())
    monitor = Scripted(
        lambda session, token: (
            Rewind(0, bans=[banned]) if token.position == 0 and token.token == banned and not session.rewinds else None
        )
    )
    settings = {"drafters": [Drawing((3, 2))], "max_draft_nodes": 16, "verification": "rejection"}
    answers = sampled(400, 1.0, None, monitors=[monitor], **settings)
    expected = first.clone()
    expected[banned] = 0
    assert all(tokens[0] != banned for tokens in answers)
    assert surprise(answers, (expected / expected.sum()).flatten()) < 4


def test_neighbours_change_nothing():
    settings = {"drafters": [Drawing((2, 2))], "max_draft_nodes": 16, "verification": "rejection"}
    requests = [asked(f"r{index}", 1.0, 0.5 if index % 2 else None, **settings) for index in range(12)]
    together = decode(engine(5), *requests)
    for item in requests:
        assert decode(engine(), item)[item.id].tokens == together[item.id].tokens


class Moody(FixedTree):
    """A governor that asks now and then, as one that measures time would."""

    def __init__(self):
        super().__init__()
        self.rng = random.Random(3)

    def ask(self, slots, *, paid):
        return [names if self.rng.random() < 0.3 else [] for names in super().ask(slots, paid=paid)]


def test_a_governor_has_no_say_where_draws_are_tested():
    settings = {"drafters": [Drawing((2, 2))], "max_draft_nodes": 16, "verification": "rejection"}
    requests = [asked(f"r{index}", 1.0, None, **settings) for index in range(8)]
    fixed, governed = decode(engine(), *requests), decode(engine(governor=Moody()), *requests)
    assert [fixed[item.id].tokens for item in requests] == [governed[item.id].tokens for item in requests]


def test_without_temperature_it_is_greedy():
    plain = decode(engine(), asked("a", 0.0, 0.5))["a"]
    drafted = decode(engine(), asked("a", 0.0, 0.5, drafters=[Drawing((2, 2))], verification="rejection"))["a"]
    assert drafted.tokens == plain.tokens


class Silent(Drawing):
    part_name, draws = "silent", False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drafters": [Silent((1,))]}, "silent has nothing to draw from"),
        ({"drafters": [Drawing((1,)), Drawing((1,))]}, "one drafter, not 2"),
    ],
)
def test_requests_that_cannot_be_tested_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        decode(engine(), asked("a", 1.0, None, verification="rejection", **settings))


def test_constraints_are_refused():
    from ragdecode.decoding.constraints.ban import Ban, BanSettings

    ban = Ban(BanSettings(tokens=(3,)))
    with pytest.raises(InputError, match="constraint ban"):
        decode(engine(), asked("a", 1.0, None, verification="rejection", drafters=[Drawing((1,))], constraints=[ban]))


def test_a_draft_that_does_not_fit_is_an_error_and_not_cut():
    item = asked("a", 1.0, None, verification="rejection", drafters=[Drawing((3, 2))], max_draft_nodes=6)
    with pytest.raises(ValueError, match="drew 9 tokens where there is room for 5"):
        decode(engine(), item)
