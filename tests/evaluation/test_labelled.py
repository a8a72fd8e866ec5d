"""Labelled answers: both layouts are read alike, what is wrong is counted or named, sources are kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.monitors.labelled import group_by_passages
from ragdecode.evaluation.monitors.preparing import read_all
from ragdecode.evaluation.monitors.reading import read_labelled

TEXT = "The bridge has 12 arches. It was built in 1804. It is red."


def row(**changes):
    data = {
        "id": "a",
        "source": {"question": "How many?", "passages": [{"text": "The bridge has 12 arches."}]},
        "response": TEXT,
        "hallucinated": True,
        "labels": [{"start": 26, "end": 46, "type": "Evident Baseless Info", "text": "It was built in 1804"}],
        "model": "m",
    }
    return data | changes


def write(folder: Path, *rows, name: str = "data.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows))
    return folder


def test_spans_touch_the_sentences_that_they_share_a_letter_with(tmp_path):
    one = read_labelled(write(tmp_path / "set", row())).rows[0]
    assert [one.touches(*span) for span in ((0, 25), (26, 47), (48, 58))] == [False, True, False]
    # a span that ends with the blank and the stop of the next sentence is not in it
    wide = read_labelled(write(tmp_path / "wide", row(labels=[{"start": 24, "end": 26}]))).rows[0]
    assert not any(wide.touches(*span) for span in ((0, 25), (26, 47)))


def test_ragtruths_own_files_say_the_same(tmp_path):
    own = read_labelled(write(tmp_path / "own", row())).rows[0]
    folder = tmp_path / "upstream"
    info = {"question": "How many?", "passages": "passage 1:The bridge has 12 arches.\n\n"}
    source = {"source_id": "7", "task_type": "QA", "prompt": "Briefly answer ...", "source_info": info}
    label = {"start": 26, "end": 46, "label_type": "Evident Baseless Info", "text": "It was built in 1804"}
    answer = {"id": "a", "source_id": "7", "model": "m", "labels": [label], "response": TEXT}
    prompt = "Summarise the following:\nAn article.\noutput:"
    other = {**source, "source_id": "8", "source_info": "An article.", "prompt": prompt}
    write(folder, source, other, name="source_info.jsonl")
    write(folder, answer, {**answer, "id": "b", "source_id": "8", "labels": []}, name="response.jsonl")
    first, second = read_labelled(folder).rows
    assert (first.question, first.passages, first.spans, first.unfaithful) == (
        own.question, own.passages, own.spans, True,
    )  # fmt: skip
    assert (second.question, second.passages) == ("Summarise the following:", ("An article.",))
    assert not second.unfaithful
    write(folder, {**answer, "source_id": "9"}, name="response.jsonl")
    with pytest.raises(InputError, match=r"response.jsonl:1: source_id '9' is not in source_info.jsonl"):
        read_labelled(folder)


def test_what_is_of_no_use_is_counted_with_its_place(tmp_path):
    far = [{"start": 26, "end": 900}]
    data = read_labelled(
        write(
            tmp_path / "set",
            row(),
            row(response="  "),
            row(source={"question": "q", "passages": [{"text": " "}]}),
            row(hallucinated=None),
            row(labels=far),
            row(labels=[{"start": None, "end": None, "type": "not supported"}]),
            row(labels=[{"start": 26, "end": 46, "text": "something else"}]),
            row(hallucinated=False),
            row(hallucinated=True, labels=[]),
            row(hallucinated=False, labels=[]),
            row(labels=[{"start": True, "end": 4}]),
        )
    )
    assert data.tally.counts == {
        "rows with an empty answer": 1,
        "rows without passages": 1,
        "undecided rows": 1,
        "labels outside their answer": 2,
        "labels without a place": 1,
        "labels whose text is not what their answer has there": 1,
        "rows called right that have marked parts": 1,
    }
    assert [one.use for one in data.rows] == [
        "sentences",
        "answer",
        "answer",
        "answer",
        "answer",
        "sentences",
        "answer",
    ]
    assert f"1 rows with an empty answer ({tmp_path / 'set' / 'data.jsonl'}:2)" in data.tally.lines()


def test_wrong_lines_are_all_named(tmp_path):
    folder = write(tmp_path / "set", row(), "{", "[]", row(response=3), row(source=None), row(labels={}),
                   row(source={"passages": ["text"]}), row(hallucinated="yes"))  # fmt: skip
    with pytest.raises(InputError) as caught:
        read_labelled(folder)
    lines = caught.value.message.splitlines()
    assert [line.partition("data.jsonl:")[2][:1] for line in lines] == list("2345678")
    assert "'response' is missing or no text" in lines[2]
    assert '"passages"' in (caught.value.hint or "")
    with pytest.raises(InputError, match="cannot read the labelled answers"):
        read_labelled(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no labelled answer of use: 1 rows with an empty answer"):
        read_labelled(write(tmp_path / "empty", row(response="")))


def test_rows_that_share_a_passage_are_one_source_also_through_others(tmp_path):
    assert group_by_passages([["A"], ["b"], ["a  ", "C"], ["c"], ["d"]]) == [0, 1, 0, 0, 2]
    one = write(tmp_path / "one", row(id="1"), row(id="2", source={"passages": [{"text": "Other."}]}))
    two = write(tmp_path / "two", row(id="3", source={"passages": [{"text": "THE bridge has 12  arches."}]}))
    first, second = read_all([one, two])
    assert [item.group for item in (*first.rows, *second.rows)] == [0, 1, 0]
    some = read_all([one], limit=1)[0]
    assert len(some.rows) == 1
    assert some.rows == read_all([one], limit=1)[0].rows
