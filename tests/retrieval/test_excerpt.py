from __future__ import annotations

import pytest

from ragdecode.documents.passage import Passage
from ragdecode.retrieval.excerpt import KEPT, excerpt, kept_spans, sentences

TEXT = "First sentence here. Second sentence here. Third one here."


def passage(**attributes: str) -> Passage:
    return Passage("p", TEXT, "a.csv", None, "", 100, 100 + len(TEXT), 12, attributes=attributes)


@pytest.mark.parametrize("written", ["0-5", "3-9 20-30", "58-0", "0-20 21-42", "9" * 5000 + "-1", "٣-٩"])
def test_a_field_of_a_record_that_is_called_kept_hides_no_text(written: str) -> None:
    mine = passage(**{KEPT: written})
    assert kept_spans(mine) == [(100, 100 + len(TEXT))]
    assert [TEXT[start:end] for start, end in sentences(mine)] == [
        "First sentence here.",
        "Second sentence here.",
        "Third one here.",
    ]


def test_parts_that_were_kept_are_found_again() -> None:
    short = excerpt(passage(), [(0, 20), (43, 58)])
    assert short.text == "First sentence here. … Third one here."
    assert kept_spans(short) == [(100, 120), (143, 158)]
    assert [short.text[start:end] for start, end in sentences(short)] == ["First sentence here.", "Third one here."]


def test_names_and_abbreviations_are_not_cut() -> None:
    text = "It was Dr. Smith who came. See Fig. 3 of vol. 2.\n\nIn the U.S. Senate, Mr. J. Brown spoke! 1. One item."
    mine = Passage("p", text, "a.md", None, "", 0, len(text), 30)
    assert [text[start:end] for start, end in sentences(mine)] == [
        "It was Dr. Smith who came.",
        "See Fig. 3 of vol. 2.",
        "In the U.S. Senate, Mr. J. Brown spoke!",
        "1. One item.",
    ]


def test_a_sentence_does_not_cross_a_gap() -> None:
    text = "It was Dr. Smith who came. The rest."
    short = excerpt(Passage("p", text, "a.md", None, "", 0, len(text), 9), [(0, 10), (27, 36)])
    assert short.text == "It was Dr. … The rest."
    assert [short.text[start:end] for start, end in sentences(short)] == ["It was Dr.", "The rest."]
