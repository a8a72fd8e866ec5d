"""A trace: one self-contained HTML file that shows what was known when each token of an answer was chosen.

The page holds the answer's data as a JSON block and draws itself from it: see `ragdecode.pipeline.page` for why text
from documents, questions and models is never markup there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.pipeline.page import render_page, write_page

if TYPE_CHECKING:
    from ragdecode.decoding.request import TokenRecord
    from ragdecode.pipeline.answer import Answer, Sentence
    from ragdecode.pipeline.passage import Passage

TARGET = "with_context"


def write_trace(answer: Answer, path: Path) -> None:
    """Write the trace of an answer; the file appears whole or not at all.

    Args:
        answer: A finished answer, decoded with alternatives.
        path: The HTML file; replaced if it is there.

    Raises:
        RunError: The file cannot be written.
    """
    write_page(render(trace_data(answer)), path, "the trace")


def trace_data(answer: Answer) -> dict[str, Any]:
    """What the page shows, as plain JSON data; logarithms of zero are null."""
    record = answer.to_json()
    views = {view for token in answer.records for view in token.views}
    told = {one["position"]: one["rules"] for one in answer.explained}
    return {
        "question": answer.question,
        "answer": answer.answer,
        "finish_reason": answer.finish_reason,
        "pipeline": answer.pipeline,
        "headline": answer.headline,
        "notes": list(answer.notes),
        "stats": record["stats"],
        "passages": [_passage(passage) for passage in answer.passages],
        "sentences": [_sentence(sentence, answer.passages) for sentence in answer.sentences],
        "prompts": dict(answer.prompts),
        "views": sorted(views, key=lambda view: (view != TARGET, view)),
        "texts": {str(token): text for token, text in answer.token_texts.items()},
        "tokens": [_token(token, told.get(token.position, {})) for token in answer.records],
    }


def render(data: Mapping[str, Any]) -> str:
    """The page for data as `trace_data` makes it."""
    folder = files("ragdecode.pipeline").joinpath("templates")
    template, style, script = (
        folder.joinpath(f"trace.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    title = f"{data['question'] or data['pipeline']} · ragdecode trace"
    return render_page(template, title=title, style=style, script=script, data=data)


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


def _sentence(sentence: Sentence, passages: Sequence[Passage]) -> dict[str, Any]:
    """A sentence with its verdict and the text of its evidence; passages by their number, counted from 1."""
    known = {passage.id: (number, passage.text) for number, passage in enumerate(passages, start=1)}
    ranges = [(*known[one.passage], one) for one in sentence.evidence if one.passage in known]
    return {
        "text": sentence.text,
        "faithfulness": sentence.faithfulness,
        "faithful": sentence.faithful,
        "evidence": [{"number": number, "text": text[one.start : one.end]} for number, text, one in ranges],
    }


def _token(record: TokenRecord, rules: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rules": rules,
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
