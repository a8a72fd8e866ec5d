"""How well monitors tell unsupported sentences: features and aggregators on RAGTruth, and other data as transfer.

    python benchmarks/monitors.py --data ../shared/data --cache /tmp/monitors.jsonl --out monitors.json

What the model thinks of the answers is read once and kept in the cache; interrupted, it goes on from there. Tables go
to stdout as Markdown, everything to ``--out`` as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.cli.monitor_bench import build_aligner, open_bench
from ragdecode.decoding.aggregators.unsupervised import Unsupervised
from ragdecode.decoding.faithfulness.features import FEATURES, LID
from ragdecode.evaluation.monitors.evaluating import scores_by
from ragdecode.evaluation.monitors.fitting import FitSettings, fit_monitor
from ragdecode.evaluation.monitors.preparing import read_all
from ragdecode.evaluation.monitors.study import Row, cross_validated, difference, judge, single_features, transferred
from ragdecode.evaluation.monitors.training import shown
from ragdecode.spec.settings import NoSettings

if TYPE_CHECKING:
    from ragdecode.evaluation.monitors.examples import Examples
    from ragdecode.evaluation.monitors.labelled import LabelledData

#: Data sets of the transfer, and how many answers of each are read.
TRANSFER = {"halueval_qa": 400, "begin": 300, "qags": 80, "factscore_bios": 0}
_NO_LID = tuple(name for name in FEATURES if name not in LID)


def main() -> None:
    """Read, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--cache", type=Path, required=True, help="journal of what the model thinks of the answers")
    parser.add_argument("--out", type=Path, required=True, help="JSON with everything")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompt", default="grounded")
    options = parser.parse_args()
    read = {"ragtruth_qa": read_all([options.data / "ragtruth_qa"])[0]}
    for name, limit in TRANSFER.items():
        if limit:
            read[name] = read_all([options.data / name], limit)[0]
    with open_bench(options.model, options.prompt, build_aligner("lexical"), options.cache, fetch=False) as bench:
        tables = {name: bench.examples(data) for name, data in read.items()}
        report = study(read["ragtruth_qa"], tables.pop("ragtruth_qa"), tables, bench.progress)
    report["left_out"] = {name: data.tally.counts for name, data in read.items()}
    options.out.write_text(json.dumps(report, indent=2), encoding="utf-8")


def study(data: LabelledData, examples: Examples, others: dict[str, Examples], tell: Any) -> dict[str, Any]:
    """All tables; printed as they are made."""
    settings = FitSettings("logistic", FEATURES)
    facts = (
        f"{len(examples.unfaithful)} answers, {len(examples)} sentences, {int((~examples.faithful).sum())} unfaithful"
    )
    print(f"{data.name}: {facts}, {len(np.unique(examples.groups))} sources\n")
    alone = single_features(examples, settings)
    rows = [judge(name, "feature", examples, scores) for name, scores in alone]
    rows.append(judge("cosine with the most similar sentence (MiniLM)", "baseline", examples, examples.similarity))
    plain = Unsupervised(NoSettings())
    bare = scores_by(plain, examples)
    rows.append(judge("unsupervised", "unsupervised", examples, bare, bare < plain.threshold))
    crossed = cross_validated(examples, ("logistic", "trees"), settings, tell)
    rows += [
        judge(name, kind, examples, unseen.probabilities, unseen.flagged, probabilities=True)
        for name, kind, unseen in crossed
    ]
    table(rows)
    best = max(
        (row for row in rows if row.how in ("feature", "baseline")), key=lambda row: row.sentences.auroc.value or 0.0
    )
    scores = {**dict(alone), rows[len(alone)].name: examples.similarity}[best.name]
    gaps = {}
    print(f"\nAUROC above that of the best single feature, {best.name}:\n")
    for name, kind, unseen in crossed:
        if name.startswith("all"):
            gaps[f"{name}, {kind}"] = gap = difference(examples, unseen.probabilities, scores)
            print(f"- {name}, {kind}: {shown(gap)}")
    moved = []
    # without the local dimension: its anchors are kept apart by source, and here sources are numbered within each set
    for kind in ("logistic", "trees"):
        fitted = fit_monitor(examples, FitSettings(kind, _NO_LID))  # type: ignore[arg-type]
        moved += [transferred(fitted, name, other) for name, other in others.items()]
    moved += [
        judge(name, "unsupervised", other, (score := scores_by(plain, other)), score < plain.threshold)
        for name, other in others.items()
    ]
    print("\nTransfer, without the local dimension:\n")
    table(moved)
    return {
        "facts": facts,
        "rows": [row.to_json() for row in rows],
        "best_single": best.name,
        "above_best_single": {name: gap.to_json() for name, gap in gaps.items()},
        "transfer": [row.to_json() for row in moved],
    }


def table(rows: list[Row]) -> None:
    """Rows as Markdown."""
    print("| judged by | how | AUROC | AUPRC (base rate) | balanced accuracy | ECE | AUROC of answers |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        one = row.sentences
        rate = "none" if one.base_rate is None else f"{one.base_rate:.3f}"
        cells = [
            row.name,
            row.how,
            shown(one.auroc),
            f"{short(one.auprc.value)} ({rate})",
            short(one.balanced.value),
            short(one.ece.value),
            shown(row.answers.auroc),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def short(value: float | None) -> str:
    """A figure without its interval."""
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
