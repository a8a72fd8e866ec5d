"""``ragdecode ask``, and what all commands that answer have in common."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import jsonschema
import pytest

from ragdecode.cli import main as entry
from ragdecode.cli.answer_view import AnswerView, printable, show_sources
from ragdecode.pipeline.events import DoneEvent, PassagesEvent, RetractEvent, TokenEvent
from ragdecode.pipeline.passage import Passage
from tests.pipeline import tiny_app
from tests.pipeline.test_answering import ANSWER

QUESTION = "How many arches has the bridge?"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    return tiny_app.write_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def app(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    root = tiny_app.write_app(tmp_path / "app", tiny_model)
    tiny_app.write_pipeline(root, "qa", search=True, decode={"rule": ["cad"], "max_new_tokens": 8})
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def run(app, monkeypatch, capsys):
    """Runs the command line as a user does; returns exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ragdecode", *map(str, arguments)])
        code = 0
        try:
            entry.main()
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call


def test_the_answer_goes_to_stdout_with_its_sources_and_the_rest_to_stderr(run):
    code, out, err = run("ask", "qa", QUESTION)
    assert code == 0
    assert "\n\n[1] bridge.md, Bridge: # Bridge The bridge of Tollin has 12 arches." in out
    assert "index" not in out
    assert "added 3 files" in err
    assert "8 tokens in 8 steps" in err
    assert "added" not in run("ask", "qa", QUESTION)[2]  # the second time it is up to date


def test_json_is_one_object_and_nothing_else(run):
    code, out, _ = run("ask", "qa", QUESTION, "--json")
    assert code == 0
    assert out.count("\n") == 1
    jsonschema.validate(json.loads(out), ANSWER)


def test_settings_and_documents_can_be_replaced(run, tmp_path):
    docs = tmp_path / "mine"
    docs.mkdir()
    (docs / "a.md").write_text("The comet of Arl returns in 2090.")
    arguments = ["--docs", docs, "--set", "decode.max_new_tokens=3", "--json"]
    code, out, _ = run("ask", "qa", "When does the comet return?", *arguments)
    answer = json.loads(out)
    assert (code, answer["stats"]["new_tokens"]) == (0, 3)
    assert [passage["source"] for passage in answer["passages"]] == ["a.md"]


def test_a_trace_is_written(run, tmp_path):
    code, _, err = run("ask", "qa", QUESTION, "--trace", tmp_path / "t.html")
    assert (code, f"trace: {tmp_path / 't.html'}" in err) == (0, True)
    page = (tmp_path / "t.html").read_text()
    assert page.startswith("<!")
    assert '"alternatives":[{' in page.replace(" ", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["qa", " "], "error: the question is empty"),
        (["qa", "why " * 2000], "error: the question is too long: with its prompt"),
        (["nothing", "q"], "nothing"),
        (["qa", "q", "--set", "decode.rule.cda.alpha=1"], "did you mean"),
        (["qa", "q", "--docs", "nowhere"], "there are no documents at nowhere"),
        (["qa", "q", "--trace", "no/where.html"], "cannot write the trace"),
        (["qa"], "Missing argument 'QUESTION'"),
        (["qa", "q", "--nope"], "No such option"),
    ],
)
def test_wrong_input_ends_with_two_and_says_why(run, arguments, message):
    code, out, err = run("ask", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_an_empty_corpus_ends_with_two(run, app):
    for file in (app / "docs").iterdir():
        file.unlink()
    code, out, err = run("ask", "qa", QUESTION)
    assert (code, out) == (2, "")
    assert "the corpus is empty" in err


def test_missing_weights_say_what_to_type(run, app):
    tiny_app.write_pipeline(app, "far", model={"name": "far", "source": {"hub": {"repo": "some/where"}}})
    code, out, err = run("ask", "far", "q")
    assert (code, out) == (2, "")
    assert "hint: ragdecode models pull far" in err


@pytest.mark.parametrize("stage", ["retrieve", "decode"])
def test_ctrl_c_ends_with_130_and_writes_nothing(run, monkeypatch, tmp_path, stage):
    from ragdecode.decoding.engine import Engine
    from ragdecode.retrieval.chain import RetrievalChain

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(*((RetrievalChain, "run") if stage == "retrieve" else (Engine, "_advance")), interrupt)
    code, out, err = run("ask", "qa", QUESTION, "--json", "--trace", tmp_path / "t.html")
    assert (code, out) == (130, "")
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
    assert not list(tmp_path.glob("t.html*"))


def test_a_real_interrupt_of_a_real_process(app):
    tiny_app.write_pipeline(app, "long", decode={"max_new_tokens": 900})
    code = "from ragdecode.cli.main import main; import sys; sys.argv = ['ragdecode', 'ask', 'long', 'q']; main()"
    main_end, other_end = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=other_end, stderr=subprocess.PIPE, cwd=app)
    os.close(other_end)
    assert os.read(main_end, 1)  # on a terminal the answer streams: the first piece is there
    process.send_signal(signal.SIGINT)
    while _read(main_end):
        pass
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    os.close(main_end)


def _read(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is gone
        return b""


@pytest.mark.parametrize(("target", "told"), [("/dev/full", b"error: No space left on device\n"), (None, b"")])
def test_stdout_that_cannot_be_written(app, target, told):
    code = (
        "from ragdecode.cli.main import main; import sys; sys.argv = ['ragdecode', 'ask', 'qa', 'q', '--json']; main()"
    )
    if target is None:  # a pipe whose reader has left
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, cwd=app, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.stderr.endswith(told)


def test_importing_the_commands_is_quick():
    code = (
        "import sys; import ragdecode.cli.ask, ragdecode.cli.chat, ragdecode.cli.decode; "
        "print([n for n in ('torch', 'transformers', 'langchain_core', 'rich', 'jinja2') if n in sys.modules])"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 10


def test_control_characters_of_documents_do_not_reach_the_terminal(capsys):
    show_sources(
        [Passage("p", "a\x1b[31m.md", "red\x1b]0;title\x07 text\r\nmore", 1.0, 1, {"page": 2, "heading": "H"})]
    )
    assert capsys.readouterr().out == "[1] a[31m.md, page 2, H: red]0;title text more\n"
    assert printable("tab\tand\nline 👩\u200d🔬") == "tab\tand\nline 👩\u200d🔬"


def test_a_terminal_shows_text_as_it_comes_and_withdraws_it_visibly(monkeypatch, capsys):
    class Done:
        answer, passages, notes = "One. Tea.", (), ("noted",)

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    seen = []

    def events():
        yield PassagesEvent(())
        for event in (TokenEvent("One. T"), TokenEvent("wo."), RetractEvent(5), TokenEvent("Tea."), DoneEvent(Done())):
            yield event
            seen.append(capsys.readouterr().out)

    AnswerView().show(events())
    assert seen[:2] == ["One. T", "wo."]
    assert "withdrawn" in seen[2]
    assert seen[2].endswith("\nOne. ")
    assert seen[3] == "Tea."
    assert capsys.readouterr().err == "note: noted\n"
