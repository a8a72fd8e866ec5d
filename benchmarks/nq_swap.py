"""How often answers follow a passage that contradicts what the model believes, and what that costs.

Usage: nq_swap.py nq_swap.jsonl [--limit 100] [--alphas 0,0.5,1] [--out answers.jsonl]

Each question is answered under every setting: the plain rule (alpha 0 means no rule: one view), and cad at each
alpha, drafted and undrafted, in turns in one process. An answer follows the passage if a substituted answer is in
it, and belief if a real one is (as whole words; case, punctuation and articles are not looked at); it may do
neither or both. Intervals are 95 % percentile bootstraps over questions; differences are paired.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragdecode import Pipeline
from ragdecode.evaluation.bench.contender import Run
from ragdecode.evaluation.bench.own import OwnContender
from ragdecode.evaluation.bootstrap import interval
from ragdecode.evaluation.metrics.answers import contains_answer
from ragdecode.pipeline.request_lines import read_requests


def cost(runs: Sequence[Run]) -> dict[str, float]:
    """Milliseconds a token after the first one, and tokens a pass."""
    longer = [run for run in runs if len(run.tokens) > 1]
    seconds = sum(run.seconds - run.first_token_seconds for run in longer)
    steps = sum(run.steps for run in runs)
    return {
        "milliseconds_per_token": 1000 * seconds / max(1, sum(len(run.tokens) - 1 for run in longer)),
        "first_token_seconds": sum(run.first_token_seconds for run in runs) / len(runs),
        "tokens_per_pass": sum(len(run.tokens) for run in runs) / max(1, steps),
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--alphas", default="0,0.5,1")
    parser.add_argument("--pipeline", default=str(Path(__file__).parent / "pipelines" / "conflict.yaml"))
    parser.add_argument("--out", type=Path, help="answers, one JSON line a question and setting")
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.requests.read_text(encoding="utf-8").splitlines()]
    answers = {line["id"]: (line["passage_answers"], line["parametric_answers"]) for line in lines}
    requests = read_requests(options.requests)[: options.limit]
    alphas = [float(text) for text in options.alphas.split(",")]
    settings = {alpha: [f"decode.rule.cad.alpha={alpha}"] if alpha else ["decode.rule=[]"] for alpha in alphas}
    pipelines = {alpha: Pipeline.load(options.pipeline, sets) for alpha, sets in settings.items()}
    contenders = {}
    for alpha, pipeline in pipelines.items():
        contenders[alpha, True] = OwnContender(pipeline)
        contenders[alpha, False] = OwnContender(pipeline.undrafted())
    for contender in contenders.values():
        contender.run(requests[0], 4)  # a warm-up, not counted
    runs: dict[tuple[float, bool], list[Run]] = {key: [] for key in contenders}
    for place, request in enumerate(requests):
        print(f"\r{place + 1}/{len(requests)}", end="", file=sys.stderr)
        for key, contender in contenders.items():
            runs[key].append(contender.run(request))
    print(file=sys.stderr)
    found: dict[str, Any] = {"questions": len(requests), "settings": {}}
    follows: dict[float, list[float]] = {}
    records = []
    for alpha, pipeline in pipelines.items():
        texts = [pipeline.tokenizer.decode(run.tokens) for run in runs[alpha, True]]
        pairs = [answers[request.id] for request in requests]
        follows[alpha] = [contains_answer(text, pair[0]) for text, pair in zip(texts, pairs, strict=True)]
        believes = [contains_answer(text, pair[1]) for text, pair in zip(texts, pairs, strict=True)]
        same = [
            mine.tokens == theirs.tokens for mine, theirs in zip(runs[alpha, True], runs[alpha, False], strict=True)
        ]
        found["settings"][f"alpha {alpha:g}" if alpha else "plain"] = {
            "follows_passage": asdict(interval(follows[alpha])),
            "follows_belief": asdict(interval(believes)),
            "drafted": cost(runs[alpha, True]),
            "undrafted": cost(runs[alpha, False]),
            "drafted_equals_undrafted": sum(same),
        }
        records += [
            {"id": request.id, "alpha": alpha, "text": text, "follows_passage": bool(follow)}
            for request, text, follow in zip(requests, texts, follows[alpha], strict=True)
        ]
    if 0.0 in follows:
        found["more_than_plain"] = {
            f"alpha {alpha:g}": asdict(interval([one - other for one, other in zip(values, follows[0.0], strict=True)]))
            for alpha, values in follows.items()
            if alpha
        }
    if options.out:
        options.out.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in records), "utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
