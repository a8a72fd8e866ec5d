"""Questions with golden answers and passages, one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage

#: Mistakes that one message lists.
_SHOWN = 10


@dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
        question: Its text.
        golden: Right answers.
        passages: Those marked as gold, or all if none is marked.
    """

    question: str
    golden: tuple[str, ...]
    passages: tuple[Passage, ...]


def read_questions(file: Path, *, closed: bool = False) -> list[Asked]:
    """Read ``question``, ``golden_answers`` and ``contexts`` (each with ``text``, and ``is_gold`` where known).

    Rows without answers or without contexts are left out: nothing can be learned from them.

    Args:
        file: The file.
        closed: Whether rows without contexts are kept.

    Raises:
        InputError: The file cannot be read, has wrong lines (they are named), or no row of use.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read the questions {file}: {reason}") from error
    rows, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _row(json.loads(line))
        except (ValueError, RecursionError) as error:
            problems.append(f"{file}:{number}: {error}")
            continue
        if row.golden and (closed or row.passages):
            rows.append(row)
    if problems:
        more = f"\n... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(
            "\n".join(problems[:_SHOWN]) + more,
            hint='each line is one object: {"question", "golden_answers": [text], "contexts": [{"text", "is_gold"}]}',
        )
    if not rows:
        raise InputError(f"{file} has no question with answers{'' if closed else ' and contexts'}")
    return rows


def _row(data: Any) -> Asked:
    if not isinstance(data, dict):
        raise ValueError("expected one JSON object")
    question, golden, contexts = data.get("question"), data.get("golden_answers", []), data.get("contexts", [])
    if not isinstance(question, str) or not question.strip():
        raise ValueError("'question' is missing or no text")
    if not isinstance(golden, list) or not all(isinstance(one, str) for one in golden):
        raise ValueError("'golden_answers' is no list of texts")
    if not isinstance(contexts, list) or not all(isinstance(one, dict) for one in contexts):
        raise ValueError("'contexts' is no list of objects")
    shown = [one for one in contexts if isinstance(one.get("text"), str) and one["text"].strip()]
    gold = [one for one in shown if one.get("is_gold") is True]
    passages = tuple(Passage.of({"text": one["text"]}, rank) for rank, one in enumerate(gold or shown, start=1))
    return Asked(question, tuple(one for one in golden if one.strip()), passages)
