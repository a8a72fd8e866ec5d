"""Make request lines for `ragdecode bench` and `ragdecode decode` from copies of Spec-Bench and NQ-Swap.

Usage: make_prompts.py DATA OUT [--pipeline NAME] [--max-tokens 1500] [--limit N]

DATA holds `specbench/data.jsonl` and `nq_swap/data.jsonl`. Written to OUT: `rag.jsonl` and `summarization.jsonl`
(exact prompts under the model's chat template, cut to so many tokens at the end of the user's text) and
`nq_swap.jsonl` (question and passages, with both answers, which `decode` ignores).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ragdecode import Pipeline
from ragdecode.models.tokenizer import Tokenizer

GROUPS = ("rag", "summarization")


def rows(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def cut(text: str, tokenizer: Tokenizer, limit: int) -> str:
    """The text, or its beginning and its last line where it is too long (the question stands last).

    The beginning is shortened until all of it fits; the chat template's own few tokens come on top.
    """
    ids = tokenizer.encode(text, special=False)
    if len(ids) <= limit:
        return text
    body, _, last = text.rpartition("\n")
    body, last = (body, "\n" + last) if body and len(tokenizer.encode(last, special=False)) < limit // 4 else (text, "")
    room = limit - len(tokenizer.encode(last, special=False))
    return tokenizer.decode(tokenizer.encode(body, special=False)[:room]).rstrip("\ufffd") + last


def write(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines and say so."""
    texts = [json.dumps(line, ensure_ascii=False) for line in lines]
    file.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    print(f"{file}: {len(texts)} lines")


def main() -> None:
    """Read DATA, write OUT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pipeline", default="plain", help="whose model's tokens are counted")
    parser.add_argument("--max-tokens", type=int, default=1500)
    parser.add_argument("--limit", type=int, help="lines of each file")
    options = parser.parse_args()
    files = {name: options.data / name / "data.jsonl" for name in ("specbench", "nq_swap")}
    for file in files.values():
        if not file.is_file():
            sys.exit(f"{file} is not there: DATA must hold specbench/data.jsonl and nq_swap/data.jsonl")
    options.out.mkdir(parents=True, exist_ok=True)
    with Pipeline.load(options.pipeline) as pipeline:
        tokenizer = pipeline.tokenizer
    prompts = rows(files["specbench"])
    for group in GROUPS:
        found = [row for row in prompts if row["group"] == group][: options.limit]
        write(
            options.out / f"{group}.jsonl",
            (
                {
                    "id": row["id"],
                    "messages": [{"role": "user", "content": cut(row["turns"][0], tokenizer, options.max_tokens)}],
                }
                for row in found
            ),
        )
    write(
        options.out / "nq_swap.jsonl",
        (
            {
                "id": row["id"],
                "question": row["question"],
                "passages": [{"text": context["text"]} for context in row["contexts"]],
                "passage_answers": row["golden_answers"],
                "parametric_answers": row["metadata"]["parametric_answers"],
            }
            for row in rows(files["nq_swap"])[: options.limit]
        ),
    )


if __name__ == "__main__":
    main()
