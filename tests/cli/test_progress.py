from __future__ import annotations

import pytest

from ragdecode.cli.progress import show_progress


def test_a_long_stage_is_told_again_with_its_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 31.0, 40.0, 62.0, 63.0])
    monkeypatch.setattr("ragdecode.cli.progress.time.monotonic", lambda: next(clock))
    with show_progress("index") as report:
        for seen in (2000, 4000, 340_000, 350_000, 360_000):
            report("scanning", seen, 0)
        report("read", 5, 12_000)
    assert capsys.readouterr().err.splitlines() == [
        "index: scanning",
        "index: scanning: 340,000",
        "index: scanning: 360,000",
        "index: read",
    ]


def test_bars_show_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with show_progress("index") as report:
        report("scanning", 340_000, 0)
        report("read", 5, 12_000)
    shown = capsys.readouterr().err
    assert "340,000" in shown
    assert "5 of 12,000" in shown
