"""Request lines: one JSON object a line, each with its own prompt or evidence. All mistakes are found at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ragdecode.decoding.request import TARGET
from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.turn import Turn

#: mistakes that one message lists
_SHOWN = 20
_FORMS = "prompt, prompts, question with passages, or messages"


class _LineError(Exception):
    """What is wrong with a line."""


def read_requests(path: Path, needs: Collection[str] = (), optional: Collection[str] = ()) -> list[DecodeRequest]:
    """Read and validate a file of request lines.

    Args:
        path: JSON lines, UTF-8. Blank lines are skipped.
        needs: Views besides the target that the pipeline reads for every request.
        optional: Further views, of which lines with prompts may bring any.

    Raises:
        InputError: The file cannot be read, has no request, or has wrong lines (all of them are named).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the requests {path}: {error.strerror or error}") from error
    requests: list[DecodeRequest] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, raw in _lines(data):
        try:
            request = _request(_object(raw), number, needs, optional)
            if request.id in seen:
                raise _LineError(f"the id {request.id!r} is already that of line {seen[request.id]}")
        except _LineError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        seen[request.id] = number
        requests.append(request)
    if problems:
        raise wrong_requests(problems)
    if not requests:
        raise InputError(f"no requests in {path}", hint=f"write one JSON object a line: id and one of {_FORMS}")
    return requests


def wrong_requests(problems: list[str]) -> InputError:
    """One error for all wrong requests."""
    rest = len(problems) - _SHOWN
    shown = problems[:_SHOWN] + ([f"... and {rest} more"] if rest > 0 else [])
    count = f"{len(problems)} wrong requests" if len(problems) > 1 else "1 wrong request"
    return InputError(f"{count}, nothing was decoded\n" + "\n".join(shown))


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if raw.strip():
            yield number, raw


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _LineError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise _LineError(f"not JSON: {error.msg} at column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        raise _LineError(f"not JSON that can be read: {error}") from error
    if not isinstance(value, dict):
        raise _LineError(f"expected a JSON object, found {_kind(value)}")
    return value


def _request(value: Mapping[str, Any], line: int, needs: Collection[str], optional: Collection[str]) -> DecodeRequest:
    if "id" not in value:
        raise _LineError("the id is missing")
    identity = _text(value["id"], "id")
    forms = [form for form in ("prompt", "prompts", "messages") if form in value]
    if "question" in value and "passages" in value:
        forms.append("question with passages")
    if len(forms) > 1:
        raise _LineError(f"has {' and '.join(forms)}; expected exactly one of {_FORMS}")
    if not forms:
        if "question" in value:
            raise _LineError("question needs passages beside it (an empty list decodes without evidence)")
        if "passages" in value:
            raise _LineError("passages need a question beside them")
        raise _LineError(f"expected one of {_FORMS}")
    if forms == ["prompts"]:
        return DecodeRequest(id=identity, line=line, **_prompts(value, needs, optional))
    return DecodeRequest(id=identity, line=line, **_MAKERS[forms[0]](value, needs))


def _prompt(value: Mapping[str, Any], needs: Collection[str]) -> dict[str, Any]:
    prompt = _text(value["prompt"], "prompt", blank=True)
    if needs:
        raise _LineError(
            f"prompt is the view {TARGET} alone, and the pipeline also needs {_names(needs)}: "
            "give prompts with one prompt for each view"
        )
    return {"prompts": {TARGET: prompt}}


def _prompts(value: Mapping[str, Any], needs: Collection[str], optional: Collection[str]) -> dict[str, Any]:
    prompts = value["prompts"]
    if not isinstance(prompts, dict):
        raise _LineError(f"prompts: expected an object of view names and prompts, found {_kind(prompts)}")
    wanted = [TARGET, *needs]
    missing = [view for view in wanted if view not in prompts]
    if missing:
        raise _LineError(f"prompts lacks {_named(missing)}, which the pipeline needs")
    wanted += [view for view in optional if view in prompts]
    return {"prompts": {view: _text(prompts[view], f"prompts.{view}", blank=True) for view in wanted}}


def _question(value: Mapping[str, Any], needs: Collection[str]) -> dict[str, Any]:
    question = _text(value["question"], "question")
    passages = value["passages"]
    if not isinstance(passages, list):
        raise _LineError(f"passages: expected a list, found {_kind(passages)}")
    for place, passage in enumerate(passages):
        if not isinstance(passage, dict) or "text" not in passage:
            raise _LineError(f'passages[{place}]: expected an object with "text", found {_kind(passage)}')
        _text(passage["text"], f"passages[{place}].text")
        for key in ("id", "source", "title"):
            if passage.get(key) is not None:
                _text(passage[key], f"passages[{place}].{key}", blank=True, empty=True)
    return {
        "question": question,
        "passages": tuple(Passage.of(passage, rank) for rank, passage in enumerate(passages, start=1)),
    }


def _messages(value: Mapping[str, Any], needs: Collection[str]) -> dict[str, Any]:
    messages = value["messages"]
    if needs:
        raise _LineError(
            f"messages do not tell evidence from question, so {_named(needs)}, which the pipeline needs, "
            "cannot be made: give question and passages, or prompts"
        )
    if not isinstance(messages, list) or not messages:
        raise _LineError(f"messages: expected a list with at least one message, found {_kind(messages)}")
    turns = []
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _LineError(f"messages[{place}]: expected an object with role and content, found {_kind(message)}")
        if message.get("role") not in ("system", "user", "assistant"):
            raise _LineError(
                f"messages[{place}].role: expected system, user or assistant, found {message.get('role')!r}"
            )
        if "content" not in message:
            raise _LineError(f"messages[{place}].content is missing")
        turns.append(Turn(message["role"], _text(message["content"], f"messages[{place}].content", empty=True)))
    if turns[-1].role != "user":
        raise _LineError(f"messages: expected the last message to be the user's, found {turns[-1].role}")
    return {"messages": tuple(turns)}


_Maker = Callable[[Mapping[str, Any], Collection[str]], dict[str, Any]]
_MAKERS: dict[str, _Maker] = {
    "prompt": _prompt,
    "question with passages": _question,
    "messages": _messages,
}


def _text(value: Any, name: str, *, blank: bool = False, empty: bool = False) -> str:
    """The value if it is a string that can be used; ``blank`` and ``empty`` say what else may stand there."""
    if not isinstance(value, str):
        raise _LineError(f"{name}: expected a string, found {_kind(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _LineError(f"{name}: half of a surrogate pair at character {error.start}") from error
    if not empty and not (value if blank else value.strip()):
        raise _LineError(f"{name} is empty")
    return value


def _names(views: Collection[str]) -> str:
    return ", ".join(views)


def _named(views: Collection[str]) -> str:
    return f"the view{'s' if len(views) > 1 else ''} {_names(views)}"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    if type(value) in (int, float):
        return f"the number {value}"
    found = kinds.get(type(value), type(value).__name__)
    return f"{found} without content" if isinstance(value, (dict, list, str)) and not value else found
