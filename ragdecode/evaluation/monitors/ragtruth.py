"""What RAGTruth's answers were made from, by task (Niu et al., arXiv 2401.00396)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

#: The two files of the data set.
ANSWERS, SOURCES = "response.jsonl", "source_info.jsonl"
_PASSAGE = re.compile(r"(?:^|\n)\s*passage \d+:", re.IGNORECASE)


def source_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Question and passages of a line of ``source_info.jsonl``.

    QA brings a question and numbered passages; Summary an article; Data2txt a record, which is shown as JSON. The last
    two have no question: what stands before the source in the prompt that was used is taken for it.

    Raises:
        ValueError: The line is none.
    """
    info, prompt = data.get("source_info"), data.get("prompt")
    if isinstance(info, dict) and isinstance(info.get("passages"), str):
        passages = [part.strip() for part in _PASSAGE.split(info["passages"])]
        return {"question": info.get("question", ""), "passages": [{"text": part} for part in passages if part]}
    if isinstance(info, dict):
        return {"question": _instruction(prompt), "passages": [{"text": json.dumps(info, ensure_ascii=False)}]}
    if isinstance(info, str):
        return {"question": _instruction(prompt, info), "passages": [{"text": info}]}
    raise ValueError("'source_info' is neither text nor an object")


def _instruction(prompt: Any, source: str = "") -> str:
    """What a prompt says before its source; its first line if the source is not in it."""
    if not isinstance(prompt, str):
        return ""
    at = prompt.find(source.strip()) if source.strip() else -1
    return prompt[:at].strip() if at > 0 else prompt.strip().partition("\n")[0].strip()
