"""The picture of ``bench --plot``."""

import pytest


@pytest.mark.parametrize("scale", [0, 1, 1000])
def test_the_labels_of_drafters_stay_within_the_axes(scale):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ragdecode.evaluation.bench.plot import _sources

    figure = Figure(figsize=(6.4, 2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = {
        name: {"proposed": count * scale, "accepted": count * scale, "share": 1.0 if scale else None}
        for name, count in (("prompt_lookup", 74), ("quantized", 12))
    }
    _sources(axes, "ragdecode", rows)
    canvas.draw()
    inside = axes.get_window_extent()
    assert len(axes.texts) == 2
    assert all(label.get_window_extent().x1 <= inside.x1 for label in axes.texts)
