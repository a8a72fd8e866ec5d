"""Numbers of passages behind sentences: in the record, in the stream, never one that is not there."""

from __future__ import annotations

from ragdecode.decoding import events as engine
from ragdecode.decoding.request import TARGET, Request, Result, Stats, View
from ragdecode.pipeline.answer import Seconds, Sentence
from ragdecode.pipeline.answering import AnswerStream
from ragdecode.pipeline.citations import citations, cited_answer, numbers_of
from ragdecode.pipeline.events import DoneEvent, RetractEvent, SentenceEvent
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.preparing import Prepared
from ragdecode.pipeline.sentences import split_sentences

PASSAGES = (Passage("b", "b.md", "B", rank=2), Passage("a", "a.md", "A", rank=1), Passage("c", "", "C", rank=3))
TEXT = "Paris is big. It lies on the Seine. Nobody knows."
SUPPORT = {"Paris is big.": ["a", "b"], "It lies on the Seine.": ["c", "gone"], "Nobody knows.": []}


def sentence(text, start, by=()):
    return Sentence(text, start, start + len(text), supported_by=tuple(by))


def verdict(text, start, by):
    return {
        "text": text,
        "start": start,
        "end": start + len(text),
        "faithfulness": 0.9,
        "faithful": True,
        "supported_by": by,
        "evidence": [],
        "unscored": None,
    }


def verdicts(text):
    return [verdict(one.text, one.start, SUPPORT[one.text]) for one in split_sentences(text)]


def stream(*, cited=True):
    prepared = Prepared(Request("r", {TARGET: View([1])}), {}, "q", PASSAGES)
    return AnswerStream(prepared, str, "app", "head", Seconds(), cited=cited)


def done(text):
    record = {"sentences": verdicts(text)}
    return engine.DoneEvent("r", Result("r", [], text, "stop", [], Stats(), {"syncheck": record}))


def test_numbers_are_places_in_the_list_of_passages():
    assert numbers_of(sentence("x", 0, ["c", "b", "c", "gone"]), PASSAGES) == [1, 3]
    marked = cited_answer(
        TEXT, [sentence(one.text, one.start, SUPPORT[one.text]) for one in split_sentences(TEXT)], PASSAGES
    )
    assert marked == "Paris is big. [1][2] It lies on the Seine. [3] Nobody knows."
    assert [(one.number, one.passage) for one in citations(marked, PASSAGES)] == [(1, "b"), (2, "a"), (3, "c")]


def test_what_the_model_wrote_is_not_doubled_and_never_out_of_range():
    text = "It is so [2], they say [9][44]. See a[7][8] and [12]."
    first, second = split_sentences(text)
    marked = cited_answer(text, [sentence(first.text, 0, ["a", "c"]), sentence(second.text, second.start)], PASSAGES)
    assert marked == "It is so [2], they say. [3] See a[7][8] and."
    assert cited_answer("Plain [1].", [sentence("Plain [1].", 0)], ()) == "Plain."


def test_the_stream_joins_to_the_record_and_the_raw_answer_stays():
    told = stream()
    events = []
    for one in verdicts(TEXT):
        events += told.follow(engine.VerdictEvent("r", "syncheck", one))
    for piece in (TEXT[:20], TEXT[20:21], TEXT[21:]):
        events += told.follow(engine.TokenEvent("r", None, piece))
    events += told.follow(done(TEXT))
    answer = events[-1].answer
    assert isinstance(events[-1], DoneEvent)
    assert answer.answer == TEXT
    assert "".join(event.cited for event in events if isinstance(event, SentenceEvent)) == answer.cited_answer
    data = answer.to_json()
    assert data["answer"] == TEXT
    assert data["cited_answer"] == answer.shown == "Paris is big. [1][2] It lies on the Seine. [3] Nobody knows."
    assert data["citations"][0] == {"number": 1, "passage": "b", "source": "b.md"}
    assert [event.to_json().get("cited") for event in events if isinstance(event, SentenceEvent)][1] == (
        " It lies on the Seine. [3]"
    )


def test_a_withdrawn_sentence_is_cited_once():
    told = stream()
    for one in verdicts(TEXT):
        told.follow(engine.VerdictEvent("r", "syncheck", one))
    pieces = []
    for event in (
        *told.follow(engine.TokenEvent("r", None, "Paris is big. It was wrong. And so")),
        *told.follow(engine.RetractEvent("r", 3, 13)),
        *told.follow(engine.TokenEvent("r", None, TEXT[13:])),
        *told.follow(done(TEXT)),
    ):
        if isinstance(event, SentenceEvent):
            pieces.append((event.sentence.end, event.cited))
        elif isinstance(event, RetractEvent):
            pieces = [(end, text) for end, text in pieces if end <= event.characters]
        elif isinstance(event, DoneEvent):
            assert "".join(text for _, text in pieces) == event.answer.cited_answer


def test_without_the_setting_nothing_changes():
    told = stream(cited=False)
    events = [*told.follow(engine.TokenEvent("r", None, TEXT)), *told.follow(done(TEXT))]
    assert all(event.cited is None for event in events if isinstance(event, SentenceEvent))
    assert "cited_answer" not in events[-1].answer.to_json()
    assert events[-1].answer.shown == TEXT
