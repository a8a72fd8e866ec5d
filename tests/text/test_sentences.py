"""Where sentences begin and end."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.text.sentences import sentence_spans

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
OTHERS = [
    ["यह एक परीक्षण है।", "क्या यह काम करता है?", "हाँ॥"],
    ["هل هذا صحيح؟", "نعم، هذا صحيح.", "شكرا!"],
    ["یہ ایک جملہ ہے۔", "یہ دوسرا ہے۔"],
    ["Das gilt z.B. Für Bäume.", "Vgl. Abb. 3 bzw. Seite 4.", "Ende."],
    ["Voir p.ex. La page 3.", "Mme. Curie le savait.", "Fin."],
]
BLOCKS = [
    ["# A title", "Text here. "[:-1], "## Another. One", "More."],
    ["Run this:", "```python\nx = 1. Y = 2.\n\n# no heading\n- no item\n```", "It prints nothing.", "Good."],
    ["~~~\nopen. To the end"],
    ["````\n```\ninner. Text\n```\n````", "Outside."],
    ["```x = 1``` is code.", "Yes."],
]
WIDE = ["今日は晴れです。", "「本当？」", "はい！"]


def joined(sentences: list[str]) -> str:
    text = ""
    for sentence in sentences:
        text += (JOINTS.get(sentence, " ") if text else "") + sentence
    return text


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize("expected", CASES, ids=lambda case: case[0][:20])
def test_sentences_of_real_text(expected):
    assert split(joined(expected)) == expected


@pytest.mark.parametrize("expected", OTHERS, ids=lambda case: case[0][:12])
def test_sentences_of_other_languages(expected):
    assert split(" ".join(expected)) == expected


@pytest.mark.parametrize("expected", BLOCKS, ids=lambda case: case[0][:12])
def test_headings_and_code_are_sentences_of_their_own(expected):
    assert split("\n".join(expected)) == expected


def test_dandas_need_no_blank():
    assert split("एक है।दो है।") == ["एक है।", "दो है।"]


def test_wide_punctuation_needs_no_blank():
    assert split("".join(WIDE)) == WIDE


def test_blank_text_has_no_sentence():
    assert sentence_spans("") == []
    assert sentence_spans(" \n\n ") == []


PIECES = st.sampled_from(
    [
        ". ",
        ".",
        "! ",
        "?",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "Mr",
        "U.S",
        "e.g",
        "a",
        "The",
        "Word",
        " ",
        "。",
        "…",
        '"',
        "**",
        "```",
        "~~~",
        "`",
        "# ",
        "#",
        "।",
        "؟ ",
    ]
)
TEXTS = st.one_of(st.sampled_from([joined(case) for case in CASES]), st.lists(PIECES, max_size=30).map("".join))


@given(TEXTS)
def test_offsets_name_the_text_and_nothing_but_blanks_is_lost(text):
    end = 0
    for start, behind in sentence_spans(text):
        assert text[start:behind] == text[start:behind].strip() != ""
        assert not text[end:start].strip()
        end = behind
    assert not text[end:].strip()


@given(TEXTS, TEXTS, TEXTS)
def test_a_part_of_a_text_has_the_sentences_that_it_has_alone(before, text, behind):
    # what stands before a part is seen by nothing but the rule that a run of marks is one
    start = len(before) + 1
    found = sentence_spans(f"{before} {text}{behind}", start, start + len(text))
    assert [(first - start, last - start) for first, last in found] == sentence_spans(text)


@pytest.mark.parametrize("piece", ["Mr. ", "a. ", "!", "." * 7, "x", "\n ", '" ', "1. ", "U.S. ", ".*"])
def test_time_grows_with_the_text_and_not_faster(piece):
    text = piece * (100_000 // len(piece)) + "x"
    started = time.process_time()
    spans = sentence_spans(text)
    assert time.process_time() - started < 5  # where every mark were looked back from, minutes
    assert re.sub(r"\s", "", "".join(text[start:end] for start, end in spans)) == re.sub(r"\s", "", text)
