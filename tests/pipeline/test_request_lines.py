"""Request lines: what is read, and every way a line can be wrong."""

from __future__ import annotations

import json

import pytest

from ragdecode.errors import InputError
from ragdecode.pipeline.request_lines import read_requests
from ragdecode.pipeline.turn import Turn


def write(tmp_path, *lines):
    file = tmp_path / "requests.jsonl"
    file.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return file


GOOD = {"id": "good", "prompts": {"with_context": "x", "without_context": "y"}}
NEEDS = ("without_context",)


def test_the_four_forms(tmp_path):
    file = write(
        tmp_path,
        {"id": "a", "prompt": " exact ", "category": "ignored", "question": "ignored, for it has no passages"},
        {"id": "b", "prompts": {"with_context": "x", "rag": "y"}},
        b"",
        {"id": "c", "question": "why?", "passages": [{"text": "t", "title": "T", "id": "p9"}]},
        {"id": "d", "messages": [{"role": "system", "content": ""}, {"role": "user", "content": "hi"}]},
    )
    a, b, c, d = read_requests(file)
    assert a.prompts == {"with_context": " exact "}
    assert b.prompts == {"with_context": "x"}  # the other view is one that nobody uses
    assert c.question == "why?"
    assert [(item.id, item.source, item.text, item.rank) for item in c.passages] == [("p9", "T", "t", 1)]
    assert d.messages == (Turn("system", ""), Turn("user", "hi"))
    assert [item.line for item in (a, b, c, d)] == [1, 2, 4, 5]


def test_views_that_the_pipeline_needs_are_kept(tmp_path):
    (item,) = read_requests(write(tmp_path, GOOD), NEEDS)
    assert item.prompts == {"with_context": "x", "without_context": "y"}


def test_views_that_a_line_may_lack_are_kept_where_it_has_them(tmp_path):
    prompts = {"with_context": "x", "passage_1": "a", "passage_2": "b", "other": 3}
    first, second = read_requests(
        write(
            tmp_path, {"id": "a", "prompts": prompts}, {"id": "b", "prompts": {"with_context": "x", "passage_1": "a"}}
        ),
        ("passage_1",),
        ("passage_2", "passage_3"),
    )
    assert list(first.prompts) == ["with_context", "passage_1", "passage_2"]
    assert list(second.prompts) == ["with_context", "passage_1"]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    file = tmp_path / "requests.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"id": "a", "prompt": "x"}\r\n\r\n')
    assert [item.id for item in read_requests(file)] == ["a"]


BAD = [
    (b"nope", "not JSON: Expecting value at column 1"),
    (b'{"id": "a", ', "not JSON"),
    (b'{"id": "\xff", "prompt": "x"}', "not UTF-8: invalid start byte at byte 8"),
    (b"[" * 100_000, "not JSON"),
    ([1], "expected a JSON object, found a list"),
    ("text", "expected a JSON object, found a string"),
    (None, "expected a JSON object, found null"),
    (3, "expected a JSON object, found the number 3"),
    ({"prompt": "x"}, "the id is missing"),
    ({"id": 3, "prompt": "x"}, "id: expected a string, found the number 3"),
    ({"id": " ", "prompt": "x"}, "id is empty"),
    ({"id": "a"}, "expected one of prompt, prompts, question with passages, or messages"),
    ({"id": "a", "prompt": "x", "messages": []}, "has prompt and messages; expected exactly one"),
    ({"id": "a", "prompt": "x", "question": "q", "passages": []}, "has prompt and question with passages"),
    ({"id": "a", "question": "q"}, "question needs passages beside it"),
    ({"id": "a", "passages": []}, "passages need a question beside them"),
    ({"id": "a", "prompt": "x"}, "the pipeline also needs without_context"),
    ({"id": "a", "prompt": 5}, "prompt: expected a string, found the number 5"),
    ({"id": "a", "prompt": ""}, "prompt is empty"),
    ({"id": "a", "prompts": "x"}, "prompts: expected an object of view names and prompts, found a string"),
    ({"id": "a", "prompts": {"with_context": "x"}}, "prompts lacks the view without_context"),
    ({"id": "a", "prompts": {"without_context": "x"}}, "prompts lacks the view with_context"),
    ({"id": "a", "prompts": {"with_context": "x", "without_context": None}}, "prompts.without_context: expected a str"),
    ({"id": "a", "question": " ", "passages": []}, "question is empty"),
    ({"id": "a", "question": "q", "passages": {}}, "passages: expected a list, found an object"),
    ({"id": "a", "question": "q", "passages": ["t"]}, 'passages[0]: expected an object with "text", found a string'),
    ({"id": "a", "question": "q", "passages": [{"text": "t"}, {"text": ""}]}, "passages[1].text is empty"),
    ({"id": "a", "question": "q", "passages": [{"text": "t", "id": 4}]}, "passages[0].id: expected a string"),
    ({"id": "a", "messages": [{"role": "user", "content": "x"}]}, "give question and passages, or prompts"),
]
BAD_MESSAGES = [
    ({"id": "a", "messages": []}, "messages: expected a list with at least one message"),
    ({"id": "a", "messages": ["hi"]}, "messages[0]: expected an object with role and content"),
    ({"id": "a", "messages": [{"role": "robot", "content": "x"}]}, "expected system, user or assistant, found 'robot'"),
    ({"id": "a", "messages": [{"role": "user"}]}, "messages[0].content is missing"),
    (
        {"id": "a", "messages": [{"role": "user", "content": None}]},
        "messages[0].content: expected a string, found null",
    ),
    ({"id": "a", "messages": [{"role": "assistant", "content": "x"}]}, "expected the last message to be the user's"),
    ({"id": "a", "prompt": "\ud800"}, "prompt: half of a surrogate pair at character 0"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=range(len(BAD)))
def test_a_bad_line_is_named_with_its_number(tmp_path, line, message):
    with pytest.raises(InputError) as caught:
        read_requests(write(tmp_path, GOOD, line), NEEDS)
    assert "requests.jsonl:2: " in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("line", "message"), BAD_MESSAGES, ids=range(len(BAD_MESSAGES)))
def test_a_bad_line_of_a_pipeline_with_one_view(tmp_path, line, message):
    with pytest.raises(InputError) as caught:
        read_requests(write(tmp_path, line))
    assert "requests.jsonl:1: " in str(caught.value)
    assert message in str(caught.value)


def test_all_bad_lines_are_told_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        read_requests(write(tmp_path, b"nope", GOOD, {"id": "x"}, GOOD), NEEDS)
    text = str(caught.value)
    assert "3 wrong requests, nothing was decoded" in text
    assert [f"requests.jsonl:{line}: " in text for line in (1, 2, 3, 4)] == [True, False, True, True]
    assert "the id 'good' is already that of line 2" in text


def test_many_bad_lines_are_counted(tmp_path):
    with pytest.raises(InputError, match="and 30 more"):
        read_requests(write(tmp_path, *[b"nope"] * 50))


def test_a_file_without_requests(tmp_path):
    with pytest.raises(InputError, match="no requests in"):
        read_requests(write(tmp_path, b"", b"  "))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot read the requests"):
        read_requests(tmp_path / "none.jsonl")
