"""The shape of ``summary.json``: what the report reads. Every number is finite or null."""

from __future__ import annotations

from typing import Any, TypedDict

#: Raised by changes that older readers do not understand.
FORMAT = 1


class MetricFacts(TypedDict):
    """What a metric is.

    ``scope``: ``example`` (a mean over samples) or ``cell`` (one value of all samples together, such as AUROC).
    """

    title: str
    description: str
    higher_is_better: bool
    scope: str


class Figure(TypedDict):
    """A metric over samples: the mean (or the cell's value) and its bootstrap interval of 95 %.

    ``n`` samples count; ``missing`` have no value of it, failures left out. ``why`` says so where there is none.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    why: str | None


class Speed(TypedDict):
    """What the samples of a cell cost, failures left out.

    ``tokens_per_second``: all new tokens over all seconds of prefill and decoding of the answers, as each answer
    counts them; answers decoded together share those. ``decode_tokens_per_second``: tokens after the first over the
    seconds after the first. ``seconds``: means a sample by stage (retrieve, prefill, decode).
    ``wall_seconds``: time that passed while the cell ran, over all sessions; ``wall_tokens_per_second`` follows.
    """

    tokens_per_second: float | None
    decode_tokens_per_second: float | None
    new_tokens: float | None
    prompt_tokens: float | None
    mean_accepted: float | None
    seconds: dict[str, float]
    wall_seconds: float | None
    wall_tokens_per_second: float | None
    peak_memory_mb: float | None
    cached: int


class CellSummary(TypedDict):
    """One cell: its attributes as in a record, how many samples, and what came of them.

    ``failures`` counts them by kind; ``reasons`` by message, the most frequent ones. ``curves``: by metric name, for
    those that draw one: ``{"kind": "roc" | "calibration" | "risk_coverage", "points": [...]}``.
    """

    cell: str
    system: str
    pipeline: str
    dataset: str
    settings: dict[str, Any]
    seed: int
    headline: str
    samples: int
    answered: int
    failed: int
    failures: dict[str, int]
    reasons: dict[str, int]
    metrics: dict[str, Figure]
    speed: Speed
    curves: dict[str, Any]


class Comparison(TypedDict):
    """Two systems on the same samples of a data set, failures of either left out; seeds are averaged a sample first.

    ``difference``: mean of (system - baseline), with its bootstrap interval. ``p``: sign-flip permutation test;
    ``p_holm``: after Holm's correction over all comparisons of the same metric; null where nothing can be compared.
    """

    metric: str
    dataset: str
    system: str
    baseline: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int


class SystemSummary(TypedDict):
    """A pipeline under one choice of settings, over data sets and seeds: ``metrics`` are means of the cells' means."""

    system: str
    pipeline: str
    settings: dict[str, Any]
    headline: str
    samples: int
    failed: int
    metrics: dict[str, float | None]
    tokens_per_second: float | None


class Summary(TypedDict):
    """The whole file. ``complete``: every sample of every cell is in the journal."""

    format: int
    name: str
    description: str
    config: str
    complete: bool
    samples: int
    failed: int
    versions: dict[str, str]
    machine: dict[str, Any]
    metrics: dict[str, MetricFacts]
    systems: list[SystemSummary]
    cells: list[CellSummary]
    baseline: str
    comparisons: list[Comparison]
    notes: list[str]
