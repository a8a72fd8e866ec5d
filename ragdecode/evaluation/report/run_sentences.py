"""Of a run's page: what the monitors said of the answers, sentence by sentence."""

from __future__ import annotations

from collections import defaultdict

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.plots.histogram import histogram_plot
from ragdecode.evaluation.report.plots.timeline import Stretch, timeline_plot
from ragdecode.evaluation.report.run_grid import Grid, scores, unsupported
from ragdecode.evaluation.runs.record import Record

#: questions whose answers are drawn
_DRAWN = 6


def sentences_section(grid: Grid) -> Markup | None:
    """Scores of sentences, how many are unsupported, and timelines; None where no monitor scored any."""
    found = {system: scores(grid.answers(system)) for system in grid.systems}
    if not any(found.values()):
        return None
    rows = []
    for system in grid.systems:
        sentences = [one for record in grid.answers(system) for one in record.sentences]
        verdicts = [verdict for one in sentences if (verdict := unsupported(one)) is not None]
        own = found[system]
        rows.append(
            [
                grid.named(system),
                sum(own) / len(own) if own else None,
                kit.cell(f"{len(own)} of {len(sentences)}", value=len(own)),
                kit.cell(f"{sum(verdicts)}", value=sum(verdicts)),
                kit.cell(f"{sum(verdicts) / len(verdicts):.1%}", value=sum(verdicts) / len(verdicts))
                if verdicts
                else None,
            ]
        )
    head = ["pipeline", "mean faithfulness", "sentences scored", "unsupported", "share"]
    table = kit.table("Sentences by their monitors", head, rows, sortable=True)
    plot = histogram_plot({grid.short[name]: own for name, own in found.items() if own}, "faithfulness of a sentence",
                          label="How often sentences have which faithfulness")  # fmt: skip
    return kit.section(
        "sentences",
        "Sentences",
        kit.grid(kit.figure("Faithfulness of sentences", plot), table),
        _timelines(grid),
        intro="Scores of the pipelines' own monitors: pipelines with different monitors do not compare. A sentence "
        "is unsupported where its monitor says so.",
    )


def _timelines(grid: Grid) -> Markup:
    """Answers to the questions on which pipelines' least faithful sentences differ most."""
    asked: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in grid.records:
        if any(one.get("faithfulness") is not None for one in record.sentences):
            asked[record.cell.dataset, record.id].append(record)
    ranked = sorted(asked.items(), key=lambda item: (-_spread(item[1]), item[0]))[:_DRAWN]
    cards = []
    for (dataset, identity), records in ranked:
        records.sort(key=lambda record: (grid.systems.index(record.cell.system), record.cell.seed))
        several = len({record.cell.seed for record in records}) > 1
        rows = {
            grid.short[record.cell.system] + (f", seed {record.cell.seed}" if several else ""): [
                Stretch(one["start"], one["end"], one.get("faithfulness"), one["text"]) for one in record.sentences
            ]
            for record in records
        }
        question = records[0].question
        title = question if len(question) <= 140 else question[:139] + "…"
        plot = timeline_plot(rows, label=f"Sentences of the answers to: {title}")
        cards.append(kit.figure(title, plot, note=f"{dataset}, {identity}"))
    return kit.grid(*cards)


def _spread(records: list[Record]) -> float:
    lowest = [min(own) for record in records if (own := scores([record]))]
    return max(lowest) - min(lowest) + 0.001 * (1 - min(lowest))
