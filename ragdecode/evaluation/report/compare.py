"""The page of ``ragdecode eval compare``: two runs on the same examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.markup import joined, tag
from ragdecode.evaluation.report.plots.bars import Bar, bars_plot
from ragdecode.evaluation.report.plots.scale import number
from ragdecode.evaluation.report.run_cases import case_data, cases_section
from ragdecode.evaluation.report.run_grid import short_names
from ragdecode.evaluation.runs.pairing import Pair, Side
from ragdecode.evaluation.runs.record import Record

#: cases that a page holds
CASES = 1000
_LEVEL = 0.05


def page(result: Mapping[str, Any], a: Side, b: Side, compared: Sequence[Pair], *, cases: int = CASES) -> str:
    """A comparison as one HTML page that needs nothing beside it.

    Args:
        result: As `ragdecode.evaluation.runs.compare.compare` gives it.
        a: The first run.
        b: The second run.
        compared: What was compared.
        cases: The most questions that the page holds to look at; those that changed most come first.
    """
    short = short_names([*a.summary["systems"], *b.summary["systems"]])
    data = _cases(result, a, b, compared, cases)
    data["systems"] = [f"{name[:3]}{short[name[3:]]}" for name in data["systems"]]
    title = f"{result['a']['title']} and {result['b']['title']}"
    notes = [kit.notice(note, look="warn") for note in result["notes"]]
    told = "Differences are those of the second run (B) from the first (A), on the same examples."
    return kit.page(
        title=f"{title}: comparison",
        brand="comparison of runs",
        heading=title,
        lead=joined(tag("p", told, class_="lead"), _key(data["systems"]), *notes),
        sections=[
            _differences(result, short),
            _whole(result, short),
            _speed(result, short),
            _failures(result, short),
            cases_section(data),
            _runs(result),
        ],
        data=data,
        scripts=["cases.js"],
    )


def _key(systems: Sequence[str]) -> Markup:
    lines = [tag("li", kit.swatch(at), " ", name) for at, name in enumerate(systems)]
    return tag("div", tag("ul", *lines, class_="legend"), id="pipelines")


def _differences(result: Mapping[str, Any], short: Mapping[str, str]) -> Markup | None:
    if not result["metrics"]:
        return None
    panels, fields = [], []
    for name, facts in result["metrics"].items():
        rows, bars = [], []
        for one in result["comparisons"]:
            if one["metric"] != name:
                continue
            look = verdict(one, higher_is_better=facts["higher_is_better"])
            label = f"{pair_name(one, short)}, {one['dataset']}"
            rows.append(
                [
                    label,
                    one["a"],
                    one["b"],
                    kit.cell(
                        kit.interval(one["difference"], one["low"], one["high"]), value=one["difference"], look=look
                    ),
                    kit.cell(_chance(one["p"]), value=one["p"]),
                    kit.cell(_chance(one["p_holm"]), value=one["p_holm"]),
                    kit.cell(f"{one['better']} / {one['same']} / {one['worse']}", value=one["better"] - one["worse"]),
                    one["n"],
                ]
            )
            if one["difference"] is not None:
                series = {"good": 2, "bad": 7}.get(look or "", 6)
                bars.append(Bar(label, one["difference"], (one["low"], one["high"]), series=series))
        head = ["pipeline, data set", "A", "B", "B − A", "p", "p, corrected", "better / same / worse", "examples"]
        table = kit.table(f"{facts['title']}: {facts['description']}", head, rows, sortable=True)
        plot = None
        if bars:
            told = f"Differences of {facts['title']} with their intervals"
            plot = kit.figure(facts["title"], bars_plot(bars, "difference, B − A", label=told))
        panels.append(kit.panel("differences", {"metric": name}, table, plot))
        fields.append((name, facts["title"]))
    count = sum(one["p"] is not None for one in result["comparisons"])
    return kit.section(
        "differences",
        "Differences",
        kit.chooser("differences", {"metric": ("metric", fields)}),
        *panels,
        intro="With bootstrap intervals of 95 % over examples; p by a permutation test that flips signs, corrected by "
        f"Holm's method over all {count} comparisons of this page. In colour: at most 5 % after that.",
    )


def _whole(result: Mapping[str, Any], short: Mapping[str, str]) -> Markup | None:
    if not result["together"]:
        return None
    rows = [
        [
            f"{one['title']}: {pair_name(one, short)}, {one['dataset']}",
            *(kit.interval(one[side]["mean"], one[side]["low"], one[side]["high"]) for side in ("a", "b")),
        ]
        for one in result["together"]
    ]
    return kit.section(
        "together",
        "Metrics of all answers together",
        kit.table("Each run's own figures", ["", "A", "B"], rows),
        intro="No single answer has these, so they are not paired: intervals that overlap tell little.",
    )


def _speed(result: Mapping[str, Any], short: Mapping[str, str]) -> Markup:
    rows = [
        [
            f"{pair_name(one, short)}, {one['dataset']}",
            one["a"],
            one["b"],
            kit.interval(one["ratio"], one["low"], one["high"]),
            one["n"],
        ]
        for one in result["speed"]
    ]
    return kit.section(
        "speed",
        "Speed",
        kit.table("Tokens per second", ["pipeline, data set", "A", "B", "B / A", "examples"], rows),
        intro="New tokens over seconds of reading and writing, of the examples that both runs answered. Runs on "
        "different machines, or under different load, do not compare.",
    )


def _failures(result: Mapping[str, Any], short: Mapping[str, str]) -> Markup | None:
    rows = [
        [f"{pair_name(one, short)}, {one['dataset']}", len(one["only_a"]), len(one["only_b"]), one["both"], one["n"]]
        for one in result["failures"]
        if one["only_a"] or one["only_b"] or one["both"]
    ]
    if not rows:
        return None
    head = ["pipeline, data set", "only in A", "only in B", "in both", "examples"]
    return kit.section("failures", "What failed", kit.table("Failures", head, rows))


def _runs(result: Mapping[str, Any]) -> Markup:
    a, b = result["a"], result["b"]
    rows: list[list[Any]] = [
        ["configuration (hash)", tag("code", a["config"][:16]), tag("code", b["config"][:16])],
        *([name, f"{a[name]:,}", f"{b[name]:,}"] for name in ("samples", "failed")),
    ]
    for name in dict.fromkeys([*a["versions"], *b["versions"]]):
        own, theirs = a["versions"].get(name, "–"), b["versions"].get(name, "–")
        rows.append([name, own, kit.cell(theirs, look="bad" if own != theirs else None)])
    return kit.section("runs", "The runs", kit.table("The runs", ["", f"A: {a['title']}", f"B: {b['title']}"], rows))


def _cases(result: Mapping[str, Any], a: Side, b: Side, compared: Sequence[Pair], most: int) -> dict[str, Any]:
    names: dict[int, str] = {}
    systems: list[str] = []
    asked: dict[tuple[str, str], list[Record]] = defaultdict(list)
    changed = {(one["dataset"], one["id"]) for one in result["changed"]}
    for pair in compared:
        for side, letter, system in ((a, "A", pair.a), (b, "B", pair.b)):
            name = f"{letter}: {system}"
            if name not in systems:
                systems.append(name)
            for identity in pair.ids:
                if (pair.dataset, identity) not in changed:
                    continue
                for record in side.examples(system, pair.dataset)[identity]:
                    if id(record) not in names:
                        names[id(record)] = name
                        asked[pair.dataset, identity].append(record)
    metrics = [(name, one["title"], one["higher_is_better"]) for name, one in result["metrics"].items()]
    datasets = list(dict.fromkeys(pair.dataset for pair in compared))
    return case_data(systems, metrics, datasets, asked, most, names)


def verdict(one: Mapping[str, Any], *, higher_is_better: bool) -> str | None:
    """``good`` or ``bad`` where a difference is more than chance after correction; None else."""
    if not one["difference"] or one["p_holm"] is None or one["p_holm"] > _LEVEL:
        return None
    return "good" if (one["difference"] > 0) == higher_is_better else "bad"


def pair_name(one: Mapping[str, Any], short: Mapping[str, str] | None = None) -> str:
    """The systems of a row for people, by shorter names where there are any."""
    known = short or {}
    own, baseline = (known.get(name, name) for name in (one["system"], one["baseline"]))
    return str(own) if own == baseline else f"{baseline} → {own}"


def _chance(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else number(p)
