"""FOD: every branch of its control flow, with scripted scores, against a naive reference."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import pytest
import torch

from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.events import ActionEvent, DoneEvent, RetractEvent, TokenEvent, VerdictEvent
from ragdecode.decoding.monitor import Accepted, Flag, Monitor, MonitorSession, Stop
from ragdecode.decoding.noise import gumbel
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.search.fod import Fod, FodSettings
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import VOCAB, TreeDrafter, backend, decode, model, prompt, request
from tests.reference import naive
from tests.reference.fod import fod

END = 2
Score = Callable[[Sequence[int], int], float | None]


def ends_sentence(token: int) -> bool:
    return token % 5 == 0


def hashed(low: float = 0.0) -> Score:
    """Scores that only the tokens decide."""

    def score(tokens: Sequence[int], index: int) -> float:
        digest = hashlib.blake2b(bytes([index, *tokens]), digest_size=4).digest()
        return low + (1 - low) * int.from_bytes(digest, "little") / 2**32

    return score


@dataclass(frozen=True)
class Scored:
    text: str
    tokens: range
    score: float | None


class Judge(Monitor):
    """Sentences end with certain tokens and are known ``ahead`` tokens later; a script scores them."""

    part_name = "judge"
    scores = True

    def __init__(self, score: Score, ahead: int = 0, *, forks: bool = True, action=None) -> None:
        super().__init__(NoSettings())
        self.score, self.ahead, self.forks, self.asked = score, ahead, forks, action

    def start(self, request):
        return JudgeSession(self)


class JudgeSession(MonitorSession):
    def __init__(self, judge: Judge) -> None:
        self.judge, self.tokens, self.verdicts, self.untold = judge, [], [], 0

    def observe(self, token: Accepted):
        self.tokens.append(token.token)
        return self._judge(len(self.tokens) - self.judge.ahead)

    def _judge(self, known: int, last: bool = False):
        start = self.verdicts[-1].tokens.stop if self.verdicts else 0
        action = None
        for place in range(start, known):
            if ends_sentence(self.tokens[place]) or (last and place == known - 1):
                own = self.tokens[start : place + 1]
                score = self.judge.score(own, len(self.verdicts))
                self.verdicts.append(Scored(str(own), range(start, place + 1), score))
                start = place + 1
                if score is not None and score < 0.5:
                    action = (self.judge.asked or Flag)({"sentence": len(self.verdicts)} if not self.judge.asked else 0)
        return action

    def finish(self, text: str):
        return self._judge(len(self.tokens), last=True)

    def told(self):
        new = [{"tokens": list(one.tokens)} for one in self.verdicts[self.untold :]]
        self.untold = len(self.verdicts)
        return new

    def rewind(self, length: int) -> None:
        del self.tokens[length:]
        self.verdicts = [one for one in self.verdicts if one.tokens.stop <= length]
        self.untold = min(self.untold, len(self.verdicts))

    def fork(self):
        if not self.judge.forks:
            return None
        twin = JudgeSession(self.judge)
        twin.tokens, twin.verdicts, twin.untold = list(self.tokens), list(self.verdicts), self.untold
        return twin

    def record(self):
        return [one.score for one in self.verdicts]


VIEWS = {"with_context": prompt(10, 20), "without_context": prompt(110, 9)}  # greedy: six sentences


def asked(name: str, score: Score, *, views=VIEWS, judge: Judge | None = None, **settings):
    own = {key: settings.pop(key) for key in list(settings) if key in FodSettings.model_fields}
    parts = {"rules": [Cad(CadSettings(alpha=0.5))]} | settings
    return request(
        name,
        views,
        monitors=[judge or Judge(score)],
        search=Fod(FodSettings(**own)),
        end_tokens=frozenset({END}),
        **({"max_new_tokens": 28} | parts),
    )


def engine(**settings) -> Engine:
    return Engine({"main": backend()}, **settings)


def naive_next(name: str, *, views=VIEWS, limit: int, room: int, ahead: int = 0, rule=None, top_p: float = 0.95):
    """The next sentence of a prefix by re-running whole prompts."""
    compose = rule or naive.cad(0.5)
    shown = {view: (model(), ids) for view, ids in views.items()}

    @cache
    def composed(tokens: tuple[int, ...]) -> torch.Tensor:
        predicted = {view: naive.next_log_probs(stock, [*ids, *tokens]) for view, (stock, ids) in shown.items()}
        return torch.log_softmax(compose(predicted), dim=-1)

    def one(tokens: list[int], draw: str) -> int:
        scores = composed(tuple(tokens))
        if draw != "greedy":
            noise = gumbel(0, f"{name}\x00{draw}", 0, [len(tokens)], VOCAB, torch.device("cpu"))[0]
            scores = naive.warped(scores, 0.7, 0, top_p, 0.0).log() + noise
        return int(scores.argmax())

    def next_sentence(prefix: list[int], draw: str) -> tuple[list[int], bool] | None:
        own: list[int] = []
        while True:
            stops = [place + 1 for place, token in enumerate(own) if ends_sentence(token)]
            if stops and len(own) - stops[0] >= ahead:
                return own[: stops[0]], False
            if draw != "greedy" and len(own) >= limit:
                return None
            token = one(prefix + own, draw)
            if token == END:
                break
            own.append(token)
            if len(prefix) + len(own) >= room:
                break
        if stops := [place + 1 for place, token in enumerate(own) if ends_sentence(token)]:
            return own[: stops[0]], stops[0] == len(own)
        return own, True

    return next_sentence


CONTROL = {"tau_start": 0.8, "tau_prune": 0.7, "beams": 2, "samples": 6, "max_sentences": 9}


@pytest.mark.parametrize(("seed", "ahead"), [(0, 0), (1, 2), (2, 0), (3, 2), (4, 1)])
def test_equals_the_reference_with_scores_that_tokens_decide(seed, ahead):
    rng = random.Random(seed)
    control = {
        "tau_start": rng.choice([0.2, 0.5]),
        "tau_prune": rng.choice([0.2, 0.5]),
        "beams": rng.choice([1, 2, 3]),
        "samples": rng.choice([3, 4, 6]),
        "max_sentences": rng.choice([3, 9]),
    }
    score = hashed()
    views = {"with_context": prompt(seed, 20), "without_context": prompt(50 + seed, 9)}
    wanted, scores, _ = fod(naive_next("a", views=views, limit=12, room=24, ahead=ahead), score, **control)
    judge = Judge(score, ahead)
    got = decode(
        engine(), asked("a", score, views=views, judge=judge, max_sentence_tokens=12, max_new_tokens=24, **control)
    )["a"]
    assert got.tokens == wanted
    assert got.search["scores"] == pytest.approx(scores)
    assert got.search["abstained"] == (not wanted and got.finish_reason == "monitor")


def test_accepting_all_is_decoding_without_a_search():
    for sampling in (Sampling(), Sampling(temperature=0.9, seed=4)):
        plain = asked("a", lambda *_: 1.0, sampling=sampling)
        searched = decode(engine(), plain)["a"]
        alone = decode(
            engine(),
            request("a", VIEWS, rules=plain.rules, sampling=sampling, end_tokens=plain.end_tokens, max_new_tokens=28),
        )["a"]
        if len(searched.search["scores"]) < 9:
            assert searched.tokens == alone.tokens
            assert searched.finish_reason == alone.finish_reason
        else:
            assert alone.tokens[: len(searched.tokens)] == searched.tokens
        assert [one.logprob for one in searched.records] == pytest.approx(
            [one.logprob for one in alone.records[: len(searched.records)]], abs=1e-12
        )
        assert searched.search["stage"] == "greedy"


def test_rejecting_all_abstains():
    result = decode(engine(), asked("a", lambda *_: 0.0, abstention="No."))["a"]
    assert (result.tokens, result.text, result.finish_reason) == ([], "No.", "monitor")
    assert result.search["abstained"] is True
    assert result.search["score"] is None
    assert sum(result.search[name] for name in ("pruned", "repeated", "empty", "too_long")) == 6
    assert any("abstained" in note for note in result.notes)


def test_rejecting_the_third_sentence_keeps_exactly_two_of_greedy():
    calls: list[tuple[int, ...]] = []
    greedy = decode(engine(), asked("a", lambda *_: 1.0))["a"]

    def score(tokens, index):
        calls.append(tuple(tokens))
        return 0.0 if index == 2 else 0.9 + 0.01 * index

    result = decode(engine(), asked("a", score))["a"]
    stops = [place + 1 for place, token in enumerate(greedy.tokens) if ends_sentence(token)]
    assert result.tokens == greedy.tokens[: stops[1]]
    assert result.search["greedy"] == 2
    assert result.search["rounds"] == 1  # every third sentence is rejected
    assert result.search["score"] == pytest.approx((0.9 + 0.91) / 2)
    assert result.finish_reason == "monitor"


def test_no_more_sentences_than_asked_for_in_both_stages():
    greedy = decode(engine(), asked("a", lambda *_: 1.0, max_sentences=2))["a"]
    assert len(greedy.search["scores"]) == 2
    assert greedy.finish_reason == "length"
    assert ends_sentence(greedy.tokens[-1])
    rejected: list[int] = []

    def score(tokens, index):  # rejects the first greedy sentence only
        rejected.append(index)
        return 0.75 if len(rejected) == 1 else 0.95

    result = decode(engine(), asked("a", score, max_sentences=2))["a"]
    assert len(result.search["scores"]) <= 2


def test_the_same_alone_in_a_batch_and_drafted():
    score = hashed(0.3)
    names = ["a", "b"]
    alone = {name: decode(engine(), asked(name, score))[name] for name in names}
    together = decode(engine(max_batch=4), *[asked(name, score) for name in names])
    assert {name: one.tokens for name, one in together.items()} == {name: one.tokens for name, one in alone.items()}
    for name in names[:1]:
        answer = alone[name].tokens
        for drafters in ([TreeDrafter(answer, 3, END)], [PromptLookup(PromptLookupSettings())]):
            judge = Judge(score, 1, forks=False)
            undrafted = decode(engine(), asked(name, score, judge=Judge(score, 1)))[name]
            drafted = decode(engine(), asked(name, score, judge=judge, drafters=drafters))[name]
            assert drafted.tokens == undrafted.tokens
            assert drafted.search == undrafted.search
    again = decode(engine(), asked("a", score))["a"]
    assert again.tokens == alone["a"].tokens
    assert again.search == alone["a"].search
    assert any(one.search["stage"] == "search" and one.search["rounds"] > 1 for one in alone.values())


def test_what_is_settled_is_shown_and_never_taken_back():
    score = hashed(0.3)
    for name in ("a", "b"):
        shown: list[int] = []
        verdicts, flags = [], []
        events = list(engine().run([asked(name, score, judge=Judge(score, 2))]))
        assert {event.request for event in events} == {name}
        assert not any(isinstance(event, RetractEvent) for event in events)
        for event in events:
            if isinstance(event, TokenEvent):
                shown.append(event.record.token)
            elif isinstance(event, VerdictEvent):
                verdicts.append(event.verdict["tokens"])
            elif isinstance(event, ActionEvent):
                flags.append(event.detail["sentence"])
        result = events[-1].result
        assert isinstance(events[-1], DoneEvent)
        assert shown == result.tokens
        spans, start = [], 0
        for place, token in enumerate(result.tokens):
            if ends_sentence(token) or place == len(result.tokens) - 1:
                spans.append(list(range(start, place + 1)))
                start = place + 1
        assert verdicts == spans
        low = [place + 1 for place, value in enumerate(result.search["scores"]) if value < 0.5]
        assert flags == low
        early = next(place for place, event in enumerate(events) if isinstance(event, TokenEvent)) if shown else 0
        assert early < len(events)


def test_greedy_sentences_are_shown_while_the_search_goes_on():
    run = engine()
    asking = asked("a", lambda tokens, index: 0.0 if index == 1 else 0.9)
    run.submit(asking)
    told = []
    while run.busy and not any(isinstance(event, TokenEvent) for event in told):
        told += run.step()
    assert run.busy  # the first sentence is out before the search has ended
    while run.busy:
        told += run.step()
    assert isinstance(told[-1], DoneEvent)


def test_cancelling_ends_with_what_is_settled_and_frees_all_rows():
    main = backend()
    run = Engine({"main": main})
    run.submit(asked("a", lambda tokens, index: 0.0 if index == 1 else 0.9))
    shown = []
    for _ in range(200):
        events = run.step()
        shown += [event.record.token for event in events if isinstance(event, TokenEvent)]
        if len(run._active) > 1:
            break
    run.cancel("a")
    (done,) = [event for event in run.step() if isinstance(event, DoneEvent)]
    assert done.result.finish_reason == "cancelled"
    assert done.result.tokens == shown
    assert not run.busy
    assert not main._rows
    again = decode(run, asked("a", lambda *_: 1.0))["a"]
    assert again.tokens


def test_all_rows_are_freed_and_passes_counted_once():
    main = backend()
    run = Engine({"main": main}, max_batch=8)
    result = decode(run, asked("a", hashed(0.3)))["a"]
    assert not main._rows
    assert not run._searches
    assert 0 < result.stats.forward_passes < result.stats.steps
    assert result.stats.forward_rows >= 2 * result.stats.forward_passes
    assert result.stats.new_tokens == len(result.tokens) <= result.stats.committed


def test_sentences_without_a_score_pass_and_count_in_no_mean():
    result = decode(engine(), asked("a", lambda tokens, index: None if index % 2 else 0.9))["a"]
    assert result.search["stage"] == "greedy"
    assert result.search["score"] == pytest.approx(0.9)
    assert None in result.search["scores"]


def test_other_actions_only_flag_in_a_search():
    judge = Judge(hashed(), action=Stop)
    result = decode(engine(), asked("a", hashed(), judge=judge, tau_start=0.1, tau_prune=0.1))["a"]
    assert any("a search acts" in note for note in result.notes)


def test_refusals():
    plain = request("a", VIEWS, search=Fod(FodSettings()))
    with pytest.raises(InputError, match="needs a monitor that scores"):
        engine().submit(plain)
    with pytest.raises(InputError, match="needs a monitor that scores"):
        engine().submit(asked("a", hashed(), by="other"))
    with pytest.raises(InputError, match="6 samples for 7 beams"):
        Fod(FodSettings(samples=6, beams=7))
