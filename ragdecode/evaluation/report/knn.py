"""The page of ``ragdecode diagnose knn``: findings, ledger, entropy growth, texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ragdecode.evaluation.report import kit
from ragdecode.evaluation.report.markup import joined, tag
from ragdecode.evaluation.report.plots.bars import Bar, bars_plot
from ragdecode.evaluation.report.plots.curves import Curve, curves_plot
from ragdecode.evaluation.report.plots.frame import Axis
from ragdecode.evaluation.report.plots.scale import number

_GROUPS = {
    "class": ("By class of token", "class"),
    "distance": ("By distance of the nearest neighbour", "squared distance, fifths of the tokens"),
    "probability": ("By what the model alone gives the token", "probability under the model"),
    "frequency": ("By how often the token stands in the memory", "occurrences"),
    "position": ("By place in the text", "token"),
}
_VERDICTS = {"confirmed": ("confirmed", "yes"), "not": ("not confirmed", "no"), "undecided": ("undecided", "")}
_SYSTEMS = {"gold": "gold text", "lm": "the model's text", "knn_lm": "kNN-LM's text"}
#: panels of entropy growth: title, unit, and what is drawn of each text
_PANELS = (
    ("Entropy of the votes over tokens", "nats", "votes"),
    ("Entropy of the model's prediction", "nats", "lm"),
    ("Distance of the nearest neighbour", "squared distance", "nearest"),
    ("Documents that vote", "exp of the entropy over documents", "sources"),
)


def page(result: Mapping[str, Any]) -> str:
    """A diagnosis as one HTML page that needs nothing beside it.

    Args:
        result: As `ragdecode.evaluation.knn.diagnosis.diagnose` gives it.
    """
    return kit.page(
        title="kNN-LM diagnosis",
        brand="kNN-LM diagnosis",
        heading=result["description"] or "Do the memory's votes help?",
        lead=_lead(result),
        sections=[
            _findings(result),
            _ledger(result),
            _groups(result),
            _growth(result),
            _quality(result),
            _cases(result),
        ],
        data={},
    )


def _lead(result: Mapping[str, Any]) -> Markup:
    perplexity, settings, text, index = (result[name] for name in ("perplexity", "settings", "text", "index"))
    weight = "by " + settings["by"] if settings["weight"] is None else number(settings["weight"])
    left = f"; left out of the memory: {', '.join(text['left_out'])}" if text["left_out"] else ""
    told = (
        f"{result['model']} read {text['tokens']:,} tokens of {text['documents']} held-out texts and asked a memory of "
        f"{index['entries']:,} entries ({index['key']}, {index['kind']}) at each: k {settings['k']}, temperature "
        f"{number(settings['temperature'])}, weight {weight} (mean {number(settings['mean_weight'])}){left}."
    )
    figures = [
        (number(perplexity["lm"]), "perplexity, model alone"),
        (number(perplexity["knn_lm"]), "perplexity, kNN-LM"),
        (number(perplexity["oracle"]), "perplexity, best of both for each token"),
        (_percent(result["ledger"]["helped"]["estimate"]), "of the tokens win"),
        (_percent(result["ledger"]["hurt"]["estimate"]), "lose"),
    ]
    notes = [kit.notice(note, look="warn") for note in result["notes"]]
    return joined(tag("p", told, class_="lead"), kit.facts(figures), *notes)


def _findings(result: Mapping[str, Any]) -> Markup:
    rows = []
    for one in result["findings"]:
        name, look = _VERDICTS[one["verdict"]]
        interval = one["interval"]
        measured = joined(
            kit.interval(interval["estimate"], interval["low"], interval["high"]),
            tag("span", f" {one['measured']}; compared with {number(one['border'])}", class_="soft"),
        )
        shown = tag("span", name, class_=f"verdict {look}".strip())
        rows.append([kit.cell(one["claim"], look="text"), shown, kit.cell(measured, look="text"), one["source"]])
    return kit.section(
        "findings",
        "What the literature found, here",
        kit.table("Findings", ["claim", "here", "measured", "source"], rows),
        intro="Confirmed: the whole 95 % interval lies on the claim's side of the border; not confirmed: on the other; "
        "undecided: the border lies within. A claim that something is no better is confirmed by a loss only.",
    )


def _ledger(result: Mapping[str, Any]) -> Markup:
    ledger, loss = result["ledger"], result["loss"]
    shares = [
        Bar(f"the {row['share']:.0%} that win most", row["of_gain"], told=_percent(row["of_gain"]))
        for row in ledger["top"]
        if row["of_gain"] is not None
    ]
    kept = [
        kit.table(
            "Gain in nats a token",
            ["", "mean"],
            [
                ["all tokens", kit.interval(*_ends(loss["gain"]))],
                ["tokens that win", ledger["mean_helped"]],
                ["tokens that lose", ledger["mean_hurt"]],
                ["largest loss of a token", ledger["largest_loss"]],
                ["its bound, log(1 - weight)", ledger["bound"]],
                *(
                    [f"all but the {row['share']:.0%} that win most", kit.interval(*_ends(row["rest"]))]
                    for row in ledger["top"]
                ),
                ["the best of both for each token", kit.interval(*_ends(loss["oracle_gain"]))],
            ],
        )
    ]
    if shares:
        plot = bars_plot(shares, "share of the total gain", label="Share of the total gain by the tokens that win most")
        kept.append(kit.figure("Few tokens, how much of the gain?", plot))
    return kit.section(
        "ledger",
        "Who wins and who loses",
        kit.grid(*kept),
        intro="A token wins if the neighbours give it more than the model does. What it can lose is bounded by the "
        "weight, what it can win is not: so the mean can rise while most tokens lose.",
    )


def _groups(result: Mapping[str, Any]) -> Markup:
    cards = []
    for name, (title, head) in _GROUPS.items():
        rows = result["ledger"]["groups"][name]
        bars = [
            Bar(
                row["name"],
                row["gain"]["estimate"],
                _reach(row["gain"]),
                series=0 if row["gain"]["estimate"] >= 0 else 3,
            )
            for row in rows
        ]
        table = kit.table(
            title,
            [head, "tokens", "win", "gain a token", "of the gain"],
            [
                [
                    row["name"],
                    kit.cell(f"{row['tokens']:,}", value=row["tokens"]),
                    _percent(row["helped"]),
                    kit.interval(*_ends(row["gain"])),
                    _percent(row["of_gain"]),
                ]
                for row in rows
            ],
        )
        plot = bars_plot(bars, "gain in nats a token", label=f"{title}: mean gain with its interval")
        cards.append(kit.figure(title, plot, table, head if head != "class" else None))
    return kit.section("groups", "Where it helps and where it hurts", kit.grid(*cards))


def _growth(result: Mapping[str, Any]) -> Markup | None:
    growth = result["growth"]
    if growth is None:
        return None
    cards = []
    for title, unit, name in _PANELS:
        curves = [
            Curve(_SYSTEMS[run], list(zip(growth["steps"], own[name], strict=True)))
            for run, own in growth["curves"].items()
        ]
        low, high = _span(y for curve in curves for _, y in curve.points)
        plot = curves_plot(
            curves, Axis("token of the continuation", 0, max(growth["steps"])), Axis(unit, low, high),
            label=f"{title} by step", markers=False,
        )  # fmt: skip
        rows = [
            [f"{step:g}", *(growth["curves"][run][name][at] for run in growth["curves"])]
            for at, step in enumerate(growth["steps"])
        ]
        head = ["token", *(_SYSTEMS[run] for run in growth["curves"])]
        cards.append(kit.figure(title, plot, kit.table(title, head, rows)))
    slopes = kit.table(
        "Slopes, in nats per 100 tokens; and how much more the votes' entropy exceeds that on gold text than the "
        "model's does, in nats",
        ["text", "model", "votes", "votes less model", "beyond gold text"],
        [
            [
                _SYSTEMS[run],
                *(kit.interval(*_ends(own[name])) for name in ("lm", "votes", "apart")),
                kit.interval(*_ends(growth["difference"][run])) if run in growth["difference"] else None,
            ]
            for run, own in growth["slopes"].items()
        ],
    )
    return kit.section(
        "growth",
        "What becomes of the votes as a text gets longer",
        kit.grid(*cards),
        slopes,
        intro="The memory is asked along gold continuations of held-out prompts, and along those that the model and "
        "kNN-LM wrote themselves. If retrieval suffers from generated text, the votes' entropy rises faster there.",
    )


def _quality(result: Mapping[str, Any]) -> Markup | None:
    quality = result["quality"]
    if quality is None:
        return None
    known = quality["mauve"]
    likeness = "likeness to gold text" if known is None else f"MAUVE-with-{known['encoder']}"
    rows = [
        [
            _SYSTEMS[name],
            *quality[name]["rep"],
            quality[name]["diversity"],
            *quality[name]["distinct"][:2],
            quality[name].get("mauve"),
        ]
        for name in _SYSTEMS
    ]
    head = ["text", "rep-1", "rep-2", "rep-3", "rep-4", "diversity", "distinct-1", "distinct-2", likeness]
    told = "rep-n is the share of n-grams of a text that it has had before, diversity the product of 1 - rep-n for n "
    told += "from 2 to 4; distinct-n is taken over all texts together."
    if known is not None:
        told += (
            f" {likeness} compares {known['texts']} texts a side by the clusters ({known['clusters']}) that their "
            "vectors fall into: only scores of equal encoders, lengths and numbers compare, and few texts score too "
            "high."
        )
    return kit.section("texts", "The texts that were written", kit.table("Texts", head, rows), intro=told)


def _cases(result: Mapping[str, Any]) -> Markup | None:
    cards = []
    for name, title in (("helped", "Tokens that won most"), ("hurt", "Tokens that lost most")):
        items = [
            tag(
                "li",
                tag(
                    "div",
                    tag(
                        "div",
                        tag("span", one["before"], class_="before"),
                        tag("mark", one["token"], class_="ref"),
                        class_="body",
                    ),
                    tag(
                        "p",
                        f"model {_chance(one['lm'])} → kNN-LM {_chance(one['knn_lm'])}; votes {_chance(one['votes'])}; "
                        f"nearest at {number(one['distance'])}",
                        class_="small",
                    ),
                    class_="open",
                ),
                class_="case",
            )
            for one in result["examples"][name]
        ]
        if items:
            cards.append(tag("div", tag("h3", title), tag("ul", *items, class_="cases")))
    return kit.section("examples", "Tokens", kit.grid(*cards)) if cards else None


def _ends(interval: Mapping[str, float | None]) -> tuple[float | None, float | None, float | None]:
    return interval["estimate"], interval["low"], interval["high"]


def _reach(interval: Mapping[str, float | None]) -> tuple[float, float] | None:
    low, high = interval["low"], interval["high"]
    return None if low is None or high is None else (low, high)


def _span(values: Iterable[float]) -> Sequence[float]:
    known = list(values)
    low, high = min(known), max(known)
    room = 0.08 * (high - low) or 0.5
    return max(0.0, low - room) if low >= 0 else low - room, high + room


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _chance(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.1e}"
