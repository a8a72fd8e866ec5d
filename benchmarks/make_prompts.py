"""Make request lines for `ragdecode bench`, `verify` and `decode` from copies of Spec-Bench and NQ-Swap.

Usage: make_prompts.py DATA OUT [--pipeline NAME] [--max-tokens 1500] [--limit N] [--seed 0]

DATA holds `specbench/data.jsonl` and `nq_swap/data.jsonl`. Written to OUT, all but the last in a seeded random order,
so that the first lines of a file are a sample of it:

    rag, summarization           chats whose answers copy, cut to so many tokens at the end of the evidence
    rag_cad, summarization_cad   the same as exact prompts with and without the evidence, for rules that contrast
    translation, writing         chats whose answers do not copy; the second from MT-Bench's open categories
    nq_swap                      question and passages, with both answers, which `decode` ignores
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ragdecode import Pipeline
from ragdecode.models.tokenizer import Tokenizer

#: groups of Spec-Bench whose answers copy from the prompt
COPYING = ("rag", "summarization")
#: categories of its MT-Bench part that ask for free text
OPEN = ("writing", "roleplay", "humanities", "stem")


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


def evidence(group: str, text: str) -> tuple[str, str]:
    """A prompt of a copying group, and the same without its evidence: the question, or the bare instruction."""
    if group == "rag":  # passages, and the question on the last line
        return text, text.rpartition("\n")[2]
    instruction, colon, _ = text.partition(":")
    return text, instruction + colon


def chat(row: dict[str, Any], text: str) -> dict[str, Any]:
    """A request line that is a chat of one message."""
    return {"id": row["id"], "messages": [{"role": "user", "content": text}]}


def contrast(row: dict[str, Any], pair: tuple[str, str], tokenizer: Tokenizer) -> dict[str, Any]:
    """A request line with exact prompts, with and without evidence."""
    shown = [tokenizer.render_chat([{"role": "user", "content": tokenizer.neutralise(text)}]) for text in pair]
    return {"id": row["id"], "prompts": dict(zip(("with_context", "without_context"), shown, strict=True))}


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
    parser.add_argument("--seed", type=int, default=0, help="of the order of lines")
    options = parser.parse_args()
    files = {name: options.data / name / "data.jsonl" for name in ("specbench", "nq_swap")}
    for file in files.values():
        if not file.is_file():
            sys.exit(f"{file} is not there: DATA must hold specbench/data.jsonl and nq_swap/data.jsonl")
    options.out.mkdir(parents=True, exist_ok=True)
    with Pipeline.load(options.pipeline) as pipeline:
        tokenizer = pipeline.tokenizer
    prompts = rows(files["specbench"])
    random.Random(options.seed).shuffle(prompts)  # noqa: S311
    groups = {name: [row for row in prompts if row["group"] == name] for name in (*COPYING, "translation")}
    groups["writing"] = [row for row in prompts if row["category"] in OPEN]
    for name, found in groups.items():
        some = found[: options.limit]
        cuts = [cut(row["turns"][0], tokenizer, options.max_tokens) for row in some]
        write(options.out / f"{name}.jsonl", map(chat, some, cuts))
        if name in COPYING:
            pairs = [evidence(name, text) for text in cuts]
            lines = (contrast(row, pair, tokenizer) for row, pair in zip(some, pairs, strict=True))
            write(options.out / f"{name}_cad.jsonl", lines)
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
