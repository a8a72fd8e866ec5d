"""Of a run's page: questions with their answers side by side, to be searched, filtered and sorted in the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.run_grid import Grid, unsupported
from ragdecode.evaluation.runs.record import Record

#: characters of texts that a page holds; the least telling cases beyond are left out
_ROOM = 40_000_000


def cases_data(grid: Grid, most: int) -> dict[str, Any]:
    """What the page's script draws cases from.

    Equal passages are held once. Cases are kept in the order of the data sets; where there are more than ``most``, or
    their texts are too long together, those stay where answers failed, sentences are unsupported, or scores differ.

    Args:
        grid: The run.
        most: The most questions.
    """
    names = [name for name, one in grid.metrics.items() if one["scope"] == "example"]
    titles = [(name, grid.metrics[name]["title"], grid.metrics[name]["higher_is_better"]) for name in names]
    asked: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in grid.records:
        if record.cell.system in grid.systems:
            asked[record.cell.dataset, record.id].append(record)
    data = case_data(grid.systems, titles, grid.datasets, asked, most)
    data["systems"] = [grid.short[system] for system in grid.systems]
    return {**data, "metric": names.index(grid.quality[0]) if grid.quality else 0}


def case_data(
    systems: Sequence[str],
    metrics: Sequence[tuple[str, str, bool]],
    datasets: Sequence[str],
    asked: Mapping[tuple[str, str], Sequence[Record]],
    most: int,
    names: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Cases of any records; see `cases_data`.

    Args:
        systems: Names, in the order of their colours.
        metrics: Name, title, whether higher is better.
        datasets: In order.
        asked: Records by data set and example.
        most: The most questions.
        names: System of a record by its ``id()``, where it is not that of its cell.
    """
    keys = [name for name, _, _ in metrics]
    passages = _Passages()
    whole = sorted(asked, key=lambda key: datasets.index(key[0]))
    kept: set[tuple[str, str]] = set()
    room = _ROOM
    for key in sorted(whole, key=lambda key: -_interest(asked[key], keys)):
        size = sum(_size(record) for record in asked[key])
        if len(kept) >= most or (size > room and kept):
            break
        kept.add(key)
        room -= size
    cases = []
    for key in whole:
        if key not in kept:
            continue
        first = asked[key][0]
        answers = [(_place(systems, one, names), one) for one in asked[key]]
        answers.sort(key=lambda pair: (pair[0], pair[1].cell.seed))
        cases.append(
            {
                "dataset": key[0],
                "id": key[1],
                "question": first.question,
                "references": list(first.references),
                "answers": [{"system": at, **_answer(one, keys, passages)} for at, one in answers],
            }
        )
    return {
        "systems": list(systems),
        "metrics": [{"name": name, "title": title, "up": up} for name, title, up in metrics],
        "datasets": list(datasets),
        "passages": passages.told,
        "cases": cases,
        "total": len(whole),
        "metric": 0,
    }


def cases_section(data: Mapping[str, Any]) -> Markup | None:
    """The place that the page's script fills; None without cases."""
    if not data["cases"]:
        return None
    left = data["total"] - len(data["cases"])
    told = None
    if left:
        told = kit.notice(
            f"The page holds {len(data['cases']):,} of {data['total']:,} questions: those where answers failed, "
            "sentences are unsupported or scores differ most. predictions.jsonl has them all.",
            look="warn",
        )
    return kit.section(
        "cases",
        "Cases",
        told,
        tag("form", id="case-filter", class_="controls", hidden=True),
        tag("p", id="case-count", class_="soft", aria_live="polite"),
        tag("ul", id="case-list", class_="cases"),
        tag("button", "Show more", id="case-more", class_="plain", type="button", hidden=True),
        intro="Answers to the same question side by side. Sentences that the evidence does not hold are marked; "
        "choose a sentence to see where its evidence stands.",
    )


def _place(systems: Sequence[str], record: Record, names: Mapping[int, str] | None) -> int:
    return systems.index(names[id(record)] if names else record.cell.system)


class _Passages:
    """Passages, equal ones once."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self._known: dict[tuple[str, str, str], int] = {}

    def place(self, passage: Mapping[str, Any]) -> int:
        key = (str(passage.get("id", "")), str(passage.get("source", "")), str(passage.get("text", "")))
        if key not in self._known:
            self._known[key] = len(self.told)
            self.told.append(dict(zip(("id", "source", "text"), key, strict=True)))
        return self._known[key]


def _answer(record: Record, metrics: Sequence[str], passages: _Passages) -> dict[str, Any]:
    places = {str(one.get("id")): passages.place(one) for one in record.passages}
    seconds = record.stats.get("seconds") or {}
    return {
        "seed": record.cell.seed,
        "text": record.answer,
        "finish": record.finish_reason,
        "error": record.error.to_json() if record.error else None,
        "sentences": [_sentence(one, places) for one in record.sentences],
        "passages": [places[str(one.get("id"))] for one in record.passages],
        "metrics": [record.metrics.get(name) for name in metrics],
        "tokens": record.stats.get("new_tokens"),
        "seconds": sum(value or 0.0 for stage, value in seconds.items() if stage != "load") if seconds else None,
        "confidence": record.stats.get("confidence"),
        "choices": [{"text": one.get("text"), "logprob": one.get("logprob")} for one in record.choices],
        "notes": list(record.notes),
    }


def _sentence(sentence: Mapping[str, Any], places: Mapping[str, int]) -> dict[str, Any]:
    return {
        "start": sentence["start"],
        "end": sentence["end"],
        "score": sentence.get("faithfulness"),
        "bad": unsupported(sentence),
        "by": [places[one] for one in sentence.get("supported_by") or [] if one in places],
        "evidence": [
            [places[one["passage"]], one["start"], one["end"]]
            for one in sentence.get("evidence") or []
            if one["passage"] in places
        ],
    }


def _interest(records: Sequence[Record], metrics: Sequence[str]) -> float:
    """How much a reader learns of a case: failures and unsupported sentences first, then how far scores differ."""
    failed = any(one.error is not None for one in records)
    bad = any(unsupported(sentence) for one in records for sentence in one.sentences)
    spread = 0.0
    for name in metrics:
        known = [value for one in records if (value := one.metrics.get(name)) is not None and 0 <= value <= 1]
        spread = max(spread, max(known) - min(known)) if known else spread
    return 2.0 * failed + bad + spread


def _size(record: Record) -> int:
    return len(record.question) + len(record.answer or "") + sum(len(str(one.get("text"))) for one in record.passages)
