"""`entropy_switch`: one of two models a step, the same tokens as the definition, however they are computed."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from pydantic import ValidationError

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.drafters.view import ViewDrafter, ViewDrafterSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.intervention import EarlyExit
from ragdecode.decoding.monitor import Monitor, MonitorSession, Rewind
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.rules.entropy_switch import EntropySwitch, EntropySwitchSettings
from ragdecode.decoding.rules.plausible import Plausible, PlausibleSettings
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, TreeDrafter, decode, prompt, request
from tests.decoding.tiny_models import tiny
from tests.reference import entropy_switch as reference
from tests.reference.llama import PlainLlama

PROMPT = prompt(1, 37)
SHORT = prompt(2, 21)
SIZES = {"large": (0, {}), "small": (5, {"hidden_size": 16, "intermediate_size": 24})}


@cache
def stock(name: str):
    """A pair whose entropies differ from token to token: heads three times as sharp as usual."""
    seed, shape = SIZES[name]
    made = tiny("llama", vocab_size=VOCAB, seed=seed, **shape)
    with torch.no_grad():
        made.lm_head.weight.mul_(3.0)
    return made


def backend(name: str) -> LlamaBackend:
    return LlamaBackend(stock(name).config.to_dict(), stock(name).state_dict(), dtype=torch.float64)


class Counting(LlamaBackend):
    """Counts passes and the new tokens of each."""

    def __init__(self, name: str) -> None:
        super().__init__(stock(name).config.to_dict(), stock(name).state_dict(), dtype=torch.float64)
        self.passes: list[int] = []

    def forward(self, segments, **options):
        self.passes.append(sum(len(segment.tokens) for segment in segments))
        return super().forward(segments, **options)


def engine(**settings) -> Engine:
    return Engine({"main": backend("large"), "second": backend("small")}, **settings)


def switch(**settings) -> EntropySwitch:
    return EntropySwitch(EntropySwitchSettings(**{"small": "small", "threshold": 2.5, **settings}))


def item(name: str = "a", *, rules=(), ids=PROMPT, own=SHORT, settings=None, **more) -> Request:
    views = {"with_context": View(ids), "small": View(own, model="second")}
    return Request(name, views, rules=[switch(**(settings or {})), *rules], **{"max_new_tokens": 40, **more})


def expected(tokens: int = 40, *, ids=PROMPT, own=SHORT, **settings):
    settings = {"threshold": 2.5, **settings}
    large, small = PlainLlama(stock("large")), PlainLlama(stock("small"))
    return reference.decode((large, ids), (small, own), tokens=tokens, **settings)


def ran(result) -> list[str]:
    """Which model made each token, by what was recorded."""
    return ["small" if "small" in record.views else "large" for record in result.records]


def log_probs_of(tokens, rows):
    return pytest.approx([float(row[token]) for token, row in zip(tokens, rows, strict=True)], abs=1e-9)


CASES = [
    {},
    {"window": 3, "stay": 4},
    {"window": 1, "stay": 1},
    {"window": 7, "stay": 2},
    {"threshold": 2.0, "window": 2, "stay": 15},
    {"begin": "small"},
    {"begin": "small", "window": 1, "stay": 3, "threshold": 2.0},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_tokens_models_and_log_probabilities_equal_the_reference(settings):
    tokens, rows, who = expected(**settings)
    assert {"large", "small"} == set(who)
    plain = decode(engine(), item(settings=settings))["a"]
    assert (plain.tokens, ran(plain)) == (tokens, who)
    assert [record.logprob for record in plain.records] == log_probs_of(tokens, rows)
    for nodes in (2, 5, 16):
        drafters = [TreeDrafter(tokens, nodes), PromptLookup(PromptLookupSettings())]
        drafted = decode(engine(), item(settings=settings, drafters=drafters, max_draft_nodes=nodes))["a"]
        assert (drafted.tokens, ran(drafted)) == (tokens, who)
        assert [record.logprob for record in drafted.records] == log_probs_of(tokens, rows)
        assert drafted.stats.steps < 40
        assert drafted.stats.accepted > 0


@pytest.mark.parametrize("temperature", [0.7, 1.3])
@pytest.mark.parametrize("settings", [{}, {"window": 2, "stay": 3}], ids=str)
def test_sampling_equals_the_reference_under_the_same_noise(temperature, settings):
    def noise(position):
        return gumbel(3, "a", 0, [position], VOCAB, torch.device("cpu"))[0]

    tokens, rows, who = expected(temperature=temperature, noise=noise, **settings)
    for drafters in ((), [TreeDrafter(tokens, 1)], [TreeDrafter(tokens, 2), TreeDrafter([7] * 40, 3)]):
        sampling = Sampling(temperature=temperature, seed=3)
        result = decode(engine(), item(settings=settings, sampling=sampling, drafters=drafters))["a"]
        assert (result.tokens, ran(result)) == (tokens, who)
        assert [record.logprob for record in result.records] == log_probs_of(tokens, rows)


def test_any_limit_ends_the_same_answer():
    settings = {"window": 2, "stay": 3}
    tokens, _, who = expected(14, **settings)
    for limit in range(1, 14):
        for drafters in ((), [TreeDrafter(tokens, limit)]):
            result = decode(engine(), item(settings=settings, max_new_tokens=limit, drafters=drafters))["a"]
            assert (result.tokens, result.finish_reason) == (tokens[:limit], "length")
            assert ran(result) == who[:limit]


def test_an_end_token_ends_it_also_where_the_models_change():
    settings = {"window": 2, "stay": 3}
    tokens, _, who = expected(30, **settings)
    for place in range(0, 30, 2):
        if tokens.index(tokens[place]) < place:
            continue
        ended = {"end_tokens": frozenset([tokens[place]]), "settings": settings}
        for drafters in ((), [TreeDrafter(tokens, place, tokens[place])]):
            result = decode(engine(), item(drafters=drafters, **ended))["a"]
            assert (result.tokens, result.finish_reason) == (tokens[:place], "stop")
            assert ran(result) == who[:place]


def test_one_model_runs_a_step_and_the_other_catches_up_when_it_takes_over():
    tokens, _, who = expected()
    large, small = Counting("large"), Counting("small")
    result = decode(Engine({"main": large, "second": small}), item())["a"]
    assert result.tokens == tokens
    assert len(large.passes) == who.count("large")
    assert len(small.passes) == who.count("small")
    assert result.stats.forward_passes == result.stats.forward_rows == result.stats.steps == 40
    # each reads its prompt once, and each accepted token at most once, but for the last one of each turn
    firsts = [place for place in range(40) if place == 0 or who[place] != who[place - 1]]
    read = {"large": 0, "small": 0}
    for name, passes, ids in (("large", large.passes, PROMPT), ("small", small.passes, SHORT)):
        fed, known = [], 0
        for place, model in enumerate(who):
            if model == name:
                fed.append(len(ids) + place - known)
                known = len(ids) + place
        assert passes == fed
        read[name] = sum(passes)
    assert len(firsts) > 3
    assert all(count <= 37 + 40 for count in read.values())


def test_a_model_that_never_runs_reads_nothing():
    large, small = Counting("large"), Counting("small")
    pair = Engine({"main": large, "second": small}, prefill_tokens=16)
    result = decode(pair, item(settings={"threshold": 0.0}))["a"]
    assert ran(result) == ["large"] * 40
    assert small.passes == []


@pytest.mark.parametrize("prefill_tokens", [4, 7, 16])
def test_what_was_missed_is_read_in_chunks(prefill_tokens):
    tokens, _, who = expected()
    large, small = Counting("large"), Counting("small")
    chunked = Engine({"main": large, "second": small}, prefill_tokens=prefill_tokens)
    result = decode(chunked, item(drafters=[TreeDrafter(tokens, 3)]))["a"]
    assert (result.tokens, ran(result)) == (tokens, who)
    assert max(small.passes) <= prefill_tokens + 16
    assert len(small.passes) > 21 // prefill_tokens


def test_neighbours_and_arrival_change_nothing():
    requests = [
        item(
            f"r{i}",
            ids=prompt(10 + i, 20 + 9 * i),
            own=prompt(30 + i, 15 + 5 * i),
            settings=CASES[i % 4],
            drafters=[TreeDrafter(prompt(i, 40), i)] if i % 2 else (),
            sampling=Sampling(temperature=0.7 * (i % 3), seed=i),
            max_new_tokens=15 + 4 * i,
        )
        for i in range(5)
    ]
    shared = [switch()]  # requests of the same rule objects are composed together
    for i in (5, 6, 7):
        views = {"with_context": View(prompt(i, 30)), "small": View(prompt(i, 12), model="second")}
        requests.append(Request(f"s{i}", views, rules=shared, max_new_tokens=25))
    views = {"with_context": prompt(8, 25), "without_context": prompt(9, 11)}
    requests.append(request("cad", views, rules=[Cad(CadSettings())], max_new_tokens=20))
    alone = {one.id: decode(engine(), one)[one.id] for one in requests}
    assert sum("small" in ran(result) for result in alone.values()) > 4
    together = decode(engine(max_batch=6, prefill_tokens=24), *requests)
    late, results, waiting = engine(prefill_tokens=32), {}, requests[::-1]
    while waiting or late.busy:
        if waiting:
            late.submit(waiting.pop())
        for _ in range(3):
            results |= {event.request: event.result for event in late.step() if isinstance(event, DoneEvent)}
    for name, result in alone.items():
        for other in (together[name], results[name]):
            assert (other.tokens, ran(other)) == (result.tokens, ran(result))


def test_the_rows_share_what_was_read_before():
    tokens, _, who = expected()
    kept = engine(prefix_bytes=1 << 24)
    for turn in range(3):
        result = decode(kept, item(f"t{turn}"))[f"t{turn}"]
        assert (result.tokens, ran(result)) == (tokens, who)
        assert (result.stats.reused_tokens > 0) == (turn > 0)


class Rewinding(Monitor):
    """Goes back a few times, with other settings; forbids what stood there."""

    part_name = "rewinding"

    def __init__(self, plan) -> None:
        super().__init__(NoSettings())
        self.plan = plan

    def start(self, request):
        return _RewindingSession(list(self.plan))


class _RewindingSession(MonitorSession):
    def __init__(self, plan) -> None:
        self.plan = plan

    def observe(self, token):
        if self.plan and token.position + 1 == self.plan[0][0]:
            _, back, overrides = self.plan.pop(0)
            return Rewind(back, overrides, [token.token] if back == token.position else [])
        return None

    def rewind(self, length):
        pass

    def record(self):
        return None


@pytest.mark.parametrize("back", [0, 1, 7, 12, 19, 24])
@pytest.mark.parametrize("drafts", [False, True])
def test_a_rewind_goes_back_to_the_model_that_spoke_there(back, drafts):
    settings = {"window": 3, "stay": 4}
    tokens, _, who = expected(**settings)
    monitors = [Rewinding([(25, back, {}), (33, back, {})])]
    drafters = [TreeDrafter(tokens, back)] if drafts else ()
    result = decode(engine(), item(settings=settings, monitors=monitors, drafters=drafters))["a"]
    given = result.tokens[: back + 1]  # a ban may have changed the token after it
    again, rows, models = expected(given=given, **settings)
    assert (result.tokens, ran(result)) == (again, models)
    assert [record.logprob for record in result.records] == log_probs_of(again, rows)
    assert models[: back + 1] == who[: back + 1]


def test_a_monitor_may_change_the_threshold():
    monitors = [Rewinding([(20, 18, {"entropy_switch.threshold": 32.0})])]
    plain = decode(engine(), item(settings={"window": 3, "stay": 4}))["a"]
    result = decode(engine(), item(settings={"window": 3, "stay": 4}, monitors=monitors))["a"]
    assert result.tokens[:18] == plain.tokens[:18]
    assert ran(result)[22:] == ["small"] * 18
    assert "large" in ran(plain)[22:]


def test_a_drafter_may_look_at_the_model_that_rests():
    _, _, who = expected()
    drafter = ViewDrafter(ViewDrafterSettings(name="small"))
    for temperature in (0.0, 0.7):
        sampling = Sampling(temperature=temperature, seed=1)
        plain = decode(engine(), item(sampling=sampling))["a"]
        drafted = decode(engine(prefill_tokens=16), item(sampling=sampling, drafters=[drafter]))["a"]
        assert (drafted.tokens, ran(drafted)) == (plain.tokens, ran(plain))
        assert drafted.stats.drafted > 0
    assert who == ran(decode(engine(), item(drafters=[drafter]))["a"])


def test_draws_that_are_tested_follow_the_model_that_speaks():
    """With rejection, the first tokens of many answers against the exact distribution across a switch."""
    settings = {"window": 1, "stay": 1, "threshold": 2.5}
    drafter = ViewDrafter(ViewDrafterSettings(name="small"))
    sampling = Sampling(temperature=1.0)
    runs = 150
    shared = [switch(**settings)]
    requests = [
        Request(
            f"s{run}",
            {"with_context": View(PROMPT), "small": View(SHORT, model="second")},
            rules=shared,
            drafters=[drafter],
            verification="rejection",
            sampling=sampling,
            max_new_tokens=3,
        )
        for run in range(runs)
    ]
    results = decode(engine(max_batch=50, prefill_tokens=10_000), *requests)
    surprise, variance = 0.0, 0.0
    for result in results.values():
        _, rows, who = expected(3, given=result.tokens, **settings)
        assert ran(result) == who
        logs = [float(row[token]) for token, row in zip(result.tokens, rows, strict=True)]
        # the mean surprise of draws from p is p's own entropy
        for row, found in zip(rows, logs, strict=True):
            p = row.exp()
            mean = -float((p * row).sum())
            spread = float((p * row**2).sum()) - mean**2
            surprise += -found - mean
            variance += spread
    assert abs(surprise) < 4 * variance**0.5


def test_a_mask_after_it_works_on_the_model_that_runs():
    def masked(row):
        return row.masked_fill(row < row.max() + torch.log(torch.tensor(0.2)), -torch.inf)

    tokens, rows, who = expected(after=masked)
    rules = [Plausible(PlausibleSettings(ratio=0.2))]
    for drafters in ((), [TreeDrafter(tokens, 4)]):
        result = decode(engine(), item(rules=rules, drafters=drafters))["a"]
        assert (result.tokens, ran(result)) == (tokens, who)
        assert [record.logprob for record in result.records] == log_probs_of(tokens, rows)


def test_two_prompts_of_one_model_take_turns_too():
    pair = Engine({"main": TransformersBackend(stock("large"))})
    views = {"with_context": PROMPT, "small": SHORT}
    tokens, _, who = reference.decode((stock("large"), PROMPT), (stock("large"), SHORT), threshold=2.0, tokens=40)
    assert {"large", "small"} == set(who)
    one = request("a", views, rules=[switch(threshold=2.0)], max_new_tokens=40, drafters=[TreeDrafter(tokens, 1)])
    result = decode(pair, one)["a"]
    assert (result.tokens, ran(result)) == (tokens, who)
    assert result.stats.forward_passes == result.stats.steps


def test_nothing_per_token_grows_with_the_answer(monkeypatch):
    seen = []
    running = EntropySwitch.running
    monkeypatch.setattr(EntropySwitch, "running", lambda self, past: seen.append(len(past)) or running(self, past))
    tokens, _, _ = expected()
    decode(engine(), item(drafters=[TreeDrafter(tokens, 1)]))
    assert 10 <= max(seen) <= 10 + 16
    decode(engine(), item(settings={"window": 2, "stay": 3}))
    assert seen[-1] == 3


def test_the_extremes_are_one_model_alone():
    alone = decode(engine(), Request("a", {"with_context": View(SHORT, model="second")}, max_new_tokens=30))["a"]
    settings = {"begin": "small", "threshold": 32.0}
    assert decode(engine(), item(settings=settings, max_new_tokens=30))["a"].tokens == alone.tokens


def test_what_would_need_both_models_is_refused():
    views = {"with_context": View(PROMPT), "small": View(SHORT, model="second"), "without_context": View(SHORT)}
    for rules, message in (
        ([switch(), Cad(CadSettings())], "'cad' needs the view without_context in every step"),
        ([Plausible(PlausibleSettings()), switch()], "makes of both is lost"),
    ):
        with pytest.raises(InputError, match=message):
            decode(engine(), Request("a", views, rules=rules))
    exits = {"with_context": View(PROMPT), "small": View(PROMPT, intervention=EarlyExit(0))}
    with pytest.raises(InputError, match="cannot switch to the early exit 'small'"):
        decode(engine(), Request("a", exits, rules=[switch()]))


def test_monitors_that_compare_views_are_refused():
    class Comparing(Rewinding):
        divergence = True

    with pytest.raises(InputError, match="the monitor 'rewinding' compares views"):
        decode(engine(), item(monitors=[Comparing([])]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"small": "with_context"}, "large model"), ({"window": 0}, "greater"), ({"stay": 0}, "greater"),
     ({"threshold": -1}, "greater"), ({"begin": "first"}, "large"), ({"threshold": float("nan")}, "less")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        switch(**settings)


def test_an_early_exit_is_refused_before_any_model_is_opened(tmp_path):
    from ragdecode.errors import SpecError
    from ragdecode.spec.load import load_pipeline

    lines = ["model: smollm2-135m", "decode:", "  views: {small: {intervention: {exit: 3}}}"]
    lines += ["  rule:", "    - entropy_switch:", "        small: small", ""]
    (tmp_path / "p.yaml").write_text("\n".join(lines))
    with pytest.raises(SpecError, match=r"p.yaml:6: .*cannot switch to the early exit 'small'"):
        load_pipeline(str(tmp_path / "p.yaml"))
