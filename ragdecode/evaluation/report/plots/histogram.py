"""How often values fall where, one outline a series over the same bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from ragdecode.evaluation.report.markup import tag
from ragdecode.evaluation.report.plots.frame import Axis, Frame
from ragdecode.evaluation.report.plots.marks import Key, colour, dash
from ragdecode.evaluation.report.plots.scale import number, spanning

BINS = 20


def bins(values: Sequence[float], low: float, high: float, count: int = BINS) -> list[int]:
    """How many values fall into each of equally wide bins; the last one has its upper end, too.

    Args:
        values: All between the ends.
        low: Lower end of the first bin.
        high: Upper end of the last bin; above ``low``.
        count: How many bins.
    """
    found = [0] * count
    for value in values:
        found[min(count - 1, int((value - low) / (high - low) * count))] += 1
    return found


def histogram_plot(series: Mapping[str, Sequence[float]], axis: str, *, label: str) -> Markup:
    """Draw the shares of values a bin.

    Args:
        series: Values by name, in the order of the colours; at least one value in all.
        axis: What the values are, with their unit.
        label: The plot in words.
    """
    everything = [value for values in series.values() for value in values]
    low, high = min(everything), max(everything)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low == high:
        low, high = spanning(everything)
    counts = {name: bins(values, low, high) for name, values in series.items()}
    shares = {
        name: [count / len(series[name]) if series[name] else 0.0 for count in found] for name, found in counts.items()
    }
    top = max(max(found) for found in shares.values())
    frame = Frame(
        Axis(axis, low, high),
        Axis("share of values a bin", 0.0, 1.08 * top),
        [Key(f"{name} (n = {len(series[name])})", at, "line") for at, name in enumerate(series)],
    )
    wide = (high - low) / BINS
    drawn: list[Markup] = []
    for at, (name, found) in enumerate(shares.items()):
        floor = frame.y(0.0)
        way = [f"M{frame.x(low):.2f} {floor:.2f}"]
        for place, share in enumerate(found):
            way.append(f"V{frame.y(share):.2f}H{frame.x(low + wide * (place + 1)):.2f}")
        outline = "".join([*way, f"V{floor:.2f}"])
        drawn.append(tag("path", class_=f"band {colour(at)}", d=outline + "Z"))
        drawn.append(tag("path", class_=f"line {colour(at)}", d=outline, stroke_dasharray=dash(at)))
        for place, count in enumerate(counts[name]):
            if count:
                x = frame.x(low + wide * place)
                told = f"{name}: {count} from {number(low + wide * place)} to {number(low + wide * (place + 1))}"
                drawn.append(
                    tag("rect", tag("title", told), class_="hover", x=x, y=frame.y(found[place]),
                        width=frame.x(low + wide * (place + 1)) - x, height=floor - frame.y(found[place]))
                )  # fmt: skip
    return frame.draw(*drawn, label=label)
