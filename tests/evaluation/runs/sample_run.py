"""A small run made up by chance: three systems on two data sets, with failures, monitors' verdicts and a sweep."""

from __future__ import annotations

import json
import random
from pathlib import Path

from ragdecode.evaluation.example import Answered, Example
from ragdecode.evaluation.metrics.answer_length import Length
from ragdecode.evaluation.metrics.evidence_words import KPrecision
from ragdecode.evaluation.metrics.selective import Confidence, ConfidenceSettings
from ragdecode.evaluation.metrics.short_answers import F1, ContainsAnswer, ExactMatch, Recall
from ragdecode.evaluation.runs.record import Cell, Failure, Record
from ragdecode.evaluation.runs.summarise import Plan, summarise
from ragdecode.pipeline.passage import Passage
from ragdecode.spec.settings import NoSettings

TOWNS = ("Tollin", "Morvan", "Arl", "Besk", "Quill", "Ostra", "Nimmer", "Hafen")
THINGS = ("bridge", "tower", "mill", "harbour", "theatre")
PIPELINES = (("plain", {}), ("cad", {"decode.rule.cad.alpha": 0.5}), ("cad", {"decode.rule.cad.alpha": 1.0}))
METRICS = [kind(NoSettings()) for kind in (ExactMatch, F1, Recall, ContainsAnswer, KPrecision, Length)]


def sample_plan(samples: int = 24) -> Plan:
    """The run: three systems, two data sets, one seed."""
    cells = {
        Cell(name, dataset, settings): samples for name, settings in PIPELINES for dataset in ("towns", "changed-towns")
    }
    heads = {"plain": "decode[plain]"} | {cell.system: "decode[cad]" for cell in cells if cell.pipeline == "cad"}
    return Plan(
        name="sample",
        config="0" * 64,
        cells=cells,
        headlines=heads,
        metrics=METRICS,
        cell_metrics=[Confidence(ConfidenceSettings())],
        baseline="plain",
        description="Made up by chance.",
        versions={"ragdecode": "0", "torch": "0"},
        machine={"processor": "none", "cores": 2},
    )


def sample_records(plan: Plan) -> list[Record]:
    """A record for every sample; a few failed."""
    records = []
    for cell, count in plan.cells.items():
        draw = random.Random(cell.key)
        skill = {"plain": 0.45}.get(cell.system, 0.6 + 0.1 * (cell.settings.get("decode.rule.cad.alpha") == 1.0))
        records += [_record(cell, number, skill, draw) for number in range(count)]
    return records


def _record(cell: Cell, number: int, skill: float, draw: random.Random) -> Record:
    town, thing = TOWNS[number % len(TOWNS)], THINGS[number % len(THINGS)]
    question = f"When was the {thing} of {town} built?"
    year, wrong = str(1800 + 7 * number), str(1650 + number)
    if draw.random() < 0.04:
        return Record(cell, f"q{number}", question, (year,), error=Failure("deadline", "no answer within 30 s"))
    evidence = f"The {thing} of {town} was built in {year}."
    passages = [
        Passage(f"{town}.md#1", f"{town}.md", evidence, 7.5, 1),
        Passage(f"{town}.md#2", f"{town}.md", f"{town} lies by the sea.", 3.25, 2),
    ]
    right = draw.random() < skill
    first = f"It was built in {year if right else wrong}."
    answer = f"{first} {town} lies by the sea." if draw.random() < 0.5 else first
    sentences = [
        {
            "text": first,
            "start": 0,
            "end": len(first),
            "faithfulness": 0.9 if right else 0.1 + 0.3 * draw.random(),
            "supported_by": [passages[0].id] if right else [],
            "evidence": [{"passage": passages[0].id, "start": 0, "end": len(evidence)}] if right else [],
        }
    ]
    if answer != first:
        sentences.append(
            {
                "text": answer[len(first) + 1 :],
                "start": len(first) + 1,
                "end": len(answer),
                "faithfulness": 0.95,
                "supported_by": [passages[1].id],
            }
        )
    scored = Answered(Example(f"q{number}", question, (year,)), answer, passages, sentences)
    metrics = {name: value for metric in METRICS for name, value in metric.score(scored).items()}
    tokens, slow = len(answer) // 4, 1.0 if cell.pipeline == "plain" else 1.7
    prefill, decode = 0.12 * slow, 0.03 * tokens * slow * (0.9 + 0.2 * draw.random())
    stats = {
        "prompt_tokens": 60 + number,
        "reused_tokens": 0,
        "new_tokens": tokens,
        "steps": tokens,
        "forward_rows": tokens,
        "mean_accepted": 1.0,
        "seconds": {"load": 0.0, "retrieve": 0.004, "prefill": prefill, "decode": decode},
        "tokens_per_second": tokens / (prefill + decode),
        "peak_memory_mb": 812.0 + 40 * slow,
        "wall_seconds": (prefill + decode) / 4,
        "confidence": (0.55 + 0.4 * draw.random()) if right else (0.25 + 0.5 * draw.random()),
        "lowest_probability": 0.1 + 0.2 * draw.random(),
        "cached": False,
    }
    return Record(
        cell, f"q{number}", question, (year,), answer, "stop", [one.to_json() for one in passages], sentences, metrics,
        stats,
    )  # fmt: skip


def write_sample_run(folder: Path, samples: int = 24) -> Path:
    """``predictions.jsonl`` and ``summary.json`` of the sample in a folder."""
    plan = sample_plan(samples)
    records = sample_records(plan)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False) for record in records]
    (folder / "predictions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps(summarise(plan, records), ensure_ascii=False, allow_nan=False, indent=2)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
    return folder
