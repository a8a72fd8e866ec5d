"""``ragdecode chat``."""

from __future__ import annotations

import io

import pytest

from ragdecode.pipeline.pipeline import Pipeline
from tests.cli.test_ask import app, run, tiny_model  # noqa: F401


@pytest.fixture
def chat(run, monkeypatch):  # noqa: F811
    """Runs a chat over lines of stdin; records what the pipeline was asked."""
    asked = []
    stream = Pipeline.stream

    def listening(self, question, history=(), **kwargs):
        asked.append((question, [(turn.role, turn.content) for turn in history]))
        return stream(self, question, history, **kwargs)

    monkeypatch.setattr(Pipeline, "stream", listening)

    def call(text):
        asked.clear()
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return (*run("chat", "qa"), list(asked))

    return call


def test_every_line_is_a_question_and_earlier_turns_go_with_it(chat):
    code, out, _, asked = chat("How many arches?\n\n  And the tower?  \n")
    assert code == 0
    answers = out.split("\n")
    assert [question for question, _ in asked] == ["How many arches?", "And the tower?"]
    assert asked[0][1] == []
    (first, second) = asked[1][1]
    assert first == ("user", "How many arches?")
    assert second[0] == "assistant"
    assert "".join(answers).startswith("".join(char for char in second[1].replace("\n", "") if char >= " "))


def test_commands(chat):
    code, out, err, asked = chat("/sources\nHow many arches?\n/sources\n/clear\nAnd now?\n/quit\nnever asked\n")
    assert code == 0
    assert err.count("there are no sources") == 1
    assert "[1] bridge.md, Bridge:" in out
    assert "forgotten" in err
    assert asked[1] == ("And now?", [])
    assert len(asked) == 2


def test_a_question_that_cannot_be_asked_does_not_end_the_chat(chat):
    code, out, err, asked = chat("why " * 2000 + "\nHow many arches?\n")
    assert code == 2  # but it is told at the end
    assert "error: the question is too long" in err
    assert out.strip()
    assert asked[1] == ("How many arches?", [])


def test_an_unknown_command_is_told(chat):
    code, _, err, asked = chat("/sorces\n")
    assert (code, asked) == (2, [])
    assert "unknown command /sorces" in err


def test_an_interrupt_ends_with_130(chat, monkeypatch):
    from ragdecode.decoding.engine import Engine

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "_advance", interrupt)
    code, out, err, _ = chat("How many arches?\n")
    assert (code, out) == (130, "")
    assert err.endswith("interrupted\n")
