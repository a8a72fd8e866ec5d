"""Questions of several sets over one pooled corpus of their passages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PooledQuestion:
    """A question over the pool.

    Attributes:
        id: Its id, with the set's name before it.
        set: The set that it comes from.
        text: What is asked.
        answers: Golden answers.
        gold: Names of the pool's records that hold its evidence.
    """

    id: str
    set: str
    text: str
    answers: tuple[str, ...]
    gold: tuple[str, ...]


def make_pool(data: Path, names: Sequence[str], target: Path) -> list[PooledQuestion]:
    """Write the passages of the sets as ``target/corpus.jsonl``, equal ones once; give their questions.

    A passage reads as its title on a line of its own, then its text. Passages are equal if that is.

    Args:
        data: Holds ``NAME/data.jsonl`` of each set.
        names: The sets.
        target: Folder for the corpus; written only if it changes, so that its index stays as it is.
    """
    record_of: dict[str, str] = {}
    questions = []
    for name in names:
        for line in (data / name / "data.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            gold = []
            for context in row["contexts"]:
                text = f"{context['title'].strip()}\n{context['text'].strip()}".strip()
                record = record_of.setdefault(text, f"p{len(record_of):05d}")
                if context["is_gold"] and record not in gold:
                    gold.append(record)
            answers = tuple(row["golden_answers"])
            questions.append(PooledQuestion(f"{name}/{row['id']}", name, row["question"], answers, tuple(gold)))
    rows = ({"_id": record, "title": "", "text": text} for text, record in record_of.items())
    corpus = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    target.mkdir(parents=True, exist_ok=True)
    file = target / "corpus.jsonl"
    if not file.is_file() or file.read_text(encoding="utf-8") != corpus:
        file.write_text(corpus, encoding="utf-8")
    return questions
