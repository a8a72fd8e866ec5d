"""Sentences of an answer, whole and while it is written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragdecode.pipeline.sentences import AnswerSentences, split_sentences
from ragdecode.text.sentences import sentence_spans
from tests.text.test_sentences import TEXTS


@given(TEXTS)
def test_sentences_know_their_place_and_text(text):
    sentences = split_sentences(text)
    assert [(one.start, one.end) for one in sentences] == sentence_spans(text)
    assert all(one.text == text[one.start : one.end] for one in sentences)


@given(TEXTS, st.data())
def test_a_stream_tells_the_same_sentences_however_the_text_is_cut(text, data):
    stream, told, at = AnswerSentences(), [], 0
    while at < len(text):
        size = data.draw(st.integers(1, 7))
        told += stream.add(text[at : at + size])
        at += size
    told += stream.finish()
    assert told == split_sentences(text)


def test_a_stream_tells_a_sentence_once_the_next_word_is_there():
    stream = AnswerSentences()
    assert stream.add("One. ") == []
    assert stream.add("Two") == []
    assert [sentence.text for sentence in stream.add(" three")] == ["One."]


def test_retracting_takes_sentences_back():
    stream = AnswerSentences()
    stream.add("One is here. Two is here. Three is")
    assert [sentence.text for sentence in stream.told] == ["One is here.", "Two is here."]
    stream.retract(14)
    assert stream.text == "One is here. T"
    assert [sentence.text for sentence in stream.told] == ["One is here."]
    stream.add("en. End")
    assert [sentence.text for sentence in stream.finish()] == ["Ten.", "End"]
