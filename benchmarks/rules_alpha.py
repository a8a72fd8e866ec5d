"""The weight that adaptive contrastive decoding gives to passages, by what they hold."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from evidence_rows import read
from rules_run import Bench
from rules_sets import DISTRACTORS, TASKS, Item, squad

from ragdecode.decoding.contrasting import finite
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.rules.acd import evidence_weight
from ragdecode.models.tokenizer import Tokenizer

#: what is shown, and what it is called
SHOWN = {
    "gold": "the gold passage",
    "noisy": f"the gold passage and {DISTRACTORS} of its article",
    "distractor": "another passage of its article",
    "irrelevant": "the gold passage of a question on another article",
}


class Watched(Rule):
    """The rule acd, and the weights that it took; for one request without drafts."""

    reweighs = "evidence"
    part_name = "acd"

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.settings)
        self._rule = rule
        self.weights: list[float] = []

    @property
    def views(self) -> Sequence[str]:
        """Those of the rule."""
        return self._rule.views

    def compose(self, nodes: Nodes):  # noqa: ANN201 - a tensor
        """As the rule does."""
        closed = nodes.log_probs[self.settings.against]
        self.weights += evidence_weight(finite(nodes.composed), finite(closed)).flatten().tolist()
        return self._rule.compose(nodes)


def conditions(data: Path, tokenizer: Tokenizer, examples: int) -> Iterator[tuple[str, Item]]:
    """Each question under everything that may be shown."""
    read_items = {
        "gold": squad(True, 0)(data, tokenizer, Path()),
        "noisy": squad(True, DISTRACTORS)(data, tokenizer, Path()),
        "distractor": squad(False, 1)(data, tokenizer, Path()),
    }
    for at, item in enumerate(read_items["gold"][:examples]):
        for name, items in read_items.items():
            assert items[at].id == item.id
            yield name, items[at]
        strangers = [one for one in read_items["gold"] if one.article != item.article]
        stranger = random.Random(item.id).choice(strangers)  # noqa: S311
        yield "irrelevant", replace(item, passages=stranger.passages)


def watch(bench: Bench, data: Path, examples: int, file: Path, group: int) -> None:
    """Append the weights that the file lacks."""
    task = TASKS["gold"]
    rows = read(file) if file.is_file() else []
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")  # none broken off
    known = {(row["item"], row["shown"]) for row in rows}
    cells = list(conditions(data, bench.first.tokenizer, examples))
    todo = [(name, item) for name, item in cells if (item.id, name) not in known]
    with file.open("a", encoding="utf-8") as stream:
        for at in range(0, len(todo), 4 * group):
            some = todo[at : at + 4 * group]
            requests = []
            for name, item in some:
                request = bench.request(task, item, "acd")
                requests.append(replace(request, id=f"{item.id}/{name}", rules=[Watched(request.rules[0])]))
            bench.answer(requests)
            for (name, item), request in zip(some, requests, strict=True):
                weights = request.rules[0].weights  # type: ignore[attr-defined]
                row = {"item": item.id, "shown": name, "first": weights[0], "mean": fmean(weights)}
                stream.write(json.dumps(row) + "\n")
            stream.flush()
            print(f"\ralpha {at + len(some)}/{len(todo)}", end="", file=sys.stderr)
    print(file=sys.stderr)
