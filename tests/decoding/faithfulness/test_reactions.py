"""What is done about unfaithful sentences, against a naive reference that predicts one token at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import pytest

from ragdecode.decoding.events import ActionEvent, DoneEvent, RetractEvent, TokenEvent
from ragdecode.decoding.faithfulness.aggregator import Aggregator
from ragdecode.decoding.faithfulness.aligner import AlignerSession, Alignment
from ragdecode.decoding.faithfulness.watching import Watch
from ragdecode.decoding.monitors.syncheck import SynCheck, SynCheckSettings
from ragdecode.decoding.request import Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.decoding.search.fod import Fod, FodSettings
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from ragdecode.text.sentence_stream import SentenceStream
from tests.decoding.engines import VOCAB, TreeDrafter, decode, prompt
from tests.decoding.faithfulness.worlds import ask, engine

END = 2
BASE = 0.5
_ENDS = 24
WORDS = [f" {name}{number}" for number in range(20) for name in ("tower", "cat", "sea", "The")]
PIECES = ["", " x", ""] + WORDS[: VOCAB - 3 - _ENDS] + [".", "!", "?"] * (_ENDS // 3)
LIMIT = 30


def spell(tokens: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in tokens)


def hashed(text: str, salt: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{salt} {text}".encode()).digest()[:4], "big") / 2**32


class ByText(AlignerSession):
    """Scores a sentence by its text alone."""

    def __init__(self, salt: int) -> None:
        self.salt = salt

    def align(self, sentence: str) -> Alignment:
        return Alignment(hashed(sentence, self.salt), {}, 0, ())


class AlignmentAlone(Aggregator):
    """The alignment, as it is."""

    part_name = "alone"
    features = ("alignment",)

    def __init__(self) -> None:
        super().__init__(NoSettings())

    def score(self, features) -> float | None:
        return features["alignment"]


def monitor(on_unfaithful, salt: int, threshold: float = 0.5, **settings) -> SynCheck:
    made = SynCheck(
        SynCheckSettings(
            align={"lexical": {"encoder": None}}, threshold=threshold, on_unfaithful=on_unfaithful, **settings
        )
    )
    made.aggregator = AlignmentAlone()
    made.aligner.start = lambda passages, resources: ByText(salt)
    return made


def asked(seed: int, watch: SynCheck | None, **settings):
    made = ask(
        "q",
        seed,
        *([] if watch is None else [watch]),
        limit=LIMIT,
        rules=settings.pop("rules", [Cad(CadSettings(alpha=BASE))]),
        **settings,
    )
    return replace(made, detokenize=spell)


@cache
def predicted(seed: int, tokens: tuple[int, ...], alpha: float) -> int:
    """The next token of a run that begins with given tokens; the end token if there is none."""
    request = asked(seed, None, rules=[Cad(CadSettings(alpha=alpha))])
    views = {name: View([*view.prompt, *tokens]) for name, view in request.views.items()}
    found = decode(engine(), replace(request, views=views, max_new_tokens=1))["q"].tokens
    return found[0] if found else END


@dataclass
class Outcome:
    tokens: list[int] = field(default_factory=list)
    rewound: list[int] = field(default_factory=list)
    flagged: list[str] = field(default_factory=list)
    ended: str = "length"


def first_token(tokens: Sequence[int], start: int) -> int:
    """How many tokens begin before a place of the text."""
    at = count = 0
    for token in tokens:
        piece = PIECES[token]
        if at + len(piece) - len(piece.lstrip()) >= start:
            break
        at, count = at + len(piece), count + 1
    return count


def reference(seed: int, bad: Callable[[str], bool], factor: float, tries: int, most: int, then: str) -> Outcome:
    """Rewinding, written down naively."""
    out, alpha, raised, known = Outcome(), BASE, False, 0
    stream = SentenceStream()  # a border that stood before a rewind stands, whatever word comes next
    counts: dict[int, int] = {}
    while True:
        token = predicted(seed, tuple(out.tokens), alpha)
        if token != END:
            out.tokens.append(token)
            stream.add(PIECES[token])
        last = token == END or len(out.tokens) == LIMIT
        text, rewound = spell(out.tokens), False
        if last:
            stream.finish()
        for start, stop in stream.told[known:]:
            known += 1
            if not bad(text[start:stop]):
                if raised and not last:
                    alpha, raised = BASE, False
                    break  # one thing a step
                continue
            place = first_token(out.tokens, start)
            number = counts.get(place, 0) + 1
            if number <= tries and len(out.rewound) < most:
                counts = {at: count for at, count in counts.items() if at <= place} | {place: number}
                alpha, raised, rewound = BASE * factor**number, True, True
                out.rewound.append(place)
                del out.tokens[place:]
                stream.retract(len(spell(out.tokens)))
                known = len(stream.told)
                break
            if then == "stop":
                del out.tokens[place:]
                out.ended = "monitor"
                return out
            out.flagged.append(text[start:stop])
            alpha, raised = BASE, False
            if not last:
                break
        if last and not rewound:
            out.ended = "stop" if token == END else "length"
            return out


def run(request):
    """The events of a request: what was shown in the end, the actions, the result."""
    shown, actions, result = "", [], None
    for event in engine().run([request]):
        if isinstance(event, TokenEvent):
            shown += event.text
        elif isinstance(event, RetractEvent):
            shown = shown[: event.characters]
        elif isinstance(event, ActionEvent):
            actions.append(event)
        elif isinstance(event, DoneEvent):
            result = event.result
    return shown, actions, result


@pytest.mark.parametrize(("tries", "most", "then"), [(2, 3, "flag"), (1, 8, "stop"), (3, 2, "flag")])
def test_rewinding_equals_the_reference(tries, most, then):
    rewound = 0
    for seed in range(5):
        watch = monitor({"rewind": {"factor": 2.0, "tries": tries, "then": then}}, seed)
        shown, actions, result = run(asked(seed, watch, max_rewinds=most))
        expected = reference(seed, lambda text, seed=seed: hashed(text, seed) < 0.5, 2.0, tries, most, then)
        assert result.tokens == expected.tokens, seed
        assert result.finish_reason == expected.ended
        assert shown == result.text
        assert [event.detail["text"] for event in actions if event.action == "flag"] == expected.flagged
        assert sum(event.action == "rewind" for event in actions) == len(expected.rewound)
        rewound += len(expected.rewound)
        record = result.monitors["syncheck"]
        unfaithful = [one["text"] for one in record["sentences"] if one["faithful"] is False]
        assert unfaithful == expected.flagged
    assert rewound > 3


@pytest.mark.parametrize("temperature", [0.0, 1.2])
@pytest.mark.parametrize(
    "reaction", ["rewind", "abstain", {"abstain": {"keep": True}}, {"rewind": {"then": "abstain"}}]
)
def test_the_same_drafted_and_in_a_batch(reaction, temperature):
    sampling = Sampling(temperature=temperature, seed=4)
    for seed in range(2):
        hold = ("none", "sentence")[seed]
        alone = run(asked(seed, monitor(reaction, seed, 0.4, hold=hold), sampling=sampling))
        shown, actions, result = alone
        assert shown + (result.text[len(shown) :] if actions and actions[-1].action == "abstain" else "") == result.text
        drafted = asked(seed, monitor(reaction, seed, 0.4, hold=hold), sampling=sampling)
        drafted = replace(drafted, drafters=[TreeDrafter(result.tokens, seed)], max_draft_nodes=12)
        again = run(drafted)
        assert again[2].tokens == result.tokens
        assert again[2].text == result.text
        assert again[2].monitors["syncheck"]["asked"] == result.monitors["syncheck"]["asked"]
        assert [(one.action, one.detail) for one in again[1]] == [(one.action, one.detail) for one in actions]
        others = [replace(asked(seed + 9, None), id="other")]
        batched = decode(engine(), replace(drafted, drafters=[]), *others)["q"]
        assert batched.text == result.text


def test_with_hold_nothing_is_shown_that_is_dropped():
    for seed in range(6):
        watch = monitor("rewind", seed, hold="sentence")
        events = list(engine().run([asked(seed, watch)]))
        assert not any(isinstance(event, RetractEvent) for event in events)


def test_abstaining_takes_all_back_and_says_so():
    found = 0
    for seed in range(8):
        watch = monitor({"abstain": {"text": "I do not know."}}, seed)
        events = list(engine().run([asked(seed, watch)]))
        result = events[-1].result
        record = result.monitors["syncheck"]
        assert record["abstained"] == (result.text == "I do not know.")
        if not record["abstained"]:
            assert all(one["faithful"] is not False for one in record["sentences"])
            continue
        found += 1
        assert result.tokens == []
        assert result.finish_reason == "monitor"
        (action,) = [event for event in events if isinstance(event, ActionEvent)]
        assert action.action == "abstain"
        assert action.detail["faithfulness"] < 0.5
        assert action.detail["says"] == "I do not know."
        assert record["asked"][0]["text"] == action.detail["text"]
        assert any("abstained" in note for note in result.notes)
    assert found > 2


def test_abstaining_may_keep_what_was_supported():
    kept = 0
    for seed in range(8):
        stopped = decode(engine(), asked(seed, monitor("stop", seed)))["q"]
        said = decode(engine(), asked(seed, monitor({"abstain": {"keep": True, "text": "No more."}}, seed)))["q"]
        assert said.tokens == stopped.tokens
        if said.monitors["syncheck"]["abstained"]:
            assert said.text == f"{stopped.text} No more." if stopped.text else "No more."
            kept += bool(stopped.tokens)
    assert kept


def test_without_evidence_there_is_nothing_that_could_hold_the_answer():
    result = decode(engine(), replace(asked(1, monitor("abstain", 1)), passages=()))["q"]
    assert result.text == "The passages do not hold the answer."
    for reaction in ("rewind", "stop", "flag"):
        free = decode(engine(), replace(asked(1, monitor(reaction, 1)), passages=()))["q"]
        assert not free.monitors["syncheck"]["asked"]


def views(seed: int, number: int) -> dict[str, View]:
    shown = [(f"new{number}", f"Passage {number}.")]
    return {
        "with_context": View(prompt(seed + 100 * number, 11), passages=shown),
        "without_context": View(prompt(seed + 50, 5)),
    }


@pytest.mark.parametrize("rewrite", [True, False])
def test_retrieving_goes_on_under_the_new_prompts(rewrite):
    searched = 0
    for seed in range(4):
        queries: list[str] = []

        def find(query, seed=seed, queries=queries):
            queries.append(query)
            return views(seed, len(queries))

        watch = monitor({"retrieve": {"rewrite": rewrite, "times": 2, "then": "stop"}}, seed)
        request = replace(asked(seed, watch), retrieve=find, max_rewinds=5)
        shown, actions, result = run(request)
        assert shown == result.text
        told = [event for event in actions if event.action == "retrieve"]
        assert [event.detail["query"] for event in told] == queries
        assert len(queries) <= 2
        if not queries or actions[-1].action != "retrieve" or len(queries) > 1:
            continue
        # after the only search the rest is what the new prompts say after what had stayed
        bad = told[0].detail
        base = asked(seed, None)
        text = decode(engine(), base)["q"].text
        assert text[bad["start"] : bad["end"]] == bad["text"] == queries[0]
        stays = first_token(decode(engine(), base)["q"].tokens, bad["start"])
        if rewrite:
            new = {name: View([*view.prompt, *result.tokens[:stays]]) for name, view in views(seed, 1).items()}
            rest = decode(engine(), replace(base, views=new, max_new_tokens=LIMIT - stays))["q"].tokens
            assert result.tokens == [*result.tokens[:stays], *rest]
        searched += 1
    assert searched


def test_a_run_that_cannot_retrieve_does_what_comes_then():
    for seed in range(4):
        stopped = decode(engine(), asked(seed, monitor("stop", seed)))["q"]
        other = decode(engine(), asked(seed, monitor({"retrieve": {"then": "stop"}}, seed)))["q"]
        assert other.tokens == stopped.tokens
        assert other.finish_reason == stopped.finish_reason


def test_where_no_rewind_is_left_the_other_reaction_follows():
    for seed in range(4):
        stopped = decode(engine(), asked(seed, monitor("stop", seed)))["q"]
        other = decode(engine(), asked(seed, monitor({"rewind": {"then": "stop"}}, seed), max_rewinds=0))["q"]
        assert other.tokens == stopped.tokens


def test_a_forked_session_is_one_that_saw_all_again():
    from tests.decoding.faithfulness.test_watching import Writing, session
    from tests.decoding.faithfulness.test_watching import monitor as plain

    made = plain()
    trunk = Writing(session(made))
    for token in (3, 45, 3, 9, 45, 10):
        trunk.push(token)
    fork = Writing(trunk.watch.fork())
    fork.tokens = list(trunk.tokens)
    for token in trunk.tokens:
        fork.stream.push(token)
    before = trunk.watch.record()
    assert fork.watch.told() == []
    for token in (11, 46, 3, 4):
        fork.push(token)
    fork.finish(ended=True)
    assert trunk.watch.record() == before
    fresh = Writing(session(made))
    for token in fork.tokens:
        fresh.push(token)
    fresh.finish(ended=True)
    assert fork.watch.record() == fresh.watch.record()
    trunk.rewind(2)
    assert fork.watch.record() == fresh.watch.record()


def test_refusals():
    company = replace(asked(1, None), rules=[])
    with pytest.raises(InputError, match="would write the same sentence again"):
        monitor("rewind", 1).check(company)
    with pytest.raises(InputError, match="would write the same sentence again"):
        monitor("rewind", 1).check(replace(company, rules=[Cad(CadSettings(alpha=0.0))]))
    monitor({"rewind": {"temperature": 0.7}}, 1).check(company)
    monitor("rewind", 1).check(replace(company, sampling=Sampling(temperature=1.0)))


def test_a_strength_at_its_bound_is_not_tried_again():
    watch = monitor({"rewind": {"factor": 2.0, "tries": 9}}, 1, threshold=1.0)
    request = asked(1, watch, rules=[Cad(CadSettings(alpha=6.0))], max_rewinds=9)
    _, actions, _ = run(request)
    rewound = [event.detail["overrides"] for event in actions if event.action == "rewind"]
    assert rewound
    assert all(one == {"cad.alpha": 10.0} for one in rewound)
    assert len({event.detail["start"] for event in actions if event.action == "rewind"}) == len(rewound)


def test_another_temperature_holds_for_the_sentence_alone():
    for seed in range(6):
        watch = monitor({"rewind": {"factor": 1.0, "temperature": 1.5, "tries": 3}}, seed)
        _, actions, _ = run(asked(seed, watch, rules=[]))
        if any(event.action == "rewind" for event in actions):
            assert all(
                event.detail["overrides"] == {"sampling.temperature": 1.5}
                for event in actions
                if event.action == "rewind"
            )
            return
    pytest.fail("nothing was rewound")


def test_fod_with_forked_sessions_is_fod_with_sessions_that_saw_all_again(monkeypatch):
    # each sentence is a paragraph, whose border stands whatever comes next; else only a fork keeps a chosen sentence
    def paragraphs(ids):
        return "".join(PIECES[token] + ("\n\n" if PIECES[token] in ".!?" and PIECES[token] else "") for token in ids)

    searched = 0
    for seed in range(2):
        search = Fod(FodSettings(tau_start=0.6, tau_prune=0.3, samples=4, max_sentence_tokens=20))
        request = replace(asked(seed, monitor("flag", seed)), search=search, detokenize=paragraphs)
        forked = decode(engine(), request)["q"]
        with monkeypatch.context() as patched:
            patched.setattr(Watch, "fork", lambda self: None)
            again = decode(engine(), request)["q"]
        assert forked.tokens == again.tokens
        assert forked.monitors == again.monitors
        assert forked.search == again.search
        searched += forked.search["stage"] == "search"
    assert searched
