"""A trace: one self-contained HTML file that shows what was known when each token of an answer was chosen.

The page holds the answer's data as a JSON block and draws itself from it. Text from documents, questions and
models is never markup: it stands in the JSON with ``<``, ``>`` and ``&`` escaped and reaches the page through
``textContent`` only, and the page's content security policy allows its own script and style (by hash) and
nothing else, no network included.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import RunError

if TYPE_CHECKING:
    from ragdecode.decoding.request import TokenRecord
    from ragdecode.pipeline.answer import Answer
    from ragdecode.pipeline.passage import Passage

TARGET = "with_context"
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def write_trace(answer: Answer, path: Path) -> None:
    """Write the trace of an answer; the file appears whole or not at all.

    Args:
        answer: A finished answer, decoded with alternatives.
        path: The HTML file; replaced if it is there.

    Raises:
        RunError: The file cannot be written.
    """
    page = render(trace_data(answer))
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_text(page, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RunError(
            f"cannot write the trace {path}: {error.strerror or error}",
            hint="name a file in a folder that exists and can be written",
        ) from error


def trace_data(answer: Answer) -> dict[str, Any]:
    """What the page shows, as plain JSON data; logarithms of zero are null."""
    record = answer.to_json()
    views = {view for token in answer.records for view in token.views}
    return {
        "question": answer.question,
        "answer": answer.answer,
        "finish_reason": answer.finish_reason,
        "pipeline": answer.pipeline,
        "headline": answer.headline,
        "notes": list(answer.notes),
        "stats": record["stats"],
        "passages": [_passage(passage) for passage in answer.passages],
        "prompts": dict(answer.prompts),
        "views": sorted(views, key=lambda view: (view != TARGET, view)),
        "texts": {str(token): text for token, text in answer.token_texts.items()},
        "tokens": [_token(token) for token in answer.records],
    }


def render(data: Mapping[str, Any]) -> str:
    """The page for data as `trace_data` makes it."""
    folder = files("ragdecode.pipeline").joinpath("templates")
    style = folder.joinpath("trace.css").read_text(encoding="utf-8")
    script = folder.joinpath("trace.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = html.escape(f"{data['question'] or data['pipeline']} · ragdecode trace")
    fields = {"policy": policy, "style": style, "script": script, "title": title, "data": _embed(data)}
    page = folder.joinpath("trace.html").read_text(encoding="utf-8")
    # one pass over the template only, so that text which looks like a field stays text
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], page)


def place(passage: Passage) -> str:
    """Where a passage stands in its source, for people: page, heading, characters."""
    known = passage.metadata
    parts = []
    if known.get("page") is not None:
        parts.append(f"page {known['page']}")
    if known.get("heading"):
        heading = known["heading"]
        parts.append(heading if isinstance(heading, str) else " › ".join(map(str, heading)))
    if known.get("start") is not None and known.get("end") is not None:
        parts.append(f"characters {known['start']} to {known['end']}")
    return " · ".join(parts)


def _passage(passage: Passage) -> dict[str, Any]:
    return passage.to_json() | {"place": place(passage)}


def _token(record: TokenRecord) -> dict[str, Any]:
    return {
        "position": record.position,
        "token": record.token,
        "logprob": record.logprob,
        "views": dict(record.views),
        "source": record.source,
        "choices": dict(record.choices),
        "alternatives": [
            {"token": item.token, "logprob": item.logprob, "views": dict(item.views)} for item in record.alternatives
        ],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _embed(data: Mapping[str, Any]) -> str:
    text = json.dumps(_finite(data), allow_nan=False)
    return re.sub("[<>&]", lambda match: _ESCAPES[match[0]], text)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
