"""Look-back decoding and contrastive search, which look at what came before, against their formulas."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.errors import InputError
from tests.decoding.engines import TreeDrafter, backend, decode, prompt
from tests.decoding.history_rules import (
    LOOKUP,
    PROMPT,
    SPANS,
    compare,
    drafts_change_nothing,
    engine,
    neighbours_change_nothing,
    noise_of,
    plain,
    request,
    rule,
)
from tests.reference import steps
from tests.reference.contrastive_search import contrastive_search
from tests.reference.lookback import lookback

#: settings, how the formula names them
LOOK = [
    ({"threshold": 1.6, "top_k": 4}, {"alpha": 1.6, "top_k": 4, "window": 128, "places": 128}),
    ({"threshold": 1.6, "top_k": 4, "window": 2, "prompt": 6},
     {"alpha": 1.6, "top_k": 4, "window": 2, "places": 6}),
    ({"threshold": 0.7, "top_k": 3, "history": "all", "prompt": 20, "window": 12},
     {"alpha": 0.7, "top_k": 3, "window": 12, "places": 20, "with_prompt": True}),
    ({"threshold": 2, "top_k": 5, "calm": "composed"},
     {"alpha": 2, "top_k": 5, "window": 128, "places": 128, "greedy": False}),
]  # fmt: skip
SEARCH = [
    ({}, {"alpha": 0.6, "top_k": 5}, "generated"),
    ({"alpha": 0.3, "top_k": 3, "against": "all"}, {"alpha": 0.3, "top_k": 3}, "all"),
    ({"against": "prompt"}, {"alpha": 0.6, "top_k": 5}, "prompt"),
    ({"alpha": 0.9, "top_k": 8, "against": "prompt"}, {"alpha": 0.9, "top_k": 8}, "prompt"),
    ({"alpha": 1}, {"alpha": 1.0, "top_k": 5}, "generated"),
]


def counts(against):
    """Which places of prompt and answer count against a candidate."""
    if against == "all":
        return lambda place: True
    if against == "generated":
        return lambda place: place >= len(PROMPT)
    return lambda place: not any(start <= place < stop for start, stop in SPANS)


@pytest.mark.parametrize(("settings", "formula"), LOOK, ids=lambda value: str(value.get("history", "")) or None)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_lookback_equals_the_naive_reference(settings, formula, temperature):
    alarms: list[bool] = []
    step = lookback(plain(), PROMPT, alarms=alarms, **formula)
    compare([rule("lookback", **settings)], step, sampling=Sampling(temperature=temperature, seed=3))
    assert len(set(alarms)) == 2  # alarms and calm, both


@pytest.mark.parametrize(("settings", "formula", "against"), SEARCH)
def test_contrastive_search_equals_the_naive_reference(settings, formula, against):
    step = contrastive_search(plain(), PROMPT, counts=counts(against), **formula)
    compare([rule("contrastive_search", **settings)], step, count=8)


def test_what_counts_matters():
    found = {
        tuple(steps.decode(contrastive_search(plain(), PROMPT, counts=counts(one), alpha=0.6, top_k=5), 8)[1])
        for one in ("all", "generated", "prompt")
    }
    assert len(found) == 3


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("settings", [{"threshold": 1.6}, {"threshold": 2, "calm": "composed", "history": "all"}])
def test_no_draft_tree_changes_a_token_of_lookback(settings, temperature):
    drafts_change_nothing([rule("lookback", top_k=3, **settings)], Sampling(temperature=temperature, seed=5))


@pytest.mark.parametrize("against", ["generated", "prompt", "all"])
def test_no_draft_tree_changes_a_token_of_contrastive_search(against):
    drafts_change_nothing([rule("contrastive_search", against=against, top_k=4)], Sampling())


def test_without_weight_or_alarm_it_is_greedy_decoding():
    alone = decode(engine(), request("a", [], max_new_tokens=12))["a"].tokens
    for made in (rule("contrastive_search", alpha=0), rule("lookback", threshold=0, top_k=2)):
        assert decode(engine(), request("a", [made], max_new_tokens=12))["a"].tokens == alone
    # and with one candidate there is no choice
    for made in (rule("contrastive_search", top_k=1), rule("lookback", top_k=1, threshold=100)):
        assert decode(engine(), request("a", [made], max_new_tokens=12))["a"].tokens == alone


def test_sampled_without_an_alarm_lookback_draws_nothing():
    alone = decode(engine(), request("a", [], max_new_tokens=12))["a"].tokens
    hot = Sampling(temperature=2.0, seed=7)
    item = request("a", [rule("lookback", threshold=0)], sampling=hot, max_new_tokens=12)
    assert decode(engine(), item)["a"].tokens == alone
    item = request("a", [rule("lookback", threshold=0, calm="composed")], sampling=hot, max_new_tokens=12)
    drawn = decode(engine(), request("a", [], sampling=hot, max_new_tokens=12))["a"].tokens
    assert decode(engine(), item)["a"].tokens == drawn != alone


def test_a_prompt_of_one_token_has_nothing_to_lead_back_to():
    item = Request("a", {"with_context": View([5])}, rules=[rule("lookback", threshold=100, top_k=3)], max_new_tokens=8)
    alone = Request("a", {"with_context": View([5])}, max_new_tokens=8)
    assert decode(engine(), item)["a"].tokens == decode(engine(), alone)["a"].tokens
    everything = rule("contrastive_search", against="all")
    assert decode(engine(), request("a", [everything], ids=[5], spans=(), max_new_tokens=5))["a"].tokens


def test_neighbours_and_arrival_change_nothing():
    look, search = rule("lookback", threshold=1.6, top_k=3), rule("contrastive_search", against="prompt", top_k=3)
    own = rule("contrastive_search")
    hot = Sampling(temperature=1.0, seed=2)
    neighbours_change_nothing([
        request("r0", [look], max_new_tokens=9),
        request("r1", [look], ids=prompt(8, 17), spans=(), sampling=hot, drafters=[LOOKUP], max_new_tokens=11),
        request("r2", [search], max_new_tokens=7, drafters=[LOOKUP]),
        request("r3", [search], spans=[(0, 5)], ids=prompt(9, 12), max_new_tokens=9),
        request("r4", [own], max_new_tokens=8),
        request("r5", [own], ids=prompt(7, 19), max_new_tokens=6, drafters=[TreeDrafter([4, 5, 6], 1)]),
        request("r6", [rule("cad"), look], sampling=hot, max_new_tokens=6),
    ])  # fmt: skip


def test_in_a_chain_candidates_are_those_of_the_rule_before():
    made = [rule("cad", alpha=2), rule("contrastive_search", alpha=0)]
    alone = decode(engine(), request("a", made[:1], max_new_tokens=10))["a"].tokens
    assert decode(engine(), request("a", made, drafters=[LOOKUP], max_new_tokens=10))["a"].tokens == alone


def test_a_search_is_refused_where_tokens_are_sampled():
    item = request("a", [rule("contrastive_search")], sampling=Sampling(temperature=0.5))
    with pytest.raises(InputError, match=r"no distribution to sample from at a temperature of 0\.5"):
        decode(engine(), item)


@pytest.mark.parametrize("name", ["lookback", "contrastive_search"])
def test_no_rule_goes_behind_it(name):
    with pytest.raises(InputError, match="'cad' cannot work on it"):
        decode(engine(), request("a", [rule(name), rule("cad")]))


def test_lookback_needs_a_backend_that_projects_states():
    class Blind:
        interventions: frozenset[str] = frozenset()

    with pytest.raises(InputError, match="which this backend cannot tell"):
        rule("lookback").meet({"with_context": Blind()})


@pytest.mark.parametrize("seed", range(3))
def test_memory_follows_rewinds(seed):
    """After a rewind the past is that of what was kept: the rest of the answer is what a reference finds there."""
    from ragdecode.decoding.monitor import Accepted, Monitor, MonitorSession, Rewind
    from ragdecode.spec.settings import NoSettings

    class Session(MonitorSession):
        done = False

        def observe(self, accepted: Accepted):
            if accepted.position == 6 and not self.done:
                self.done = True
                return Rewind(to=2 + seed)
            return None

        def rewind(self, length: int) -> None:
            pass

        def record(self):
            return None

    class Once(Monitor):
        part_name = "once"

        def start(self, request):
            return Session()

    made = rule("lookback", threshold=1.6, top_k=4, window=5)
    sampling = Sampling(temperature=1.0, seed=seed)
    step = lookback(plain(), PROMPT, alpha=1.6, top_k=4, window=5, places=128)
    first, _ = steps.decode(step, 7, temperature=1.0, noise=noise_of(sampling))
    from ragdecode.decoding.noise import gumbel

    def noise(place):
        return gumbel(seed, "a", 0 if place < 2 + seed else 1, [place], 97, torch.device("cpu"))[0]

    tokens, wanted = steps.decode(step, 12, temperature=1.0, noise=noise)
    assert tokens[: 2 + seed] == first[: 2 + seed]
    for drafters in ([], [TreeDrafter(first, 2)], [TreeDrafter(tokens, 3), LOOKUP]):
        settings = {"monitors": [Once(NoSettings())], "drafters": drafters, "sampling": sampling}
        result = decode(Engine({"main": backend()}), request("a", [made], max_new_tokens=12, **settings))["a"]
        assert result.tokens == tokens
        assert [record.logprob for record in result.records] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lookback", {"threshold": -1}), ("lookback", {"top_k": 0}), ("lookback", {"window": 0}),
        ("lookback", {"prompt": 0}), ("lookback", {"history": "prompt"}), ("lookback", {"calm": "beam"}),
        ("contrastive_search", {"alpha": 1.1}), ("contrastive_search", {"top_k": 0}),
        ("contrastive_search", {"against": "answer"}),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(ValidationError):
        rule(name, **settings)
