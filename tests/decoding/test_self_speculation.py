"""Self-speculation: the model drafts for itself with sub-layers left out; tokens stay the same."""

from __future__ import annotations

import itertools
import random
from functools import cache

import pytest
import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.drafters.self_speculation import SelfSpeculation, SelfSpeculationSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve, Rewind
from ragdecode.decoding.request import Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.skipping.choice import SkipChoice
from ragdecode.decoding.skipping.clasp import choose_layers
from ragdecode.decoding.skipping.parts import alternate, inner_parts, skip_count
from ragdecode.decoding.skipping.search import SkipSearch
from ragdecode.decoding.skipping.surrogate import Surrogate
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, decode, prompt, request
from tests.decoding.tiny_models import tiny

VIEWS = {"with_context": prompt(1, 21), "without_context": prompt(2, 8)}
CAD = [Cad(CadSettings(alpha=0.5))]
METHODS = {
    "fixed": {"method": "fixed", "skip": [2, 5], "gain": 0.0},
    "every other": {"method": "fixed", "gain": 0.0, "width": 3},
    "swift": {"method": "swift", "window": 8, "budget": 40.0, "gain": 0.0, "width": 2},
    "clasp": {"method": "clasp", "refresh": 2, "unit": "part", "gain": 0.0},
    "clasp layers": {"method": "clasp", "refresh": 1, "gain": 0.0, "ratio": 0.9},
}


@cache
def stock(layers: int = 6, seed: int = 0):
    return tiny("llama", vocab_size=VOCAB, seed=seed, num_hidden_layers=layers)


def own(layers: int = 6) -> LlamaBackend:
    model = stock(layers)
    return LlamaBackend(model.config.to_dict(), model.state_dict(), dtype=torch.float64)


def drafter(**settings) -> SelfSpeculation:
    return SelfSpeculation(SelfSpeculationSettings(**settings))


def both(settings, *, views=VIEWS, **more):
    plain = decode(Engine({"main": own()}), request("a", views, **more))["a"]
    part = drafter(**settings)
    drafted = decode(Engine({"main": own()}), request("a", views, drafters=[part], **more))["a"]
    assert drafted.tokens == plain.tokens
    assert [r.logprob for r in drafted.records] == pytest.approx([r.logprob for r in plain.records], abs=1e-9)
    return drafted


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_those_of_plain_decoding(method, temperature):
    sampling = Sampling(temperature=temperature, seed=3)
    drafted = both(METHODS[method], sampling=sampling, max_new_tokens=18)
    assert drafted.stats.sources["self"]["proposed"] > 10
    contrast = both(METHODS[method], sampling=sampling, rules=CAD, max_new_tokens=14, max_draft_nodes=5)
    assert contrast.stats.drafted > 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_skipped_means_everything_accepted(temperature):
    settings = {"method": "fixed", "skip": [], "branch": 1, "depth": 4, "gain": 0.0}
    drafted = both(settings, sampling=Sampling(temperature=temperature, seed=1), max_new_tokens=26)
    assert drafted.stats.accepted == drafted.stats.drafted == 20
    assert drafted.stats.steps == 6  # the prompt's pass, then five tokens each


def test_a_batch_shares_what_is_learnt_and_keeps_its_tokens():
    part = drafter(**METHODS["swift"])
    items = [
        request(f"r{i}", {"with_context": prompt(i, 9 + 7 * i)}, drafters=[part], max_new_tokens=24 + i)
        for i in range(4)
    ]
    clasp = drafter(**METHODS["clasp"])
    items += [request(f"c{i}", {"with_context": prompt(i, 12)}, drafters=[clasp], max_new_tokens=15) for i in range(2)]
    together = decode(Engine({"main": own()}, max_batch=4, prefill_tokens=16), *items)
    for item in items:
        views = {"with_context": item.views["with_context"].prompt}
        alone = request("p", views, max_new_tokens=item.max_new_tokens)
        assert together[item.id].tokens == decode(Engine({"main": own()}), alone)["p"].tokens
    assert part._choices[6]._search.tried > 8


class _Acts(Monitor):
    """Rewinds once at token 9, and puts another prompt before the answer at token 14."""

    part_name = "acts"
    views = ()

    def start(self, request):
        return _Acting()


class _Acting(MonitorSession):
    def __init__(self):
        self.rewound = self.replaced = False

    def observe(self, token):
        if token.position == 9 and not self.rewound:
            self.rewound = True
            return Rewind(to=4, overrides={"sampling.temperature": 1.0})
        if token.position == 14 and not self.replaced:
            self.replaced = True
            return Retrieve(query="more")
        return None

    def rewind(self, length):
        pass

    def released(self):
        return None

    def finish(self, text):
        return None

    def record(self):
        return {}


@pytest.mark.parametrize("method", METHODS)
def test_rewinds_and_new_prompts_do_not_disturb_it(method):
    more = {"monitors": [_Acts(NoSettings())], "retrieve": lambda query: {"with_context": View(prompt(5, 33))}}
    drafted = both(METHODS[method], max_new_tokens=28, max_rewinds=2, **more)
    assert drafted.stats.drafted > 10


class Checked(LlamaBackend):
    """Checks before each full pass that the rows' cached entries are those of a fresh run."""

    checked = 0

    def forward(self, segments, **kwargs):
        if not kwargs.get("skip"):
            for segment in segments:
                if segment.base:
                    self.verify(segment)
        return super().forward(segments, **kwargs)

    def verify(self, segment):
        from ragdecode.decoding.backend import Segment

        held = self._rows[segment.row][:, :, : segment.base]
        history = self.history[segment.row][: segment.base]
        row = self.open_row(segment.base)
        super().forward([Segment(row, 0, history, range(len(history)), None, ())])
        assert (self._rows[row] - held).abs().max() < 1e-9
        self.close_row(row)
        Checked.checked += 1


@pytest.mark.parametrize("method", METHODS)
def test_caches_after_skipped_looks_are_those_of_a_fresh_run(method):
    plain = decode(Engine({"main": own()}), request("a", VIEWS, max_new_tokens=20))["a"]
    backend = Checked(stock().config.to_dict(), stock().state_dict(), dtype=torch.float64)
    backend.history = {1: [*VIEWS["with_context"], *plain.tokens]}
    part = drafter(**METHODS[method])
    before = Checked.checked
    got = decode(Engine({"main": backend}), request("a", VIEWS, drafters=[part], max_new_tokens=20))["a"]
    assert got.tokens == plain.tokens
    assert Checked.checked - before >= got.stats.steps - 1


def test_it_does_not_look_before_the_prompt_is_read():
    fed = []

    class Counting(LlamaBackend):
        def forward(self, segments, **kwargs):
            if kwargs.get("skip"):
                fed.append(sum(len(segment.tokens) for segment in segments))
            return super().forward(segments, **kwargs)

    backend = Counting(stock().config.to_dict(), stock().state_dict(), dtype=torch.float64)
    settings = {"method": "fixed", "skip": [4, 5], "depth": 3, "width": 2, "gain": 0.0}
    views = {"with_context": prompt(3, 150)}
    more = {"monitors": [_Acts(NoSettings())], "retrieve": lambda query: {"with_context": View(prompt(5, 140))}}
    item = request("a", views, drafters=[drafter(**settings)], max_new_tokens=25, **more)
    decode(Engine({"main": backend}), item)
    assert fed
    assert max(fed) <= 1 + 2 * 2  # never the prompt: the root and what two earlier looks extended


def naive_matchness(skip, history, text):
    """One token after the other, the stock model without the sub-layers from the first of them on.

    What comes before is read by the whole model, as its cache holds it.
    """
    from ragdecode.decoding.backend import Segment

    backend = own()
    hits = 0
    row = backend.open_row(len(history) + len(text) + 1)
    before = history[:-1]
    backend.forward([Segment(row, 0, before, range(len(before)), None, ())])
    fed = [history[-1], *text]
    for i, token in enumerate(text):
        out = backend.forward([Segment(row, len(before) + i, [fed[i]], [0], None, [0])], skip=skip)
        hits += int(out.logits[0].argmax()) == token
    return hits / len(text)


def test_matchness_is_what_skipping_token_by_token_finds():
    part = drafter(method="swift", window=12, budget=1000.0, gain=0.0)
    told = []
    part.meet({"with_context": own()})
    search = part._choices[6]._search
    tell, measure = search.tell, search.measure_best

    def recorded(skip, score, tokens):
        told.append((skip, score, tokens))
        tell(skip, score, tokens)

    def remeasured(score, tokens):
        told.append((search.best, score, tokens))
        measure(score, tokens)

    search.tell, search.measure_best = recorded, remeasured
    lengths = []
    session_start = part.start

    def start(request):
        session = session_start(request)
        grow = session.grow

        def noted(nodes, base=None):
            before = len(told)
            draft = yield from grow(nodes, base)
            lengths.extend([len(session._answer)] * (len(told) - before))
            return draft

        session.grow = noted
        return session

    part.start = start
    got = decode(Engine({"main": own()}), request("a", VIEWS, drafters=[part], max_new_tokens=40))["a"]
    assert len(told) == len(lengths) > 8
    assert len({skip for skip, _, _ in told}) > 4
    for (skip, score, tokens), length in zip(told, lengths, strict=True):
        history = [*VIEWS["with_context"], *got.tokens[: length - tokens]]
        assert tokens == min(12, length)
        assert score == naive_matchness(skip, history, got.tokens[length - tokens : length])


def with_dead_parts(dead: set[int], layers: int = 8):
    """A model in which some sub-layers add nothing, because their output weights are zero."""
    model = tiny("llama", vocab_size=VOCAB, seed=4, num_hidden_layers=layers)
    with torch.no_grad():
        for part in dead:
            layer = model.model.layers[part // 2]
            (layer.self_attn.o_proj if part % 2 == 0 else layer.mlp.down_proj).weight.zero_()
    return LlamaBackend(model.config.to_dict(), model.state_dict(), dtype=torch.float64)


DEAD = {4, 7, 9, 11, 12}


def test_the_search_finds_parts_that_add_nothing():
    backend = with_dead_parts(DEAD)
    part = drafter(method="swift", ratio=0.34, window=16, budget=1000.0, enough=1.0, gain=0.0, depth=1)
    engine = Engine({"main": backend})
    assert skip_count(8, 0.34) == 4
    search = None
    for number in range(25):
        decode(engine, request(f"r{number}", {"with_context": prompt(number, 12)}, drafters=[part], max_new_tokens=60))
        search = part._choices[8]._search
        if search.done:
            break
    assert search.done
    assert search.score == 1.0
    assert search.best <= DEAD
    assert search.tried < 600  # of the 495 sets of four, five are right
    after = decode(engine, request("z", {"with_context": prompt(90, 12)}, drafters=[part], max_new_tokens=30))["z"]
    assert after.stats.accepted >= after.stats.steps - 3  # the first child of the root is right every time
    tried = search.tried
    decode(engine, request("y", {"with_context": prompt(91, 12)}, drafters=[part], max_new_tokens=30))
    assert search.tried == tried


def test_the_search_keeps_to_its_budget_and_ends():
    search = SkipSearch(inner_parts(8), alternate(8, 4), budget=2.0, tries=40, patience=25)
    for step in range(400):
        search.generated(2)
        if search.affords(8):
            chosen = search.candidate()
            assert len(chosen) == 4
            assert chosen <= set(inner_parts(8))
            search.tell(chosen, 0.5, 8)
        assert search.fed <= 2.0 * 2 * (step + 1)
    assert search.done
    assert search.tried == 25
    assert not SkipSearch([2, 3], frozenset({2}), tries=0).affords(1)


def test_a_try_on_an_easier_text_does_not_replace_the_best():
    search = SkipSearch(inner_parts(6), alternate(6, 3), budget=1e9)
    search.tell(search.best, 0.4, 10)
    start, other = search.best, search.candidate()
    assert search.rivals(other, 0.6)
    search.measure_best(0.8, 10)
    search.tell(other, 0.6, 10)
    assert search.best == start
    assert search.score == 0.8
    search.tell(other, 0.9, 10)
    assert search.best == other


def naive_posterior(sets, scores, tokens, asked, variance, scale):
    def cov(a, b):
        return variance * torch.exp(torch.tensor(-len(a - b) / scale, dtype=torch.float64))

    mean = sum(scores) / len(scores)
    noise = [mean * (1 - mean) / n + 1e-9 for n in tokens]
    gram = torch.stack([torch.stack([cov(a, b) for b in sets]) for a in sets]) + torch.diag(
        torch.tensor(noise, dtype=torch.float64)
    )
    cross = torch.stack([cov(asked, b) for b in sets])
    inverse = torch.linalg.inv(gram)
    centred = torch.tensor(scores, dtype=torch.float64) - mean
    likelihood = -0.5 * centred @ inverse @ centred - 0.5 * torch.logdet(gram)
    deviation = (variance - cross @ inverse @ cross).clamp(min=0).sqrt()
    return float(likelihood), float(mean + cross @ inverse @ centred), float(deviation)


def test_the_surrogate_is_a_gaussian_process():
    rng = random.Random(1)
    parts = list(range(2, 14))
    sets = [frozenset(rng.sample(parts, 4)) for _ in range(9)]
    scores = [rng.random() for _ in sets]
    tokens = [rng.randrange(8, 33) for _ in sets]
    surrogate = Surrogate(parts)
    for item in zip(sets, scores, tokens, strict=True):
        surrogate.add(*item)
    asked = [frozenset(rng.sample(parts, 4)) for _ in range(5)] + [sets[0]]
    means, deviations = surrogate.predictor()(asked)
    mean = sum(scores) / len(scores)
    spread = sum((s - mean) ** 2 for s in scores) / len(scores)
    grid = list(itertools.product([spread / 4, spread, 4 * spread], [1.0, 2.0, 4.0, 8.0, 16.0]))
    best = max(grid, key=lambda pair: naive_posterior(sets, scores, tokens, asked[0], *pair)[0])
    for place, one in enumerate(asked):
        _, expected, deviation = naive_posterior(sets, scores, tokens, one, *best)
        assert means[place] == pytest.approx(expected, abs=1e-9)
        assert deviations[place] == pytest.approx(deviation, abs=1e-9)


def test_the_surrogate_proposes_near_what_was_good():
    rng = random.Random(2)
    parts = inner_parts(12)
    right = frozenset(rng.sample(parts, 6))
    surrogate = Surrogate(parts)
    best = frozenset(rng.sample(parts, 6))
    for _ in range(80):
        tried = frozenset(rng.sample(parts, 6))
        best = max(best, tried, key=lambda one: len(one & right))
        surrogate.add(tried, len(tried & right) / 6, 64)
    proposed = [surrogate.propose(best, random.Random(seed), kappa=0.5) for seed in range(5)]
    assert max(len(one & right) for one in proposed) > len(best & right)
    assert all(len(one) == 6 for one in proposed)


class PlainLayers:
    """Layers without a model: each adds a fixed nonlinear function of the state."""

    def __init__(self, parts: int, seed: int, sizes=None) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.parts = parts
        self.first = torch.randn(1, 12, generator=generator, dtype=torch.float64)
        self.weights = [torch.randn(12, 12, generator=generator, dtype=torch.float64) / 3 for _ in range(parts)]
        for part, size in (sizes or {}).items():
            self.weights[part] = self.weights[part] * size
        self.calls: list[int] = []

    def run(self, part: int, states: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(states))
        return states + torch.tanh(states @ self.weights[part])


def plain_clasp(layers: PlainLayers, units, free, count):
    """The recurrence as it is written down, one state at a time."""

    def run(unit, state):
        for part in unit:
            state = layers.run(part, state)
        return state

    g = {(0, 0): (layers.first[0], ())}
    true = layers.first[0]
    for number, unit in enumerate(units):
        true = run(unit, true)
        for m in range(count + 1):
            options = []
            if (number, m) in g:
                state, chosen = g[number, m]
                options.append((run(unit, state), chosen))
            if free[number] and (number, m - 1) in g:
                state, chosen = g[number, m - 1]
                options.append((state, (*chosen, number)))
            if options:
                # running comes first, and is taken unless skipping is really better
                g[number + 1, m] = max(options, key=lambda o: float(torch.cosine_similarity(o[0], true, dim=0)))
    return list(g[len(units), count][1])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [1, 2])
def test_clasp_follows_its_recurrence(seed, size):
    layers = PlainLayers(16, seed)
    units = [tuple(range(i, i + size)) for i in range(0, 16, size)]
    for free in ([True] * len(units), [1 < i < len(units) - 2 for i in range(len(units))]):
        for count in range(sum(free) + 1):
            got = choose_layers(layers, units, free, count).tolist()
            assert len(got) == count
            assert all(free[unit] for unit in got)
            assert got == plain_clasp(layers, units, free, count)


@pytest.mark.parametrize("seed", range(4))
def test_clasp_finds_the_best_set_where_one_stands_out(seed):
    weak = random.Random(seed).sample(range(1, 7), 2)
    layers = PlainLayers(8, seed, dict.fromkeys(weak, 0.01))
    units = [(i,) for i in range(8)]

    def end(skipped):
        state = layers.first
        for part in range(8):
            state = state if part in skipped else layers.run(part, state)
        return state[0]

    whole = end(())
    best = max(itertools.combinations(range(8), 2), key=lambda s: float(torch.cosine_similarity(end(s), whole, dim=0)))
    assert choose_layers(layers, units, [True] * 8, 2).tolist() == sorted(best) == sorted(weak)


def test_clasp_costs_one_batched_pass():
    layers = PlainLayers(12, 0)
    choose_layers(layers, [(i,) for i in range(12)], [1 < i < 10 for i in range(12)], 3)
    assert layers.calls == [1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4]


def test_clasp_on_a_model_skips_what_adds_nothing():
    backend = with_dead_parts(DEAD)
    part = drafter(method="clasp", ratio=0.34, refresh=1, unit="part", gain=0.0, depth=3, branch=1)
    got = decode(
        Engine({"main": backend}), request("a", {"with_context": prompt(7, 14)}, drafters=[part], max_new_tokens=26)
    )["a"]
    assert got.stats.accepted == got.stats.drafted > 15


@pytest.mark.parametrize(
    ("layers", "settings", "reason"),
    [
        (6, {"method": "fixed", "skip": [3, 12, 40]}, "cannot skip 12, 40: the model has 6 layers"),
        (3, {"method": "fixed", "skip": list(range(6))}, "cannot skip all"),
        (2, {"method": "clasp"}, "keeps the first and the last layer, and this model has 2"),
        (2, {}, "keeps the first and the last layer"),
        (0, {}, "transformers backend"),
        (0, {"method": "fixed", "skip": [1]}, "transformers backend"),
    ],
)
def test_what_cannot_be_skipped_is_refused(layers, settings, reason):
    with pytest.raises(InputError, match=reason):
        SkipChoice(SelfSpeculationSettings(**settings), layers)


def test_the_engine_refuses_it_on_the_transformers_backend():
    engine = Engine({"main": TransformersBackend(stock())})
    with pytest.raises(InputError, match="transformers backend"):
        engine.submit(request("a", VIEWS, drafters=[drafter()]))


def test_skip_is_for_fixed():
    with pytest.raises(ValueError, match="'skip' is for method 'fixed'"):
        SelfSpeculationSettings(skip=[3])


@pytest.mark.parametrize("layers", range(3, 33))
def test_sets_to_begin_with_are_spread_over_inner_layers(layers):
    for ratio in (0.01, 0.3, 0.45, 0.6, 0.99):
        count = skip_count(layers, ratio)
        chosen = alternate(layers, count)
        assert len(chosen) == count >= 1
        assert chosen < set(inner_parts(layers))


def test_the_set_to_begin_with_is_every_other_layer():
    assert alternate(8, 6) == {4, 5, 8, 9, 12, 13}
    assert alternate(30, 28) == {part for layer in range(2, 30, 2) for part in (2 * layer, 2 * layer + 1)}


def test_a_pipeline_on_the_transformers_backend_is_refused_when_checked():
    from ragdecode.errors import SpecError
    from ragdecode.spec.load import load_pipeline

    load_pipeline("docs-qa", ["decode.draft=self"])
    with pytest.raises(SpecError, match="skips layers of the model, which the transformers backend cannot do"):
        load_pipeline("docs-qa", ["decode.draft=self", "engine.backend=transformers"])
