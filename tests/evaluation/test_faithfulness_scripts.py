"""What the scripts of the faithfulness benchmarks make of their journals."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


def row(item, arm, value, *, answered=1.0, tokens=11, seconds=2.0, asked=()):
    held = value if answered else None
    return {
        "set": "qa",
        "item": item,
        "arm": arm,
        "tokens": tokens,
        "seconds": seconds,
        "passes": 20,
        "stage": None,
        "asked": list(asked),
        "answered": answered,
        "k_precision": held,
        "supported": held,
        "alignment": held,
        "contains": value,
        "f1": value,
        "words": held,
    }


def test_only_examples_that_every_arm_answered_count(script, capsys):
    faithfulness = script("faithfulness")
    rows = [row(item, arm, 0.5) for item in ("a", "b") for arm in faithfulness.ARMS]
    rows += [row("c", "greedy", 1.0)]
    rows = [one for one in rows if one["arm"] != "CAD + abstain"]
    rows += [row("a", "CAD + abstain", 0.0, answered=0.0, tokens=0, asked=["abstain"]), row("b", "CAD + abstain", 1.0)]
    faithfulness.report(rows)
    told = capsys.readouterr().out
    assert "2 examples" in told
    (greedy,) = [line for line in told.splitlines() if line.startswith("| greedy")]
    assert "0.500 [0.500, 0.500]" in greedy
    assert "| 5.0 | 2.00 | 20 | 0/2 |" in greedy
    (abstained,) = [line for line in told.splitlines() if line.startswith("| CAD + abstain")]
    assert "1.000 [1.000, 1.000] (n 1)" in abstained
    assert "1/2 |" in abstained
    (gap,) = [line for line in told.splitlines() if line.startswith("- CAD + abstain less CAD")]
    assert "K-Precision +0.500 (p 1.000, n 1)" in gap
    assert "F1 +0.000" in gap
    assert "nan" not in told.lower()


def test_an_empty_journal_has_no_table(script, capsys):
    script("faithfulness").report([])
    assert capsys.readouterr().out == ""


def test_ratios_are_within_examples(script, capsys):
    overhead = script("monitor_overhead")
    times = dict.fromkeys([*overhead.ARMS, overhead.STOCK], 0.1)
    overhead.report([times | {"CAD + syncheck": 0.105}, {name: 3 * value for name, value in times.items()}])
    told = capsys.readouterr().out
    assert "| CAD + syncheck | CAD | 1.025 [1.000, 1.050] | below 1.10 |" in told
    assert "| CAD | 200.0 |" in told
    overhead.report([])
    assert "no example" in capsys.readouterr().out
