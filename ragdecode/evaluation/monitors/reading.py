"""Reads labelled answers: one JSON object a line with its evidence, or RAGTruth's two files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError
from ragdecode.evaluation.monitors.labelled import Labelled, LabelledData, Span, Tally, group_by_passages
from ragdecode.evaluation.monitors.ragtruth import ANSWERS, SOURCES, source_of

#: Mistakes that one message lists.
_SHOWN = 10
_HINT = (
    'each line is one object: {"id", "source": {"question", "passages": [{"text"}]}, "response", "hallucinated", '
    f'"labels": [{{"start", "end", "type"}}]}}; or give a folder with RAGTruth\'s {ANSWERS} and {SOURCES}'
)

Row = Mapping[str, Any]


def read_labelled(path: Path) -> LabelledData:
    """Read labelled answers.

    Rows that are no labelled answers at all are mistakes; rows of no use (empty answers, no passages, undecided) and
    labels that cannot be right are left out, and counted. A label outside the answer, or with another text than the
    answer has there, leaves it unknown which sentences are right: such a row counts as an answer only.

    Args:
        path: A file with one JSON object a line, a folder with such a file ``data.jsonl``, or a folder with RAGTruth's
            ``response.jsonl`` and ``source_info.jsonl``.

    Raises:
        InputError: It cannot be read, has wrong lines (they are named), or no row of use.
    """
    upstream = path.is_dir() and (path / ANSWERS).is_file()
    file = path / ANSWERS if upstream else path / "data.jsonl" if path.is_dir() else path
    tally = Tally()
    problems: list[str] = []
    sources = _sources(path / SOURCES, problems) if upstream else {}
    rows = []
    for place, data in _objects(file, problems):
        try:
            row = _of_ragtruth(data, sources) if upstream else data
            found = _labelled(row, place, tally)
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        if found is not None:
            rows.append(found)
    if problems:
        more = f"\n... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError("\n".join(problems[:_SHOWN]) + more, hint=_HINT)
    if not rows:
        left_out = "; ".join(tally.lines())
        raise InputError(f"{file} has no labelled answer of use{': ' + left_out if left_out else ''}", hint=_HINT)
    groups = group_by_passages(row.passages for row in rows)
    name = path.resolve().name if path.is_dir() else path.stem if path.stem != "data" else path.resolve().parent.name
    return LabelledData(name, tuple(replace(row, group=at) for row, at in zip(rows, groups, strict=True)), tally)


def _objects(file: Path, problems: list[str]) -> Iterator[tuple[str, Row]]:
    """The objects of a file, each with its place.

    Raises:
        InputError: It cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read the labelled answers {file}: {reason}", hint=_HINT) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{place}: {error}")
            continue
        if isinstance(data, dict):
            yield place, data
        else:
            problems.append(f"{place}: expected one JSON object")


def _sources(file: Path, problems: list[str]) -> dict[str, Row]:
    """What RAGTruth's answers were made from, by id."""
    found: dict[str, Row] = {}
    for place, data in _objects(file, problems):
        try:
            found[str(data.get("source_id"))] = source_of(data)
        except ValueError as error:
            problems.append(f"{place}: {error}")
    return found


def _of_ragtruth(data: Row, sources: Mapping[str, Row]) -> Row:
    """A line of RAGTruth's answers in the one-file form."""
    key = str(data.get("source_id"))
    if key not in sources:
        raise ValueError(f"source_id {key!r} is not in {SOURCES}")
    labels: Any = data.get("labels")
    if _is_objects(labels):
        labels = [{**one, "type": one.get("label_type", "")} for one in labels]
    return {**data, "source": sources[key], "labels": labels, "hallucinated": bool(labels)}


def _labelled(data: Row, place: str, tally: Tally) -> Labelled | None:
    """A row; None if it is of no use, which is counted.

    Raises:
        ValueError: It is no labelled answer.
    """
    source, response, labels = data.get("source"), data.get("response"), data.get("labels", [])
    if not isinstance(source, dict):
        raise ValueError("'source' is missing or no object")
    if not isinstance(response, str):
        raise ValueError("'response' is missing or no text")
    if not _is_objects(labels):
        raise ValueError("'labels' is no list of objects")
    unfaithful = data.get("hallucinated", bool(labels))
    if unfaithful is not None and not isinstance(unfaithful, bool):
        raise ValueError("'hallucinated' is neither true, false nor null")
    passages = _texts(source.get("passages"))
    question = source.get("question") or ""
    if not isinstance(question, str):
        raise ValueError("'source.question' is no text")
    for missing, what in (
        (not response.strip(), "rows with an empty answer"),
        (not passages, "rows without passages"),
        (unfaithful is None, "undecided rows"),
    ):
        if missing:
            tally.add(what, place)
            return None
    spans = [_span(label, response, place, tally) for label in labels]
    placed = tuple(span for span in spans if span is not None)
    if placed and not unfaithful:
        tally.add("rows called right that have marked parts", place)
        return None
    whole = len(placed) == len(spans) and bool(placed) == unfaithful
    return Labelled(
        str(data.get("id") or place.rpartition(":")[2]),
        question,
        passages,
        response,
        bool(unfaithful),
        placed,
        "sentences" if whole else "answer",
        model=str(data.get("model") or ""),
        place=place,
    )


def _span(label: Row, response: str, place: str, tally: Tally) -> Span | None:
    """A label's place; None, counted, where it has none or one that cannot be right."""
    start, end = label.get("start"), label.get("end")
    if start is None or end is None:
        tally.add("labels without a place", place)
        return None
    if not (_is_number(start) and _is_number(end) and 0 <= start < end <= len(response)):
        tally.add("labels outside their answer", place)
        return None
    text = label.get("text")
    if isinstance(text, str) and text.split() != response[start:end].split():
        tally.add("labels whose text is not what their answer has there", place)
        return None
    return Span(start, end, str(label.get("type") or ""))


def _texts(passages: Any) -> tuple[str, ...]:
    """The texts of passages, blank ones left out.

    Raises:
        ValueError: They are no list of objects with a text.
    """
    if passages is None:
        return ()
    if not _is_objects(passages) or not all(isinstance(one.get("text"), str) for one in passages):
        raise ValueError("'source.passages' is no list of objects with a 'text'")
    return tuple(one["text"] for one in passages if one["text"].strip())


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
