"""Print the demo's conflict requests, or the answers that `ragdecode decode` gave to them.

Usage: show_conflict.py REQUESTS.jsonl [ANSWERS.jsonl LABEL]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def _rows(path: str) -> dict[str, dict]:
    return {row["id"]: row for row in map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())}


def main() -> None:
    """Print passages and questions, or questions and answers."""
    requests = _rows(sys.argv[1])
    if len(sys.argv) == 2:
        for row in requests.values():
            for passage in row["passages"]:
                print(f"  passage:  {passage['text']}")
            print(f"  question: {row['question']}\n")
        return
    answers, label = _rows(sys.argv[2]), sys.argv[3]
    print(f"  {label}:")
    for key, row in requests.items():
        print(f"    {row['question']}\n      -> {answers[key]['text'].strip()}\n")


if __name__ == "__main__":
    main()
