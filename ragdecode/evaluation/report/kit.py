"""What report pages are put together from: sections, tables, figures, and the page itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from ragdecode.evaluation.report.markup import joined, tag
from ragdecode.evaluation.report.plots.scale import number
from ragdecode.pipeline.page import render_page

Row = Sequence[Any]


def page(
    *, title: str, brand: str, heading: str, lead: Any, sections: Sequence[Markup | None], data: Mapping[str, Any],
    scripts: Sequence[str] = (),
) -> str:  # fmt: skip
    """A whole page.

    Args:
        title: Of the window.
        brand: What kind of page it is, beside the name ragdecode.
        heading: The one heading of the first rank.
        lead: Below it.
        sections: As `section` makes them; None is left out.
        data: For the scripts; empty where they need none.
        scripts: Files of ``templates/`` that run after ``kit.js``.
    """
    folder = files("ragdecode.evaluation.report").joinpath("templates")

    def read(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    shown = [one for one in sections if one is not None]
    body = joined(
        tag("header", _brand(brand), tag("h1", heading), lead), _contents(shown), tag("main", *shown, id="main")
    )
    return render_page(
        read("report.html"), title=title, style=read("kit.css"), data=data, body=body,
        script="\n".join(read(name) for name in ("kit.js", *scripts)),
    )  # fmt: skip


def section(identity: str, title: str, *content: Any, intro: Any = None) -> Markup:
    """A section with its heading; the page's contents link to it.

    Args:
        identity: Its id in the page.
        title: Its heading.
        content: Below it.
        intro: A paragraph between the two.
    """
    head = tag("h2", title, id=f"{identity}-title")
    said = tag("p", intro, class_="intro") if intro is not None else None
    return tag("section", head, said, *content, id=identity, aria_labelledby=f"{identity}-title", data_title=title)


def table(caption: str, head: Sequence[str], rows: Iterable[Row], *, sortable: bool = False) -> Markup:
    """A table whose first column names its rows; it scrolls sideways where the page is narrow.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells: texts, markup, `cell`; numbers are written with three digits, None as a dash.
        sortable: The page's script lets a reader sort by a column.
    """
    top = tag("tr", *(tag("th", name, scope="col") for name in head))
    body = [tag("tr", _cell(row[0], "th"), *(_cell(one, "td") for one in row[1:])) for row in rows]
    inner = tag(
        "table",
        tag("caption", caption),
        tag("thead", top),
        tag("tbody", *body),
        class_="sortable" if sortable else None,
    )
    return tag("div", inner, class_="scroll", tabindex=0, role="group", aria_label=caption)


def cell(
    *content: Any, value: float | None = None, look: str | None = None, title: str | None = None
) -> Mapping[str, Any]:
    """A cell of `table`.

    Args:
        content: What it shows.
        value: What it is sorted by, where that is a number.
        look: Class, such as ``best``.
        title: Shown on hovering.
    """
    return {"content": content, "value": value, "look": look, "title": title}


def figure(title: str, plot: Markup, figures: Markup | None = None, note: Any = None) -> Markup:
    """A plot with its title and, folded, its figures as a table."""
    told = tag("figcaption", tag("h3", title), tag("p", note) if note is not None else None)
    folded = tag("details", tag("summary", "Figures"), figures, class_="figures") if figures is not None else None
    return tag("figure", told, tag("div", plot, class_="canvas"), folded, class_="card")


def grid(*content: Any) -> Markup:
    """Cards side by side, as many as fit."""
    return tag("div", *content, class_="cards")


def chooser(group: str, fields: Mapping[str, tuple[str, Sequence[tuple[str, str]]]]) -> Markup | None:
    """A form that chooses among the panels of a group; hidden without scripts, when all panels show.

    Args:
        group: Name of the group, as in `panel`.
        fields: By the name of the field: its label, and (value, what it says) of each choice.

    Returns:
        The form; None where there is nothing to choose.
    """
    if all(len(choices) < 2 for _, choices in fields.values()):
        return None
    shown = [
        tag(
            "label",
            label,
            tag("select", *(tag("option", told, value=value) for value, told in choices), name=name),
            hidden=len(choices) < 2,
        )
        for name, (label, choices) in fields.items()
    ]
    return tag("form", *shown, class_="controls", data_group=group, hidden=True)


def panel(group: str, values: Mapping[str, str], *content: Any) -> Markup:
    """What shows where the chooser of the group stands at these values: one for each of its fields."""
    return tag("div", *content, class_="panel", data_panel=group, **{f"data_{name}": v for name, v in values.items()})


def notice(*content: Any, look: str = "info") -> Markup:
    """A remark that stands out: ``info`` or ``warn``."""
    return tag("p", *content, class_=f"notice {look}", role="note")


def facts(figures: Iterable[tuple[str, str]]) -> Markup:
    """Key figures: (figure, what it is)."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for value, name in figures), class_="facts")


def interval(mean: float | None, low: float | None, high: float | None) -> Markup | str:
    """A mean with its interval beside, smaller."""
    if mean is None:
        return "–"
    if low is None or high is None or (low == high == mean):
        return number(mean)
    return joined(number(mean), " ", tag("span", f"[{number(low)}, {number(high)}]", class_="ends"))


def swatch(series: int) -> Markup:
    """The colour and shape of a series, as plots draw it."""
    from ragdecode.evaluation.report.plots.marks import marker

    return tag("svg", marker(series, 8, 8, size=5.5), class_="swatch", viewBox="0 0 16 16", aria_hidden="true")


def _brand(brand: str) -> Markup:
    return tag("p", "ragdecode ", tag("span", brand), class_="brand")


def _contents(sections: Sequence[Markup]) -> Markup:
    return tag("nav", tag("ul", id="contents"), aria_label="Contents")


def _cell(content: Any, name: str) -> Markup:
    scope = "row" if name == "th" else None
    if isinstance(content, Mapping):
        sorted_by = None if content["value"] is None else repr(float(content["value"]))
        return tag(
            name, *content["content"], scope=scope, class_=content["look"], title=content["title"], data_value=sorted_by
        )
    if isinstance(content, bool) or not isinstance(content, (int, float)):
        return tag(name, "–" if content is None else content, scope=scope)
    return tag(name, number(content, 3), scope=scope, data_value=repr(float(content)))
