"""Perplexity of kNN-LM by the size of its memory, with fixed and adaptive weight, and what a token costs.

Usage: memory.py --index FOLDER --spec INDEX.yaml --tune FOLDER --test FOLDER --out FOLDER [--sizes 10000 50000]

Smaller memories are the first entries of the real one, searched by comparing with all; the whole one is searched both
ways. Temperature, fixed weight and buckets of weights are chosen on the folder ``--tune`` and measured on ``--test``.
A size that is measured is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from memory_search import opened
from numpy.typing import NDArray

from ragdecode.decoding.knn.corpus_store import CorpusStore
from ragdecode.decoding.knn.tuning import temperature, tune
from ragdecode.evaluation.knn.asked import log_votes
from ragdecode.evaluation.knn.resampling import mean, stretches
from ragdecode.evaluation.knn.votes import mixed
from ragdecode.indexing.memory.datastore import MemoryDatastore
from ragdecode.indexing.memory.windows import Reading, windows

#: neighbours that vote
K = 1024
#: temperatures that are tried, as multiples of the one at which store keys listen to 16 neighbours
HEATS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
#: queries that are searched for at once
AT_ONCE = 512
#: of the timed answers
PROMPT, TOKENS, ANSWERS = 64, 32, 4


class Prefix(MemoryDatastore):
    """The first entries of a memory as one of its own, compared with all."""

    def __init__(self, whole: MemoryDatastore, entries: int) -> None:
        self.__dict__.update(whole.__dict__)
        self.__dict__.pop("_search", None)
        self.keys, self._norms = whole.keys[:entries], whole._norms[:entries]
        self.facts = {**whole.facts, "entries": entries, "kind": "flat"}


@dataclass(frozen=True)
class Text:
    """Held-out tokens: what the model gave them, and the keys that the memory is asked with."""

    queries: NDArray[np.float32]
    gold: NDArray[np.int64]
    lm: NDArray[np.float64]
    text: NDArray[np.int64]
    place: NDArray[np.int64]


def read(model: Any, backend: Any, facts: Any, folder: Path, tokens: int) -> Text:
    """Read text files as the memory's corpus was read, equal parts of each."""
    import torch

    from ragdecode.decoding.backend import Segment

    reading = Reading(facts["window"], facts["stride"], facts["context"])
    files = sorted(folder.glob("*.txt"))
    parts: dict[str, list[Any]] = {name: [] for name in ("queries", "gold", "lm", "text", "place")}
    for number, file in enumerate(files):
        ids = model.tokenizer.encode(file.read_text(encoding="utf-8"), special=False)
        ids = ids[: tokens // len(files) + reading.context]
        for window in windows(number, len(ids), 0, reading):
            own = ids[window.start : window.stop]
            wanted = range(window.first - window.start, len(own))
            row = backend.open_row(len(own))
            segment = Segment(row, 0, own, range(len(own)), None, wanted)
            told = backend.forward([segment], taps=(facts["key"],))
            backend.close_row(row)
            gold = ids[window.first + 1 : window.stop + 1]
            log_probs = torch.log_softmax(told.logits[:, : model.vocab_size].float(), dim=-1)
            parts["queries"].append(told.taps[facts["key"]].float().numpy())
            parts["gold"].append(gold)
            parts["lm"].append(log_probs[range(len(gold)), gold].double().numpy())
            parts["text"].append([number] * len(gold))
            parts["place"].append(range(window.first, window.stop))
    return Text(**{name: np.concatenate(own) for name, own in parts.items()})


def ask(memory: MemoryDatastore, text: Text) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64], float]:
    """Distances, whether each neighbour votes for the gold token, rows ``[M, k]``, and seconds a token."""
    far, right, rows, began = [], [], [], time.perf_counter()
    for first in range(0, len(text.gold), AT_ONCE):
        found = memory.search(text.queries[first : first + AT_ONCE], K)
        far.append(found.distances.astype(np.float32))
        right.append(found.values == text.gold[first : first + AT_ONCE, None])
        rows.append(found.rows)
        print(f"\r{len(memory):,}: {first:,} of {len(text.gold):,}", end="", file=sys.stderr, flush=True)
    seconds = (time.perf_counter() - began) / len(text.gold)
    print(file=sys.stderr)
    return np.concatenate(far), np.concatenate(right), np.concatenate(rows), seconds


def perplexities(memory: MemoryDatastore, own: Text, test: Text) -> dict[str, Any]:
    """What is chosen on one text and measured on the other."""
    far, right, _, _ = ask(memory, own)
    base = temperature(CorpusStore(memory).apart(64, K))
    tried = []
    for heat in (base * one for one in HEATS):
        votes = log_votes(far, right, heat)
        weight = float(tune(own.lm, votes, far[:, 0], buckets=1).weights[0])
        tried.append((float(mixed(own.lm, votes, weight).mean()), heat, weight))
    _, heat, weight = max(tried)
    buckets = tune(own.lm, log_votes(far, right, heat), far[:, 0])
    far, right, rows, seconds = ask(memory, test)
    votes, plain = log_votes(far, right, heat), log_votes(far, right, base)
    groups = stretches(test.text, test.place)
    ways = {
        "default": mixed(test.lm, plain, 0.25),
        "fixed": mixed(test.lm, votes, weight),
        "adaptive": mixed(test.lm, votes, buckets.weight(far[:, 0])),
    }
    found: dict[str, Any] = {
        "temperature": heat, "default_temperature": base, "weight": weight, "buckets": len(buckets.weights),
        "search_ms_a_token": 1000 * seconds, "lm": float(np.exp(-test.lm.mean())),
    }  # fmt: skip
    for name, log_probs in ways.items():
        gain = log_probs - test.lm
        found[name] = {
            "perplexity": float(np.exp(-log_probs.mean())),
            "gain": mean(gain, groups),
            "hurt": float((gain < 0).mean()),
            "oracle": float(np.exp(-np.maximum(np.maximum(test.lm, votes), log_probs).mean())),
        }
    found["adaptive_beyond_fixed"] = mean(ways["adaptive"] - ways["fixed"], groups)
    return {**found, "rows": rows[:512].tolist()}


def speed(
    model: Any, backend: Any, memory: MemoryDatastore | None, prompts: Sequence[list[int]], **settings: Any
) -> Any:
    """Milliseconds a token of one request at a time, nothing drafted."""
    from ragdecode.decoding.engine import Engine
    from ragdecode.decoding.events import DoneEvent
    from ragdecode.decoding.request import TARGET, Request, View
    from ragdecode.decoding.rules.knn_lm import KnnLm, KnnLmSettings

    engine = Engine({"main": backend}, vocab_size=model.vocab_size)
    rules: tuple[Any, ...] = ()
    if memory is not None:
        rule = KnnLm(KnnLmSettings(store="memory", **settings))
        rule.meet({TARGET: backend})
        rule.equip({"memory": memory})
        rules = (rule,)
    times = []
    for number, ids in enumerate(prompts):
        request = Request(
            str(number), {TARGET: View(ids)}, rules=rules, max_new_tokens=TOKENS, resources={"memory": memory}
        )
        for event in engine.run([request]):
            if isinstance(event, DoneEvent):
                stats = event.result.stats
                times.append(1000 * stats.decode_seconds / (stats.new_tokens - 1))
    return float(np.median(times[1:]))


def main() -> None:
    """Measure what is not there, and write ``memory.json``."""
    from ragdecode.models.catalogue import find_model
    from ragdecode.models.causal import load_causal
    from ragdecode.pipeline.models import open_backend
    from ragdecode.spec.load import load_document
    from ragdecode.spec.pipeline import EngineSpec

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("index", "spec", "tune", "test", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--tokens", type=int, default=10_000, help="of --test; half of it of --tune")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    memory = opened(options.index)
    spec = load_document("indexes", str(options.spec)).spec
    model = load_causal(spec.tokenizer or find_model("smollm2-135m"))
    backend = open_backend(model, EngineSpec())
    own = read(model, backend, memory.facts, options.tune, options.tokens // 2)
    test = read(model, backend, memory.facts, options.test, options.tokens)
    print(f"{len(own.gold):,} tokens to tune on, {len(test.gold):,} to test", file=sys.stderr)
    stores = {f"{size}": Prefix(memory, size) for size in options.sizes}
    stores |= {"all": Prefix(memory, len(memory)), f"all {memory.facts['kind']}": memory}
    for name, store in stores.items():
        file = options.out / f"{name.replace(' ', '-')}.json"
        if not file.exists():
            found = perplexities(store, own, test)
            file.write_text(json.dumps({"name": name, "entries": len(store), "tokens": len(test.gold), **found}))
    prompts = _prompts(model, options.test)
    file = options.out / "speed.json"
    if not file.exists():
        found = {"model": speed(model, backend, None, prompts)}
        found |= {name: speed(model, backend, store, prompts) for name, store in stores.items()}
        found["pointers"] = speed(model, backend, memory, prompts, pointers=1)
        file.write_text(json.dumps(found))
    rows = [json.loads((options.out / f"{name.replace(' ', '-')}.json").read_text()) for name in stores]
    exact, near = (np.asarray(row["rows"]) for row in rows[-2:])
    recall = [len(np.intersect1d(a, b)) / K for a, b in zip(exact, near, strict=True)]
    print(table(rows, json.loads(file.read_text())))
    print(f"recall of the {K} nearest by {memory.facts['kind']}: {np.mean(recall):.4f}")


def _prompts(model: Any, folder: Path) -> list[list[int]]:
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt"))]
    return [model.tokenizer.encode(text, special=False)[200 : 200 + PROMPT] for text in texts][: ANSWERS + 1]


def table(rows: Sequence[Any], speeds: Any) -> str:
    """Markdown, one line a store."""
    lines = [
        "| entries | search | default | fixed | adaptive | adaptive, oracle | tokens that lose (fixed) | ms a token |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| none | | {rows[0]['lm']:.2f} | {rows[0]['lm']:.2f} | {rows[0]['lm']:.2f} | | | {speeds['model']:.1f} |",
    ]
    for row in rows:
        search = row["name"].split(" ")[-1] if " " in row["name"] else "flat"
        fixed = f"{row['fixed']['perplexity']:.2f} (T {row['temperature']:.3g}, lambda {row['weight']:.2f})"
        lines.append(
            f"| {row['entries']:,} | {search} | {row['default']['perplexity']:.2f} | {fixed} | "
            f"{row['adaptive']['perplexity']:.2f} ({row['buckets']}) | {row['adaptive']['oracle']:.2f} | "
            f"{100 * row['fixed']['hurt']:.1f} % | {speeds[row['name']]:.1f} |"
        )
    return "\n".join(lines) + f"\n\npointers: {speeds['pointers']:.1f} ms a token"


if __name__ == "__main__":
    main()
