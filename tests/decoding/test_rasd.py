"""RASD: what was retrieved is pruned by the generator's distribution and fused with its tree."""

from __future__ import annotations

import math

import pytest

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession
from ragdecode.decoding.drafters.rasd import Rasd, RasdSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.monitor import Rewind
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.speculation.fusion import fuse
from ragdecode.decoding.speculation.pruning import pruned
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.codecs import random_vocabulary
from tests.decoding.engines import TreeDrafter, backend, decode, prompt
from tests.decoding.test_commit import Scripted
from tests.decoding.test_draft_model import other_backend

LONG = prompt(1, 40)
CAD = [Cad(CadSettings(alpha=0.5))]
ALL = {"top_k": 10, "floor": 0.01, "long_match": 5}
SAMPLINGS = [Sampling(), Sampling(temperature=0.7, seed=2), Sampling(temperature=1.0, seed=3)]


def paths(draft: Draft) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for token, parent in zip(draft.tokens, draft.parents, strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


def test_what_the_generator_does_not_believe_in_goes_with_all_below_it():
    draft = Draft([1, 2, 3, 4, 5], [-1, 0, -1, 2, -1], [0.9, 0.8, 0.5, 0.4, 0.3], classes=[7, 7, 8, 8, 9])
    told = [(0.4, 0), (0.5, 1), (0.02, 10), None, (0.011, 9)]
    kept = pruned(draft, told, **ALL)
    assert paths(kept) == [(1,), (1, 2), (5,)]  # 3 is the eleventh best there
    assert kept.scores == pytest.approx([0.65, 0.65 * (0.5 + 8 / 9) / 2, (0.3 + 0.011) / 2])
    assert paths(pruned(draft, told, **{**ALL, "floor": 0.02})) == [(1,), (1, 2)]
    assert paths(pruned(draft, told, **{**ALL, "floor": 0.3})) == [(1,)]  # 0.4 times 0.5 is less
    assert paths(pruned(draft, told, **{**ALL, "top_k": 11})) == paths(draft)
    # where nothing is known, the draft's own probability counts: 4 follows 3 with 0.4 / 0.5
    assert paths(pruned(draft, told, **{**ALL, "top_k": 11, "floor": 0.017})) == [(1,), (1, 2), (3,)]
    first, second, other = pruned(draft, told, **ALL).classes
    assert first == second != other  # classes are told apart by the draft's own and by what the generator said
    assert first not in draft.classes


def test_long_matches_are_not_pruned_and_shorter_ones_are():
    told = [(1e-6, 90), (1e-6, 90)]
    draft = Draft([1, 2], [-1, 0], [0.9, 0.81], matched=5)
    assert pruned(draft, told, **ALL).scores == pytest.approx([0.9, 0.81])
    assert pruned(draft, told, **{**ALL, "long_match": 6}).tokens == []


class Fixed(Drafter):
    """Proposes what a function makes of the answer so far."""

    def __init__(self, name, propose) -> None:
        super().__init__(NoSettings())
        self.part_name, self.propose = name, propose

    def start(self, request):
        return FixedSession(self.propose)


class FixedSession(DraftSession):
    def __init__(self, propose):
        self._propose, self.answer = propose, []

    def propose(self, nodes):
        return self._propose(self.answer)

    def observe(self, verified):
        self.answer += verified.committed

    def rewind(self, length):
        del self.answer[length:]


def rasd(*, generate=None, retrievers=None, **settings) -> Rasd:
    view = {"view": {"name": "rag", "gain": 0.0, **(generate or {})}}
    part = Rasd(RasdSettings(**{"retrieve": ["prompt_lookup"], "generate": view, **settings}))
    if retrievers is not None:
        part.retrievers = retrievers
    return part


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
@pytest.mark.parametrize("extend", [False, True])
def test_tokens_are_those_of_undrafted_decoding(sampling, rules, extend):
    plain = run(ask(sampling=sampling, rules=rules))
    for seed, more in enumerate([{"rag": LONG[5:]}, {"rag": LONG, "model": "small"}]):
        # among these guesses are ids outside the vocabulary
        retrievers = [*rasd().retrievers, TreeDrafter([*plain.tokens, 5, 5], seed)]
        drafted = run(
            ask(sampling=sampling, rules=rules, drafters=[rasd(retrievers=retrievers, extend=extend)], **more)
        )
        assert drafted.tokens == plain.tokens
        assert set(drafted.stats.sources) <= {"view", "prompt_lookup", "trees"}
        assert {"view", "trees"} <= set(drafted.stats.sources)
        assert drafted.stats.accepted > 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_fused_tree_is_at_least_as_good_as_the_better_source(temperature):
    """The answer goes on as the generator says at some places and as the retriever says at others."""
    sampling = Sampling(temperature=temperature, seed=5)
    truth = run(ask(sampling=sampling, max_new_tokens=40)).tokens

    def right_in_the_second_half(answer):
        ahead = truth[len(answer) : len(answer) + 4] if len(answer) >= 20 else [3, 4, 5, 6]
        return Draft.chain(ahead, 0.6)

    retriever = Fixed("fixed", right_in_the_second_half)
    small = {"rag": LONG, "model": "small"}
    generator = {"depth": 3, "width": 1, "branch": 2}
    alone = rasd(generate=generator)
    stats = {
        name: run(ask(sampling=sampling, drafters=[part], max_new_tokens=40, max_draft_nodes=12, **views)).stats
        for name, part, views in [
            ("retriever", retriever, small),
            ("generator", alone.generator, small),
            ("fused", rasd(generate=generator, retrievers=[retriever], top_k=97, floor=0.0), small),
        ]
    }
    steps = {name: stat.steps for name, stat in stats.items()}
    assert steps["fused"] <= min(steps["retriever"], steps["generator"])
    assert steps["fused"] < max(steps["retriever"], steps["generator"])
    assert stats["fused"].sources["fixed"]["accepted"] >= 10
    assert stats["fused"].sources["view"]["proposed"] > 0


def test_equal_paths_of_both_trees_are_one_and_keep_both_sources():
    found = run(ask(max_new_tokens=1)).tokens
    part = (
        rasd(rag=LONG) if False else rasd(retrievers=[Fixed("fixed", lambda answer: Draft.chain([found[0], 7], 0.9))])
    )
    session = part.start(ask(rag=LONG))
    looking = session.propose(7)
    look = next(looking)
    answers = _table(found[0])
    try:
        while True:
            look = looking.send(answers(look.draft)[look.wanted])
    except StopIteration as done:
        draft = done.value
    tree = fuse(0, [("rasd", draft)], nodes=30, max_depth=9, vocab_size=97, end_tokens=frozenset())
    node = tree.children[0][found[0]]
    assert set(tree.sources[node]) == {"fixed", "view"}


def _table(best):
    """Log-probabilities that favour one token everywhere."""
    import torch

    row = torch.full((97,), math.log(0.3 / 96), dtype=torch.float64)
    row[best] = math.log(0.7)
    return lambda draft: row.repeat(1 + len(draft.tokens), 1)


def test_a_generator_that_is_shown_the_retrieved_tree_goes_on_from_its_leaves():
    truth = run(ask(max_new_tokens=40)).tokens
    retriever = Fixed("fixed", lambda answer: Draft.chain(truth[len(answer) : len(answer) + 4], 0.5))
    generator = {"depth": 3, "width": 1, "branch": 1}
    stats = {
        extend: run(
            ask(
                rag=LONG,
                drafters=[rasd(generate=generator, retrievers=[retriever], extend=extend, floor=0.0)],
                max_new_tokens=40,
                max_draft_nodes=16,
            )
        ).stats
        for extend in (False, True)
    }
    assert stats[False].steps == 8  # four retrieved ones are right, and one more
    assert stats[True].steps == 5  # four retrieved, three more by the generator, and one more
    # what is no longer than what was announced is room enough
    assert rasd(generate=generator, extend=True).look_nodes == rasd(generate=generator).look_nodes + 16


def test_a_retrieved_path_the_generator_would_never_take_is_not_fed():
    def hopeless(answer):
        return Draft.chain([3, 4, 5], 0.9)

    trusting = rasd(retrievers=[Fixed("fixed", hopeless)], top_k=97, floor=0.0)
    pruning = rasd(retrievers=[Fixed("fixed", hopeless)])
    fed = {
        name: run(ask(rag=LONG, drafters=[part], max_new_tokens=20, max_draft_nodes=30)).stats.sources.get("fixed")
        for name, part in (("trusting", trusting), ("pruning", pruning))
    }
    assert fed["trusting"]["proposed"] > 10
    assert fed["pruning"] is None or fed["pruning"]["proposed"] < fed["trusting"]["proposed"] / 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batches_and_rewinds_change_nothing(temperature):
    sampling = Sampling(temperature=temperature, seed=8)

    def back(session, token):
        return Rewind(2, bans=[token.token]) if token.position == 6 and not session.rewinds else None

    items = [
        ask(f"r{i}", rag=LONG[i:], model=("main", "small")[i % 2], sampling=sampling, max_new_tokens=6 + 3 * i,
            rules=CAD if i % 2 else [], monitors=[Scripted(back)], drafters=[rasd(extend=i == 3)])
        for i in range(4)
    ]  # fmt: skip
    engine = Engine({"main": backend(), "small": backend(seed=9)}, max_batch=3, prefill_tokens=64)
    together = decode(engine, *items)
    for item in items:
        plain = Request(item.id, item.views, rules=item.rules, monitors=[Scripted(back)], sampling=sampling,
                        max_new_tokens=item.max_new_tokens)  # fmt: skip
        assert together[item.id].tokens == run(plain).tokens


class Wrong(Drafter):
    """A retriever that is right about every other token."""

    part_name = "fixed"

    def __init__(self, answer):
        super().__init__(NoSettings())
        self.answer = answer

    def start(self, request):
        def propose(answer):
            ahead = [t if i % 4 else (t + 1) % 83 for i, t in enumerate(self.answer)][len(answer) : len(answer) + 5]
            return Draft.chain(ahead, 0.8)

        return FixedSession(propose)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize("generate", ["draft_model", "other vocabulary", "self"])
def test_every_drafter_with_a_distribution_generates(generate, extend, sampling):
    plain = run(ask(sampling=sampling))
    settings, small = {}, backend(seed=9)
    if generate == "self":
        inner = {"self": {"method": "fixed", "skip": [2], "gain": 0.0}}
    else:
        inner = {"draft_model": {"model": {"source": {"path": {"path": "nowhere"}}}, "gain": 0.0}}
        settings["rag"], settings["name"] = [token % 83 for token in LONG], "draft_model"
    if generate == "other vocabulary":
        settings["vocabularies"] = {"main": random_vocabulary(97, 1), "small": random_vocabulary(83, 2)}
        small = other_backend()
    part = Rasd(RasdSettings(retrieve=["prompt_lookup"], generate=inner, extend=extend))
    part.retrievers = [*part.retrievers, Wrong(plain.tokens)]
    views = {"with_context": View(LONG)}
    if "name" in settings:
        views[settings.pop("name")] = View(settings.pop("rag"), model="small", role="draft")
    item = Request("a", views, sampling=sampling, drafters=[part], max_new_tokens=24, max_draft_nodes=12, **settings)
    foreign = ["small"] if generate == "other vocabulary" else []
    result = decode(Engine({"main": backend(), "small": small}, foreign=foreign), item)["a"]
    assert result.tokens == plain.tokens
    assert {part.generator.part_name, "fixed"} <= set(result.stats.sources)
    assert generate in (part.generator.part_name, "other vocabulary")


def test_inner_drafters_say_what_they_need():
    part = rasd(retrieve=["prompt_lookup", "datastore"], generate={"depth": 5, "width": 3})
    assert part.views == ("rag",)
    assert part.resources == ("datastore",)
    assert part.look_nodes == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generate": "prompt_lookup"}, "no distribution to prune by"),
        ({"retrieve": ["prompt_lookup", "prompt_lookup"]}, "stands twice"),
        ({"retrieve": ["auto"]}, "name them"),
        ({"retrieve": []}, "at least 1 item"),
        ({"generate": "nothing"}, "unknown drafter 'nothing'"),
    ],
)
def test_what_cannot_be_fused_is_refused(settings, message):
    whole = {"retrieve": ["prompt_lookup"], "generate": {"view": {"name": "rag"}}, **settings}
    with pytest.raises((ValueError, InputError), match=message):
        Rasd(RasdSettings(**whole))
