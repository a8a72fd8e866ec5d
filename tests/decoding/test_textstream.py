"""Incremental text equals the text of the whole, whatever the tokens' borders."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragdecode.decoding.textstream import TextStream


def byte_decoder(pieces):
    """A detokenizer over byte pieces, like byte-level BPE."""
    return lambda tokens: b"".join(pieces[token] for token in tokens).decode("utf-8", errors="replace")


def metaspace_decoder(words):
    """A detokenizer that drops the first word's leading space, like sentencepiece."""
    return lambda tokens: "".join(words[token] for token in tokens).removeprefix(" ")


def cut(text, borders):
    data = text.encode()
    points = sorted({min(border, len(data)) for border in borders} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(points)]


@given(st.text(max_size=30), st.lists(st.integers(0, 60), max_size=20))
@example("naïve 🦀 日本語 e\u0301", [1, 3, 4, 7, 8, 9, 10, 13, 15])
@settings(max_examples=300, deadline=None)
def test_pieces_cut_anywhere_join_to_the_text_and_never_show_half_a_character(text, borders):
    pieces = cut(text, borders)
    stream = TextStream(byte_decoder(pieces))
    for token in range(len(pieces)):
        stream.push(token)
        assert text.startswith(stream.text)
    stream.flush()
    assert stream.text == text


def test_leading_spaces_inside_the_text_are_kept():
    words = [" Hello", " big", ",", " world"]
    stream = TextStream(metaspace_decoder(words))
    for token in range(4):
        stream.push(token)
    assert stream.text == "Hello big, world"


def test_invalid_bytes_at_the_end_come_out_with_the_flush_and_long_runs_do_not_wait_forever():
    pieces = [b"ok", b"\xf0\x9f"]
    stream = TextStream(byte_decoder(pieces))
    stream.push(0)
    stream.push(1)
    assert stream.text == "ok"
    stream.flush()
    assert stream.text == "ok\ufffd"
    endless = TextStream(byte_decoder([b"\xff"]))
    for _ in range(40):
        endless.push(0)
    assert len(endless.text) >= 16


@given(
    st.text("abc", max_size=20),
    st.lists(st.integers(0, 20), max_size=8),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_the_text_ends_before_the_first_stop_string_and_nothing_of_it_was_shown(text, borders, stops):
    pieces = cut(text, borders)
    places = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    stream = TextStream(byte_decoder(pieces), stops)
    shown = 0
    for token in range(len(pieces)):
        stream.push(token)
        shown = max(shown, stream.showable())
        if stream.stopped:
            break
    if not places:
        assert stream.stopped is None
        assert stream.text == text
        return
    assert stream.stopped in stops
    assert text.startswith(stream.text)
    assert shown <= len(stream.text)
    assert text[len(stream.text) :].startswith(stream.stopped)
    # no stop string lies wholly before the cut
    assert not any(stop in stream.text for stop in stops)
    covering = stream.tokens_covering_text()
    assert b"".join(pieces[:covering]).decode().startswith(stream.text)
    assert covering == 0 or len(b"".join(pieces[: covering - 1])) < len(stream.text.encode())


@pytest.mark.parametrize("length", range(6))
def test_a_rewound_stream_goes_on_as_if_nothing_had_been(length):
    pieces = cut("añb🦀c stop d", [1, 2, 4, 5, 7, 9, 12])
    fresh, rewound = (TextStream(byte_decoder(pieces), ["stop"]) for _ in range(2))
    for token in range(len(pieces)):
        rewound.push(token)
    rewound.rewind(length)
    for token in range(length):
        fresh.push(token)
    assert (fresh.text, fresh.stopped) == (rewound.text, rewound.stopped)
    for token in (0, 1):
        fresh.push(token)
        rewound.push(token)
    assert fresh.text == rewound.text
