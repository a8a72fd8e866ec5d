"""What is cut when a prompt does not fit, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.prompts import Prompt
from ragdecode.pipeline.turn import Turn
from ragdecode.pipeline.window import fit


def render(question, top_k=None, extra=0):
    """Two views whose tokens are the characters of their text."""

    def prompts(passages, history):
        earlier = "".join(turn.content for turn in history)
        full = "".join(item.text for item in list(passages)[:top_k])
        texts = {"with_context": "#" * extra + full + earlier + question, "without_context": earlier + question}
        return {name: Prompt(text, list(range(len(text)))) for name, text in texts.items()}

    return prompts


def passages(*texts):
    return [Passage(f"p{rank}", "", text, 0.0, rank) for rank, text in enumerate(texts, start=1)]


def limits(number):
    return {"with_context": number, "without_context": number}


WORDS = "word " * 20  # 100 characters


def test_what_fits_is_left_alone():
    found = passages(WORDS, WORDS)
    fitted = fit(render("q" * 10), found, [Turn("user", "h" * 10)], limits(220), 5)
    assert fitted.passages == tuple(found)
    assert fitted.notes == ()


def test_the_lowest_ranked_go_first_and_the_next_one_is_cut_at_a_word():
    found = passages(WORDS, WORDS, WORDS, WORDS)
    fitted = fit(render("q" * 10), found, [], limits(262), 5)
    assert [item.id for item in fitted.passages] == ["p1", "p2", "p3"]
    assert fitted.passages[0].text == fitted.passages[1].text == WORDS
    assert fitted.passages[2].text == ("word " * 10).strip()  # 52 characters of room
    assert fitted.notes == (
        "passage 3 was cut to its first 49 of 100 characters to fit",
        "the lowest ranked 1 of 4 passages were dropped to fit",
    )
    assert len(fitted.prompts["with_context"].ids) <= 262


def test_a_scrap_of_a_passage_is_dropped():
    fitted = fit(render("q" * 10), passages(WORDS, WORDS), [], limits(130), 5)
    assert [item.text for item in fitted.passages] == [WORDS]
    assert fitted.notes == ("the lowest ranked 1 of 2 passages were dropped to fit",)


def test_the_oldest_turns_go_before_evidence_is_lost_to_history():
    history = [Turn("user", "a" * 60), Turn("assistant", "b" * 60), Turn("user", "c" * 30), Turn("assistant", "d" * 30)]
    fitted = fit(render("q" * 10), passages(WORDS), history, limits(200), 5)
    assert [item.text for item in fitted.passages] == [WORDS]
    assert fitted.prompts["without_context"].text == "c" * 30 + "d" * 30 + "q" * 10
    assert fitted.notes == ("the oldest 2 of 4 earlier messages were left out",)


def test_the_question_is_never_cut():
    fitted = fit(render("q" * 95), passages(WORDS), [Turn("user", "h" * 50)], limits(100), 5)
    assert fitted.passages == ()
    assert fitted.prompts["with_context"].text == "q" * 95


def test_a_question_that_is_too_long_is_refused_with_counts():
    with pytest.raises(InputError) as caught:
        fit(render("q" * 101), passages(WORDS), [], limits(100), 28)
    assert "takes 101 tokens; the model's window of 128 less max_new_tokens 28 leaves 100" in str(caught.value)


def test_every_view_must_fit_its_own_window():
    fitted = fit(
        render("q", extra=30), passages("x" * 60, "y" * 60), [], {"with_context": 100, "without_context": 5}, 5
    )
    assert len(fitted.prompts["with_context"].ids) <= 100
    with pytest.raises(InputError, match="in the view without_context"):
        fit(render("q" * 6), passages("x"), [], {"with_context": 100, "without_context": 5}, 5)


@given(
    st.lists(st.text(st.sampled_from("ab \n"), min_size=1, max_size=120), max_size=5),
    st.lists(st.integers(1, 60), max_size=4),
    st.integers(1, 80),
    st.integers(81, 400),
)
def test_whatever_is_cut_it_fits_and_is_a_beginning(texts, turns, question, limit):
    found = passages(*texts)
    history = [Turn(("user", "assistant")[place % 2], "h" * size) for place, size in enumerate(turns)]
    fitted = fit(render("q" * question), found, history, limits(limit), 5)
    assert all(len(prompt.ids) <= limit for prompt in fitted.prompts.values())
    assert fitted.prompts["without_context"].text.endswith("q" * question)
    for kept, original in zip(fitted.passages, found, strict=False):
        assert kept.id == original.id
        assert original.text.startswith(kept.text)
    assert all(kept.text == original.text for kept, original in zip(fitted.passages[:-1], found, strict=False))
    assert bool(fitted.notes) == (
        list(fitted.passages) != found or len(fitted.prompts["without_context"].ids) != question + sum(turns)
    )
