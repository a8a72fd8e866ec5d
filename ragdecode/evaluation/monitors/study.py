"""Figures of monitors on labelled sentences: single features, groups of them, aggregators, other data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.decoding.faithfulness.features import FEATURES, LID
from ragdecode.evaluation.learning.logistic import folds
from ragdecode.evaluation.metrics.detection import labelled_auroc
from ragdecode.evaluation.monitors.anchors import choose_anchors
from ragdecode.evaluation.monitors.crossing import Unseen, cross_validate
from ragdecode.evaluation.monitors.examples import COLUMNS, GROUPS, Examples
from ragdecode.evaluation.monitors.figures import Figure, Figures, answer_flags, answer_scores, figures
from ragdecode.evaluation.monitors.fitting import FitSettings, Fitted, Kind, table_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Which way each feature is read: 1 if higher is more faithful. Fixed beforehand, by what the methods say of them.
DIRECTIONS: Mapping[str, int] = {
    "max_entropy": -1,
    "mean_entropy": -1,
    **dict.fromkeys(LID, -1),
    "min_prob": 1,
    "mean_prob": 1,
    "mean_kl": 1,
    "large_kl_count": 1,
    "alignment": 1,
    "n_tokens": -1,
}
_RESAMPLES = 1000


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        name: What was judged by.
        how: ``feature``, ``baseline``, ``unsupervised``, ``logistic`` or ``trees``.
        sentences: Figures on sentences.
        answers: Figures on answers, each by its worst sentence.
    """

    name: str
    how: str
    sentences: Figures
    answers: Figures

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "how": self.how,
            "sentences": self.sentences.to_json(),
            "answers": self.answers.to_json(),
        }


def judge(
    name: str,
    how: str,
    examples: Examples,
    scores: NDArray[np.float64],
    flagged: NDArray[np.bool_] | None = None,
    *,
    probabilities: bool = False,
) -> Row:
    """Figures of scores, higher for more faithful sentences; sentences of unknown label count for answers only."""
    known = examples.placed
    return Row(
        name,
        how,
        figures(
            scores[known],
            examples.faithful[known],
            examples.groups[known],
            flagged=None if flagged is None else flagged[known],
            probabilities=probabilities,
        ),
        figures(
            answer_scores(examples, scores),
            ~examples.unfaithful,
            examples.answer_groups,
            flagged=None if flagged is None else answer_flags(examples, flagged),
            probabilities=False,
        ),
    )


def single_features(examples: Examples, settings: FitSettings) -> list[tuple[str, NDArray[np.float64]]]:
    """Every feature alone, turned so that higher should be more faithful.

    The local dimension is measured by cross-validation: with anchors of the other folds only.
    """
    found = []
    for name in FEATURES:
        if name in COLUMNS:
            values = examples.features[:, COLUMNS.index(name)]
        else:
            values = np.full(len(examples), np.nan)
            for part in folds(examples.groups.tolist(), settings.folds, settings.seed):
                anchors = choose_anchors(examples.of(~part), settings.anchors, settings.seed)
                values[part] = table_of(examples.of(part), (name,), anchors)[:, 0]
        found.append((name, DIRECTIONS[name] * values))
    return found


def feature_sets() -> dict[str, tuple[str, ...]]:
    """The sets of features of the report: each group, all, and all but what costs something."""
    sets = {name: names for name, names in GROUPS.items() if name != "length"}
    sets["all"] = FEATURES
    sets["all but lid"] = tuple(name for name in FEATURES if name not in LID)
    sets["all but lid and influence"] = tuple(name for name in sets["all but lid"] if name not in GROUPS["influence"])
    return sets


def cross_validated(
    examples: Examples,
    kinds: Sequence[Kind],
    settings: FitSettings,
    tell: Callable[[str, int, int], None],
) -> list[tuple[str, Kind, Unseen]]:
    """Every set of features with every kind of aggregator, on sources that were not seen.

    A set that cannot be measured (no states for the local dimension) is left out.
    """
    found: list[tuple[str, Kind, Unseen]] = []
    sets = feature_sets()
    if examples.states is None:
        sets = {name: names for name, names in sets.items() if not set(names) & set(LID)}
    total = len(sets) * len(kinds)
    for number, (name, names) in enumerate(sets.items()):
        for at, kind in enumerate(kinds):
            tell(f"cross-validation ({name})", number * len(kinds) + at, total)
            unseen = cross_validate(examples, replace(settings, kind=kind, features=names))
            found.append((name, kind, unseen))
    return found


def difference(examples: Examples, one: NDArray[np.float64], other: NDArray[np.float64], *, seed: int = 0) -> Figure:
    """How much higher the AUROC of one score is on sentences, with a paired 95 % interval over sources."""
    known = ~np.isnan(one) & ~np.isnan(other) & examples.placed
    label, group = examples.faithful[known], examples.groups[known]
    scores = one[known], other[known]
    members = [np.flatnonzero(group == name) for name in np.unique(group)]

    def gap(rows: NDArray[np.int64]) -> float | None:
        values = [labelled_auroc(score[rows].tolist(), label[rows].tolist()) for score in scores]
        return None if values[0] is None or values[1] is None else values[0] - values[1]

    chance = np.random.default_rng(seed)
    draws = (chance.integers(len(members), size=len(members)) for _ in range(_RESAMPLES if members else 0))
    gaps = [value for draw in draws if (value := gap(np.concatenate([members[at] for at in draw]))) is not None]
    value = gap(np.arange(len(label))) if len(label) else None
    if value is None or not gaps:
        return Figure(value)
    low, high = np.quantile(gaps, [0.025, 0.975])
    return Figure(value, float(low), float(high))


def transferred(fitted: Fitted, name: str, examples: Examples) -> Row:
    """Figures of a fitted monitor on data of another kind, at its own threshold."""
    said = fitted.probabilities(examples)
    return judge(name, fitted.settings.kind, examples, said, said < fitted.threshold, probabilities=True)
