"""What judging sentences costs: seconds a token with and without the monitor, and against plain greedy decoding.

    python benchmarks/monitor_overhead.py --data ../shared/data --examples 12

Every example is decoded by every arm, one after the other in an order that changes, so that what slows the machine down
for a while slows all of them down; prompts are read beforehand, and the first token is not counted. The monitor only
flags, so that answers are the same with and without it. Ratios are medians over examples of times within an example.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rules_sets import Item, squad, summaries

from ragdecode import Pipeline
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.sharing import SharedPipelines

CAD = {"cad": {"alpha": 0.5}}
WORDS = {"syncheck": {"align": {"lexical": {"encoder": None}}}}
TOKENS = 64
#: answers with fewer tokens are left out
LEAST = 16
ARMS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "plain + syncheck": {"monitor": "syncheck"},
    "plain + syncheck, words alone": {"monitor": WORDS},
    "CAD": {"rule": CAD},
    "CAD + syncheck": {"rule": CAD, "monitor": "syncheck"},
    "CAD + syncheck, words alone": {"rule": CAD, "monitor": WORDS},
    "drafted plain + syncheck": {"monitor": "syncheck", "draft": ["prompt_lookup"]},
    "drafted CAD": {"rule": CAD, "draft": ["prompt_lookup"]},
    "drafted CAD + syncheck": {"rule": CAD, "monitor": "syncheck", "draft": ["prompt_lookup"]},
}
STOCK = "hf-greedy"
#: (what is compared, with what, what is asked of it)
RATIOS = (
    ("CAD + syncheck", "CAD", "below 1.10"),
    ("CAD + syncheck, words alone", "CAD", ""),
    ("drafted CAD + syncheck", "drafted CAD", ""),
    ("plain + syncheck", "plain", "below 1.60"),
    ("plain + syncheck, words alone", "plain", ""),
    ("drafted plain + syncheck", STOCK, "below 1"),
    ("drafted CAD + syncheck", STOCK, "below 1"),
)


class Timing:
    """The pipelines over one model."""

    def __init__(self) -> None:
        first = Pipeline.load("plain", _sets({}))
        shared = SharedPipelines(first)
        self.first = first
        self.pipelines = {name: shared.load("plain", _sets(decode)) for name, decode in ARMS.items()}
        self.stock = StockContender(first)

    def read(self, item: Item) -> DecodeRequest:
        """Have every prompt of an example read."""
        passages = tuple(Passage(f"p{at}", "", text, rank=at) for at, text in enumerate(item.passages, start=1))
        request = DecodeRequest(item.id, question=item.question, passages=passages)
        list(self.pipelines["CAD"].decode([request]))
        self.stock.prepare(request)
        return request

    def seconds(self, name: str, request: DecodeRequest) -> tuple[float, int]:
        """Seconds a token after the first, and how many tokens there were."""
        if name == STOCK:
            run = self.stock.turn([request]).runs[0]
            return (run.seconds - run.first_token_seconds) / max(1, len(run.tokens) - 1), len(run.tokens)
        stats = next(iter(self.pipelines[name].decode([request]))).result.stats
        return stats.decode_seconds / max(1, stats.new_tokens - 1), stats.new_tokens


def _sets(decode: Mapping[str, Any]) -> list[str]:
    whole = {"draft": [], **decode, "max_new_tokens": TOKENS}
    return ["engine.prefix_cache_mb=512", "prompt=grounded", f"decode={json.dumps(whole)}"]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--examples", type=int, default=12, help="of each of questions and summaries")
    parser.add_argument("--out", type=Path, help="all times as JSON")
    options = parser.parse_args()
    timing = Timing()
    tokenizer = timing.first.tokenizer
    items = [
        *squad(True, 2)(options.data, tokenizer, Path())[: options.examples],
        *summaries("cnndm_multiref")(options.data, tokenizer, Path())[: options.examples],
    ]
    rows: list[dict[str, float]] = []
    names = [*ARMS, STOCK]
    for number, item in enumerate(items):
        request = timing.read(item)
        order = [names[(number + at) % len(names)] for at in range(len(names))]
        found = {name: timing.seconds(name, request) for name in order}
        if min(tokens for _, tokens in found.values()) >= LEAST:
            rows.append({name: found[name][0] for name in names})
        print(f"\r{number + 1}/{len(items)}   ", end="", file=sys.stderr)
    print(file=sys.stderr)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    report(rows)


def report(rows: Sequence[Mapping[str, float]]) -> None:
    """Tables as Markdown."""
    if not rows:
        print(f"no example on which every arm has {LEAST} tokens")
        return
    print(f"{len(rows)} examples\n\n| decoding | ms a token |\n| --- | --- |")
    for name in rows[0]:
        print(f"| {name} | {1000 * median(row[name] for row in rows):.1f} |")
    print("\n| time | to that of | ratio, median [quartiles] | asked |\n| --- | --- | --- | --- |")
    for one, other, asked in RATIOS:
        ratios = sorted(row[one] / row[other] for row in rows)
        low, high = (ratios[min(len(ratios) - 1, int(share * len(ratios)))] for share in (0.25, 0.75))
        print(f"| {one} | {other} | {median(ratios):.3f} [{low:.3f}, {high:.3f}] | {asked} |")


if __name__ == "__main__":
    main()
