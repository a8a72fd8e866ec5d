"""A run laid out by pipeline and data set, seeds taken together: what every part of its page reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from markupsafe import Markup

from ragdecode.evaluation.bootstrap import interval
from ragdecode.evaluation.report.kit import swatch
from ragdecode.evaluation.report.markup import joined, tag
from ragdecode.evaluation.report.run_folder import RunFolder
from ragdecode.evaluation.runs.record import Cell, Record
from ragdecode.evaluation.runs.summary_shape import CellSummary, Figure, MetricFacts, SystemSummary

#: the choice of all data sets together
ALL = ""
#: A sentence without a verdict of its monitor is unsupported below this faithfulness.
UNSUPPORTED = 0.5
#: metrics of how much of an answer its evidence holds, the most telling first
_FAITHFULNESS = (
    "entailed", "citation_recall", "lexical_support", "k_precision++", "k_precision", "lexical_citation_recall",
    "says_substitute",
)  # fmt: skip
_EMPTY: Figure = {"mean": None, "low": None, "high": None, "n": 0, "missing": 0, "why": "not measured"}


class Grid:
    """A run by system and data set.

    Attributes:
        run: Its folder.
        summary: Its summary.
        records: Its journal.
        systems: Names of the systems, in order; a system's place is the number of its colour.
        short: A name for plots by system: the last part of each setting's path, where that leaves them different.
        datasets: Names of the data sets, in order.
        other: Whether the journal has another number of samples than the summary.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.summary = run.summary
        self.records = list(run.records())
        self.systems = [one["system"] for one in self.summary["systems"]]
        self.short = short_names(self.summary["systems"])
        self.datasets = list(dict.fromkeys(cell["dataset"] for cell in self.summary["cells"]))
        self.other = len(self.records) != self.summary["samples"]
        self._cells: dict[tuple[str, str], list[CellSummary]] = defaultdict(list)
        for cell in self.summary["cells"]:
            self._cells[cell["system"], cell["dataset"]].append(cell)
        self._records: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in self.records:
            self._records[record.cell.system, record.cell.dataset].append(record)
        self._figures: dict[tuple[str, str, str], Figure] = {}

    def named(self, system: str) -> Markup:
        """The system with its colour and shape, whole on hovering."""
        name = tag("span", self.short[system], title=system if system != self.short[system] else None)
        return joined(swatch(self.systems.index(system)), " ", name)

    @property
    def metrics(self) -> Mapping[str, MetricFacts]:
        """What the run measured, by name, in order."""
        return self.summary["metrics"]

    @property
    def faithfulness(self) -> str | None:
        """The metric that tells most about faithfulness; None where there is none."""
        return next((name for name in _FAITHFULNESS if name in self.metrics), None)

    @property
    def quality(self) -> list[str]:
        """Metrics of single answers that are better when higher.

        Those of faithfulness come after the others, and those on which all systems are equal last.
        """
        names = [
            name
            for name, one in self.metrics.items()
            if one["scope"] == "example" and one["higher_is_better"] and name != "length"
        ]
        return sorted(names, key=lambda name: (self._equal(name), name in _FAITHFULNESS))

    def choices(self) -> list[tuple[str, str]]:
        """Data sets to choose from: value and words; all together first where there are several."""
        own = [(name, name) for name in self.datasets]
        return [(ALL, "all, mean of their means"), *own] if len(own) > 1 else own

    def cells(self, system: str, dataset: str = ALL) -> list[CellSummary]:
        """Cells of a system on a data set, or on all of them."""
        chosen = [dataset] if dataset else self.datasets
        return [cell for name in chosen for cell in self._cells[system, name]]

    def answers(self, system: str, dataset: str = ALL) -> Iterator[Record]:
        """Records of a system on a data set, or on all of them, failures among them."""
        for name in [dataset] if dataset else self.datasets:
            yield from self._records[system, name]

    def figure(self, system: str, dataset: str, metric: str) -> Figure:
        """A metric of a system on a data set, or the mean over all of them, which has no interval."""
        key = (system, dataset, metric)
        if key not in self._figures:
            self._figures[key] = self._figure(*key)
        return self._figures[key]

    def speed(self, system: str, dataset: str, name: str) -> float | None:
        """Mean of a figure of speed over the cells; None where no cell has it."""
        return _mean(cell["speed"].get(name) for cell in self.cells(system, dataset))

    def stages(self, system: str, dataset: str) -> dict[str, float]:
        """Mean seconds a sample by stage."""
        answered = [cell for cell in self.cells(system, dataset) if cell["answered"]]
        stages = list(dict.fromkeys(stage for cell in answered for stage in cell["speed"]["seconds"]))
        return {stage: fmean(cell["speed"]["seconds"].get(stage, 0.0) for cell in answered) for stage in stages}

    def memory(self, system: str, dataset: str) -> float | None:
        """The highest peak over the cells, MB."""
        peaks = [peak for cell in self.cells(system, dataset) if (peak := cell["speed"]["peak_memory_mb"]) is not None]
        return max(peaks, default=None)

    def _equal(self, metric: str) -> bool:
        means = {one["metrics"].get(metric) for one in self.summary["systems"]}
        return means == {None} or (len(means) == 1 < len(self.systems))

    def _figure(self, system: str, dataset: str, metric: str) -> Figure:
        cells = self.cells(system, dataset)
        found = [cell["metrics"][metric] for cell in cells if metric in cell["metrics"]]
        if not found:
            return _EMPTY
        if len(found) == 1:
            return found[0]
        mean, n, missing = (
            _mean(one["mean"] for one in found),
            sum(x["n"] for x in found),
            sum(x["missing"] for x in found),
        )
        low = high = None
        if dataset and mean is not None and self.metrics[metric]["scope"] == "example":
            low, high = self._over_seeds(system, dataset, metric)
        why = None if mean is not None else next((one["why"] for one in found if one["why"]), "not measured")
        return {"mean": mean, "low": low, "high": high, "n": n, "missing": missing, "why": why}

    def _over_seeds(self, system: str, dataset: str, metric: str) -> tuple[float | None, float | None]:
        """Ends of the mean over examples, seeds averaged an example first."""
        values: dict[str, list[float]] = defaultdict(list)
        for record in self._records[system, dataset]:
            value = record.metrics.get(metric) if record.error is None else None
            if value is not None:
                values[record.id].append(value)
        if not values:
            return None, None
        ends = interval([fmean(own) for _, own in sorted(values.items())])
        return ends.low, ends.high


def short_names(systems: Sequence[SystemSummary]) -> dict[str, str]:
    """Names for plots by system: the last part of each setting's path, where that leaves all of them different."""
    found = {}
    for one in systems:
        settings = {path.rpartition(".")[2]: value for path, value in one["settings"].items()}
        whole = len(settings) == len(one["settings"])
        found[one["system"]] = Cell(one["pipeline"], "", settings).system if whole else one["system"]
    return found if len(set(found.values())) == len(found) else {one["system"]: one["system"] for one in systems}


def unsupported(sentence: Mapping[str, Any]) -> bool | None:
    """Whether the evidence does not hold a sentence, by its monitor's verdict or its score; None without a score."""
    score = sentence.get("faithfulness")
    if score is None:
        return None
    verdict = sentence.get("faithful")
    return not verdict if verdict is not None else bool(score < UNSUPPORTED)


def scores(records: Iterator[Record] | Sequence[Record]) -> list[float]:
    """Faithfulness of all scored sentences."""
    return [
        float(sentence["faithfulness"])
        for record in records
        for sentence in record.sentences
        if sentence.get("faithfulness") is not None
    ]


def _mean(values: Iterator[float | None] | Any) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
