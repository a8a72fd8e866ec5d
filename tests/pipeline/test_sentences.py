"""Where sentences begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.pipeline.sentences import SentenceStream, split_sentences

CASES = [
    ["The cat sat.", "It was 3.5 metres tall.", "Dr. Smith agreed."],
    ["He paid $4.20 to Mr. J. Brown of Acme Inc. last week.", "Nobody knew!"],
    ["See Fig. 3 and Sec. 2, e.g. the left one, i.e. this.", "Done."],
    ["It ended at 5 p.m. on Monday.", "The rest is history."],
    ["They live in the U.S. and in France.", "Really?", "Yes."],
    ["She moved to the U.S.", "The year was 1990."],
    ["Version 2.0.1 is out.", "Get it at example.org/a.b now."],
    ['"Why?" he asked.', "Silence (again.)", "Then: nothing…", "Ok."],
    ["Steps:", "1. Open the door.", "2. Walk in.", "- and rest"],
    ["A heading without a stop", "A paragraph after a blank line."],
    ["So did I.", "Then we left."],
    ["No. 5 is alive.", "He said no.", "That was it."],
    ["**Bold end.**", "Next one."],
    ["Wait...", "What?!", "No way."],
]
JOINTS = {"1. Open the door.": "\n", "2. Walk in.": "\n", "- and rest": "\n", "A paragraph after a blank line.": "\n\n"}
WIDE = ["今日は晴れです。", "「本当？」", "はい！"]


def joined(sentences: list[str]) -> str:
    text = ""
    for sentence in sentences:
        text += (JOINTS.get(sentence, " ") if text else "") + sentence
    return text


@pytest.mark.parametrize("expected", CASES, ids=lambda case: case[0][:20])
def test_sentences_of_real_text(expected):
    assert [sentence.text for sentence in split_sentences(joined(expected))] == expected


def test_wide_punctuation_needs_no_blank():
    assert [sentence.text for sentence in split_sentences("".join(WIDE))] == WIDE


def test_blank_text_has_no_sentence():
    assert split_sentences("") == []
    assert split_sentences(" \n\n ") == []


PIECES = st.sampled_from(
    [". ", ".", "! ", "?", "\n", "\n\n", "- ", "1. ", "Mr", "U.S", "e.g", "a", "The", "Word", " ", "。", "…", '"', "**"]
)
TEXTS = st.one_of(st.sampled_from([joined(case) for case in CASES]), st.lists(PIECES, max_size=30).map("".join))


@given(TEXTS)
def test_offsets_name_the_text_and_nothing_but_blanks_is_lost(text):
    end = 0
    for sentence in split_sentences(text):
        assert text[sentence.start : sentence.end] == sentence.text == sentence.text.strip() != ""
        assert not text[end : sentence.start].strip()
        end = sentence.end
    assert not text[end:].strip()


@given(TEXTS, st.data())
def test_a_stream_tells_the_same_sentences_however_the_text_is_cut(text, data):
    stream, told, at = SentenceStream(), [], 0
    while at < len(text):
        size = data.draw(st.integers(1, 7))
        told += stream.add(text[at : at + size])
        at += size
    told += stream.finish()
    assert told == split_sentences(text)


def test_a_stream_tells_a_sentence_once_the_next_word_is_there():
    stream = SentenceStream()
    assert stream.add("One. ") == []
    assert stream.add("Two") == []
    assert [sentence.text for sentence in stream.add(" three")] == ["One."]


def test_retracting_takes_sentences_back():
    stream = SentenceStream()
    stream.add("One is here. Two is here. Three is")
    assert [sentence.text for sentence in stream.told] == ["One is here.", "Two is here."]
    stream.retract(14)
    assert stream.text == "One is here. T"
    assert [sentence.text for sentence in stream.told] == ["One is here."]
    stream.add("en. End")
    assert [sentence.text for sentence in stream.finish()] == ["Ten.", "End"]
