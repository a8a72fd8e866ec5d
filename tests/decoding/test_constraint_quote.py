"""The quote constraint: masks against a list of all spans, offsets, drafts, marks, evidence that comes later."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import product

import pytest

from ragdecode.decoding.constraints.ban import Ban, BanSettings
from ragdecode.decoding.constraints.quote import QuoteConstraint, QuoteSettings
from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve
from ragdecode.decoding.request import Sampling, View
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings
from tests.decoding.engines import decode
from tests.decoding.grammar_world import END, TOKENS, VOCAB, NoisyDrafter, engine, request

PASSAGES = (
    ("p1", "The quick brown fox's den.\nThe fox, “quick” as ever, naps in the den."),
    ("p2", "Paris is a city; the city of Paris: 日本語 é1."),
)


def part(**settings) -> QuoteConstraint:
    return QuoteConstraint(QuoteSettings(**settings))


def session(passages=PASSAGES, **settings):
    return part(**settings).start(request("any", passages=passages), VOCAB)


def allowed(one, state) -> set[int]:
    return {token for token, forbidden in enumerate(one.mask(state).tolist()) if not forbidden}


def decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class Naive:
    """Judges beginnings of answers by all spans, written out."""

    def __init__(self, opened: str, closed: str, boundaries: str) -> None:
        self.opened, self.closed = opened.encode(), closed.encode()
        self.spans = set()
        for _, text in PASSAGES:
            pieces = list(text)
            if boundaries == "words":
                pieces = re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|\s+|[^\w\s]", text)
            assert "".join(pieces) == text
            for i in range(len(pieces)):
                for j in range(i + 1, len(pieces) + 1):
                    span = "".join(pieces[i:j])
                    if span.strip() and opened not in span and closed not in span:
                        self.spans.add(span.encode())
        self.begun = {span[:size] for span in self.spans for size in range(len(span) + 1)}

    def _outside(self, text: bytes, *, whole: bool) -> bool:
        rests = [bytes(rest) for size in range(1 if whole else 4) for rest in product((0x80, 0xBF), repeat=size)]
        return any(decodes(text + rest) for rest in rests)

    def fits(self, text: bytes) -> bool:
        """Whether an answer may begin so."""
        while (place := text.find(self.opened)) >= 0:
            if not self._outside(text[:place], whole=True):
                return False
            text = text[place + len(self.opened) :]
            end = text.find(self.closed)
            if end < 0:
                partial = [size for size in range(len(self.closed)) if not size or text.endswith(self.closed[:size])]
                return any((text[: len(text) - size] in self.spans if size else text in self.begun) for size in partial)
            if text[:end] not in self.spans:
                return False
            text = text[end + len(self.closed) :]
        return self._outside(text, whole=False)

    def ends(self, text: bytes) -> bool:
        """Whether it may end so."""
        while (place := text.find(self.opened)) >= 0:
            text = text[place + len(self.opened) :]
            end = text.find(self.closed)
            if end < 0:
                return False
            text = text[end + len(self.closed) :]
        return self._outside(text, whole=True)


@pytest.mark.parametrize(
    ("marks", "boundaries"),
    [(("“", "”"), "words"), (("<quote>", "</quote>"), "words"), (('"', '"'), "characters"), (("/[", "]/"), "words")],
)
def test_masks_are_those_of_the_list_of_all_spans(marks, boundaries):
    one = session(open=marks[0], close=marks[1], boundaries=boundaries)
    naive = Naive(*marks, boundaries)
    opening = [TOKENS.index(bytes([byte])) for byte in marks[0].encode()]
    closing = {id_ for id_, token in enumerate(TOKENS) if token and marks[1].encode().startswith(token)}
    inside = 0
    for seed in range(4):
        rng, state, written = random.Random(seed), one.start(), b""
        plan = list(opening)
        for _ in range(26):
            mine = allowed(one, state)
            fits = {id_ for id_, token in enumerate(TOKENS) if token and naive.fits(written + token)}
            assert mine, "a mask is never empty"
            assert mine - {END} <= fits
            assert (END in mine) == naive.ends(written)
            assert mine - {END} == fits or len(mine) == 1  # forced text has one reading
            inside += written.count(marks[0].encode()) > 0
            open_ = not naive.ends(written)
            token = plan.pop(0) if plan and plan[0] in mine else rng.choice(sorted(mine - {END} or mine))
            if open_ and mine & closing and rng.random() < 0.2:
                token = rng.choice(sorted(mine & closing))
            if token == END:
                break
            state, written = one.advance(state, token), written + TOKENS[token]
    assert inside > 40


@pytest.mark.parametrize("temperature", [0.0, 1.2])
@pytest.mark.parametrize("free", [True, False])
def test_every_quote_is_in_its_passage_and_drafts_change_nothing(temperature, free):
    settings = {"at_least": 1} if free else {"free": False, "at_most": 3}
    asked = [
        request(
            f"{free}{seed}",
            constraints=[part(**settings)],
            passages=PASSAGES,
            sampling=Sampling(temperature=temperature, seed=seed),
            max_new_tokens=60,
        )
        for seed in range(4)
    ]
    plain = decode(engine(), *asked)
    drafted = decode(
        engine(max_batch=3), *(replace(item, drafters=[NoisyDrafter(plain[item.id].tokens, 7)]) for item in asked)
    )
    texts = dict(PASSAGES)
    quotes = 0
    for name, result in plain.items():
        assert drafted[name].tokens == result.tokens
        assert drafted[name].constraints == result.constraints
        for quote in result.constraints["quote"]:
            quotes += 1
            assert result.text[quote["start"] : quote["end"]] == quote["text"]
            assert result.text[: quote["start"]].endswith("“")
            words = quote["text"] if quote["closed"] else quote["text"].rstrip("\ufffd")
            assert texts[quote["passage"]][quote["passage_start"] : quote["passage_end"]] == words
            assert quote["closed"] == result.text[quote["end"] :].startswith("”")
        assert len(result.constraints["quote"]) == result.text.count("“")
        if result.finish_reason == "stop":
            assert all(quote["closed"] for quote in result.constraints["quote"])
            assert result.constraints["quote"]
    if not free:
        assert quotes >= 4
        for result in plain.values():
            whole = result.text if result.finish_reason == "stop" else result.text.rpartition("“")[0].rstrip()
            assert re.fullmatch(r"(“[^“”]+”[ \n]?)*", whole)
            assert len(result.constraints["quote"]) <= 3


def test_the_same_words_in_two_passages_have_a_valid_place():
    one = session([("a", "red den"), ("b", "the red den")])
    assert one.record("So “red den” and “the red") == [
        {
            "text": "red den",
            "start": 4,
            "end": 11,
            "closed": True,
            "passage": "a",
            "passage_start": 0,
            "passage_end": 7,
        },
        {
            "text": "the red",
            "start": 18,
            "end": 25,
            "closed": False,
            "passage": "b",
            "passage_start": 0,
            "passage_end": 7,
        },
    ]


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize(("least", "most"), [(0, 1), (1, 1), (2, 2), (1, 3), (0, None), (2, None)])
def test_numbers_of_quotes_are_kept(free, least, most):
    one = session(free=free, at_least=least, at_most=most)
    state, quote, ends = one.start(), [TOKENS.index(text.encode()) for text in ("“", "f", "o", "x", "”")], []
    for count in range(4):
        ends.append(not one.mask(state)[END])
        for token in ([] if free or not count else [TOKENS.index(b" ")]) + quote:
            if one.mask(state)[token]:
                break
            state = one.advance(state, token)
        else:
            continue
        break
    low, high = max(least, 0 if free else 1), 3 if most is None else most
    assert ends == [low <= count for count in range(min(high, 3) + 1)]


def test_without_passages_no_quote_can_be_begun():
    one = session(())
    assert TOKENS.index("“".encode()) not in allowed(one, one.start())
    assert {TOKENS.index(b"a"), END} <= allowed(one, one.start())
    result = decode(engine(), request("dry", constraints=[part()], max_new_tokens=20))["dry"]
    assert "“" not in result.text
    assert result.notes == ("constraint quote: there are no passages, so the answer may hold no quote",)
    for settings in ({"at_least": 1}, {"free": False}):
        with pytest.raises(InputError, match="no passage to quote from"):
            session((("blank", "  "),), **settings)


def test_evidence_that_comes_later_may_be_quoted_and_what_was_quoted_stays():
    one = session([("a", "red den")], at_least=1, free=False)
    state = one.start()
    for text in ("“", "r", "e", "d", "”", " "):
        assert not one.mask(state)[TOKENS.index(text.encode())]
        state = one.advance(state, TOKENS.index(text.encode()))
    one.retrieved([("b", "green"), ("c", "red den")])
    state = one.advance(state, TOKENS.index("“".encode()))
    assert not one.mask(state)[TOKENS.index(b"g")]
    assert not one.mask(state)[TOKENS.index(b"r")]
    assert one.mask(state)[TOKENS.index(b"x")]
    assert [quote["passage"] for quote in one.record("“red” “green”")] == ["a", "b"]


class _Again(Monitor):
    part_name = "again"

    def start(self, request):
        return _AgainSession()


class _AgainSession(MonitorSession):
    asked = False

    def observe(self, token):
        if not self.asked and token.position == 5:
            self.asked = True
            return Retrieve("more")
        return None

    def rewind(self, length):
        pass

    def record(self):
        return None


def test_a_monitor_that_retrieves_changes_what_may_be_quoted():
    asked = request("later", constraints=[part(at_least=1)], passages=[("a", "den")], monitors=[_Again(NoSettings())])
    view = asked.views["with_context"]
    fresh = View([*view.prompt, 9], passages=[("b", "zzz yyy")])
    result = decode(engine(), replace(asked, retrieve=lambda query: {"with_context": fresh}, max_new_tokens=50))
    active = result["later"]
    assert {quote["passage"] for quote in active.constraints["quote"]} <= {"a", "b"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"open": "''"}, "overlap with itself"),
        ({"open": "<q", "close": "<q>"}, "part of the other"),
        ({"open": " “"}, "blanks"),
        ({"at_least": 2, "at_most": 1}, "below"),
    ],
)
def test_marks_that_would_not_be_clear_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        QuoteSettings(**settings)


def test_bans_may_stand_beside_it():
    asked = request("ban", constraints=[part(), Ban(BanSettings(phrases=("the",)))], passages=PASSAGES)
    assert decode(engine(), replace(asked, max_new_tokens=10))["ban"].finish_reason in ("length", "stop")


def test_text_that_tokens_cannot_write_parts_a_passage():
    one = session([("a", "red \ud800 den")], free=False)
    state = one.start()
    for text in ("“", "r", "e", "d"):
        state = one.advance(state, TOKENS.index(text.encode()))
    assert allowed(one, state)
    state = one.advance(state, TOKENS.index(b" "))
    assert {TOKENS[id_] for id_ in allowed(one, state)} <= {"”".encode(), "”".encode()[:1], "”.".encode()}
