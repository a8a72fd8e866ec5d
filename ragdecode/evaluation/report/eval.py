"""The page of ``ragdecode eval``: a whole run in one file that needs nothing beside it."""

from __future__ import annotations

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.markup import joined, tag
from ragdecode.evaluation.report.plots.scale import number
from ragdecode.evaluation.report.run_cases import cases_data, cases_section
from ragdecode.evaluation.report.run_confidence import confidence_section
from ragdecode.evaluation.report.run_costs import costs_section, failures_section
from ragdecode.evaluation.report.run_folder import RunFolder
from ragdecode.evaluation.report.run_grid import Grid
from ragdecode.evaluation.report.run_scores import comparisons_section, headlines_section, scores_section
from ragdecode.evaluation.report.run_sentences import sentences_section
from ragdecode.evaluation.report.run_tradeoffs import tradeoffs_section

#: cases that a page holds; more are left out, and it says so
CASES = 1000


def page(run: RunFolder, *, cases: int = CASES) -> str:
    """A run, whole or not, as one HTML page that needs nothing beside it.

    Texts of answers, passages and messages cannot become markup; what is missing is said, not drawn.

    Args:
        run: ``summary.json``, ``predictions.jsonl`` and, where it is there, ``config.yaml`` of a run's folder.
        cases: The most questions that the page holds to look at; those are kept where pipelines differ most, answers
            failed, or sentences are unsupported.
    """
    grid = Grid(run)
    shown = cases_data(grid, cases)
    return kit.page(
        title=f"{grid.summary['name']}: evaluation",
        brand="evaluation",
        heading=grid.summary["name"],
        lead=_lead(grid),
        sections=[
            headlines_section(grid),
            scores_section(grid),
            tradeoffs_section(grid),
            comparisons_section(grid),
            confidence_section(grid),
            sentences_section(grid),
            costs_section(grid),
            failures_section(grid),
            cases_section(shown),
            _run(grid),
        ],
        data=shown,
        scripts=["cases.js"],
    )


def _lead(grid: Grid) -> Markup:
    summary = grid.summary
    figures = [
        (str(len(grid.systems)), "pipelines, with their settings"),
        (str(len(grid.datasets)), "data sets"),
        (f"{summary['samples']:,}", "samples"),
        (f"{summary['failed']:,}", "failed"),
    ]
    notes = []
    if not summary["complete"]:
        told = "The run is not whole: figures are of what is in its journal so far."
        notes.append(kit.notice(told, look="warn"))
    if grid.run.unread:
        where = ", ".join(grid.run.unread[:3]) + (", …" if len(grid.run.unread) > 3 else "")
        notes.append(
            kit.notice(f"{len(grid.run.unread)} lines are no records and were left out: {where}.", look="warn")
        )
    if grid.other:
        told = f"The summary counts {summary['samples']:,} samples, the journal has {len(grid.records):,}: "
        notes.append(kit.notice(told + "run ragdecode eval again, so that the summary is made anew.", look="warn"))
    notes += [kit.notice(note) for note in summary["notes"]]
    described = tag("p", summary["description"], class_="lead") if summary["description"] else None
    return joined(described, kit.facts(figures), *notes)


def _run(grid: Grid) -> Markup:
    summary = grid.summary
    rows = [[name, _told(value)] for name, value in (summary["versions"] | summary["machine"]).items()]
    facts = kit.table(
        "What it ran on", ["", ""], [["configuration (hash)", tag("code", summary["config"][:16])], *rows]
    )
    config = None
    if grid.run.config:
        config = tag("details", tag("summary", "Configuration"), tag("pre", grid.run.config), class_="card")
    metrics = kit.table(
        "What the figures mean",
        ["metric", "", "better"],
        [
            [one["title"], kit.cell(one["description"], look="text"), "higher" if one["higher_is_better"] else "lower"]
            for one in summary["metrics"].values()
        ],
    )
    return kit.section("run", "The run", metrics, facts, config)


def _told(value: object) -> str:
    return number(float(value)) if isinstance(value, float) else str(value)
