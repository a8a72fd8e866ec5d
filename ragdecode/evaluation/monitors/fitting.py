"""Fits an aggregator to labelled sentences: standardised features, a model, calibration, a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ragdecode.decoding.faithfulness.features import LID
from ragdecode.errors import RunError
from ragdecode.evaluation.learning.calibration import fit_isotonic, fit_platt
from ragdecode.evaluation.learning.logistic import STRENGTHS, Logistic, fit, folds
from ragdecode.evaluation.learning.trees import Trees, TreeSettings, fit_trees
from ragdecode.evaluation.metrics.detection import best_threshold
from ragdecode.evaluation.monitors.anchors import Anchors, choose_anchors
from ragdecode.evaluation.monitors.examples import COLUMNS, Examples
from ragdecode.spec.trained_monitor import Isotonic, Platt

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["logistic", "trees"]
Curve = Literal["platt", "isotonic"]

#: Of each kind of sentence, fewer than this teach nothing.
FEWEST = 20
#: How trees may be grown; cross-validation chooses.
_DEPTHS = (1, 2, 3)
_TREES = tuple(TreeSettings(rounds, depth) for depth in _DEPTHS for rounds in (20, 40, 80, 120))


@dataclass(frozen=True)
class FitSettings:
    """How an aggregator is fitted.

    Attributes:
        kind: Logistic regression or boosted trees.
        features: What it reads.
        curve: How it is calibrated.
        anchors: Most anchors of the local intrinsic dimension.
        folds: Parts of the sources for choosing strengths, calibration and threshold.
        seed: Draws parts and anchors.
    """

    kind: Kind
    features: tuple[str, ...]
    curve: Curve = "platt"
    anchors: int = 200
    folds: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """A fitted aggregator.

    Attributes:
        settings: How it was fitted.
        means, scales: Of the features over the training sentences ``[F]``.
        absent: Features whose absence was seen often enough to learn from ``[F]``.
        model: On standardised features and, for a regression, a column for each absence.
        chosen: What cross-validation chose, for the report.
        calibration: From its log-odds to a probability.
        threshold: Of the best balanced accuracy on sentences of held-out parts.
        anchors: For the local intrinsic dimension, where it is read.
    """

    settings: FitSettings
    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    absent: NDArray[np.bool_]
    model: Logistic | Trees
    chosen: str
    calibration: Platt | Isotonic
    threshold: float
    anchors: Anchors | None

    def probabilities(self, examples: Examples) -> NDArray[np.float64]:
        """How probable it is that each sentence is faithful ``[n]``; NaN where a feature lacks that never did."""
        table = table_of(examples, self.settings.features, self.anchors)
        found = _calibrated(self.logits(table), self.calibration)
        found[(np.isnan(table) & ~self.absent).any(axis=1)] = np.nan
        return found

    def logits(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds ``[n]`` of raw features ``[n, F]``."""
        if isinstance(self.model, Trees):
            return self.model.logits(table)
        return self.model.logits(_design(table, self.means, self.scales, self.absent))


def table_of(examples: Examples, names: Sequence[str], anchors: Anchors | None) -> NDArray[np.float64]:
    """The named features ``[n, F]``, NaN where one has no value."""
    table = np.full((len(examples), len(names)), np.nan)
    wanted = [place for place, name in enumerate(names) if name in LID]
    if wanted and anchors is not None and examples.states is not None:
        dimensions = anchors.dimensions(examples.states, examples.groups)
        table[:, wanted] = dimensions[:, [LID.index(names[place]) for place in wanted]]
    for place, name in enumerate(names):
        if name in COLUMNS:
            table[:, place] = examples.features[:, COLUMNS.index(name)]
    return table


def fit_monitor(examples: Examples, settings: FitSettings) -> Fitted:
    """Fit an aggregator.

    The sources are divided into parts. Strength or trees are chosen by the log loss on the parts that a fit has not
    seen (their AUROC would not see how far log-odds of different fits can be compared); calibration and threshold come
    from the log-odds on these parts, with anchors of the other parts only.

    Raises:
        RunError: There are too few sentences of a kind, or too few sources.
    """
    examples = examples.of(examples.placed)
    faithful = int(examples.faithful.sum())
    if min(faithful, len(examples) - faithful) < FEWEST or len(np.unique(examples.groups)) < 2 * settings.folds:
        raise RunError(
            f"{faithful} faithful and {len(examples) - faithful} unfaithful sentences of "
            f"{len(np.unique(examples.groups))} sources teach nothing; {FEWEST} of each and {2 * settings.folds} "
            "sources are the least",
            hint="give more labelled answers",
        )
    parts = folds(examples.groups.tolist(), settings.folds, settings.seed)
    held_out = [_Split(examples, part, settings) for part in parts]
    options: Sequence[float | TreeSettings] = STRENGTHS if settings.kind == "logistic" else _TREES
    logits = {option: np.full(len(examples), np.nan) for option in options}
    for split in held_out:
        for option in options:
            logits[option][split.part] = split.logits(option)
    option = min(options, key=lambda one: _log_loss(logits[one], examples.faithful))
    known = ~np.isnan(logits[option])
    calibration = _curve(settings.curve, logits[option][known], examples.faithful[known])
    said = _calibrated(logits[option][known], calibration)
    threshold = _between(said, best_threshold(said.tolist(), examples.faithful[known].tolist()))
    anchors = choose_anchors(examples, settings.anchors, settings.seed) if set(LID) & set(settings.features) else None
    whole = _Prepared(table_of(examples, settings.features, anchors), examples.faithful, settings)
    chosen = f"strength {option:g}" if isinstance(option, float) else f"{option.rounds} trees of depth {option.depth}"
    return Fitted(
        settings, whole.means, whole.scales, whole.absent, whole.fit(option), chosen, calibration, threshold, anchors
    )


class _Prepared:
    """A training table, and what standardises it."""

    def __init__(self, table: NDArray[np.float64], faithful: NDArray[np.bool_], settings: FitSettings) -> None:
        lacking = np.isnan(table)
        self.absent = (lacking.sum(axis=0) >= FEWEST) & ((~lacking).sum(axis=0) >= FEWEST)
        kept = ~(lacking & ~self.absent).any(axis=1)
        if not kept.any():
            names = [name for name, column in zip(settings.features, lacking.T, strict=True) if column.all()]
            raise RunError(f"no sentence has a value of {', '.join(names)}", hint="leave it out with --without")
        self._table, self._faithful, self._settings = table[kept], faithful[kept], settings
        self.means = np.nanmean(self._table, axis=0)
        deviations = np.nanstd(self._table, axis=0)
        self.scales = np.where(deviations > 0, deviations, 1.0)

    def fit(self, option: float | TreeSettings) -> Logistic | Trees:
        if isinstance(option, TreeSettings):
            return fit_trees(self._table, self._faithful, option)
        return fit(_design(self._table, self.means, self.scales, self.absent), self._faithful, option)


class _Split:
    """One part of the sources held out, with anchors of the others."""

    def __init__(self, examples: Examples, part: NDArray[np.bool_], settings: FitSettings) -> None:
        self.part = part
        seen = examples.of(~part)
        anchors = choose_anchors(seen, settings.anchors, settings.seed) if set(LID) & set(settings.features) else None
        self._prepared = _Prepared(table_of(seen, settings.features, anchors), seen.faithful, settings)
        self._table = table_of(examples.of(part), settings.features, anchors)
        self._most = {depth: max(one.rounds for one in _TREES if one.depth == depth) for depth in _DEPTHS}
        self._grown: dict[int, Trees] = {}

    def logits(self, option: float | TreeSettings) -> NDArray[np.float64]:
        """Log-odds of the part, NaN where they cannot be told, by a fit on the others."""
        prepared = self._prepared
        model = self._trees(option) if isinstance(option, TreeSettings) else prepared.fit(option)
        if isinstance(model, Trees):
            found = model.logits(self._table)
        else:
            found = model.logits(_design(self._table, prepared.means, prepared.scales, prepared.absent))
        found[(np.isnan(self._table) & ~prepared.absent).any(axis=1)] = np.nan
        return found

    def _trees(self, option: TreeSettings) -> Trees:
        """Of one depth the most trees are grown once: fewer are the first of them."""
        if option.depth not in self._grown:
            grown = self._prepared.fit(replace(option, rounds=self._most[option.depth]))
            assert isinstance(grown, Trees)
            self._grown[option.depth] = grown
        return self._grown[option.depth].first(option.rounds)


def _design(
    table: NDArray[np.float64], means: NDArray[np.float64], scales: NDArray[np.float64], absent: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Standardised features, 0 where one lacks, and a column for each absence that counts."""
    standard = np.nan_to_num((table - means) / scales, nan=0.0)
    return np.concatenate([standard, np.isnan(table)[:, absent].astype(np.float64)], axis=1)


def _curve(curve: Curve, logits: NDArray[np.float64], faithful: NDArray[np.bool_]) -> Platt | Isotonic:
    if curve == "platt":
        slope, offset = fit_platt(logits, faithful)
        return Platt(slope=slope, offset=offset)
    corners, values = fit_isotonic(logits, faithful)
    return Isotonic(logits=tuple(corners), probabilities=tuple(values))


def _calibrated(logits: NDArray[np.float64], curve: Platt | Isotonic) -> NDArray[np.float64]:
    if isinstance(curve, Isotonic):
        found: NDArray[np.float64] = np.interp(logits, curve.logits, curve.probabilities)
        return found
    return 0.5 * (1.0 + np.tanh(0.5 * (curve.slope * logits + curve.offset)))


def _between(values: NDArray[np.float64], threshold: float | None) -> float:
    """A threshold midway between the value that is the lowest above it and the next below."""
    assert threshold is not None, "both kinds are there"
    below = values[values < threshold]
    return float((threshold + below.max()) / 2) if len(below) else float(threshold)


def _log_loss(logits: NDArray[np.float64], faithful: NDArray[np.bool_]) -> float:
    """Mean of ``-log p`` of the right labels, over the sentences with log-odds."""
    known = ~np.isnan(logits)
    signs = np.where(faithful[known], -1.0, 1.0)
    return float(np.logaddexp(0.0, signs * logits[known]).mean()) if known.any() else float("inf")
