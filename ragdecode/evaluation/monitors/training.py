"""Trains a monitor from labelled answers and says how well it does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.decoding.faithfulness.features import FEATURES, LID
from ragdecode.errors import InputError
from ragdecode.evaluation.monitors.crossing import cross_validate
from ragdecode.evaluation.monitors.examples import GROUPS, Examples
from ragdecode.evaluation.monitors.figures import Figure
from ragdecode.evaluation.monitors.fitting import FitSettings, Fitted, fit_monitor
from ragdecode.evaluation.monitors.saving import Saved, save
from ragdecode.evaluation.monitors.study import Row, judge
from ragdecode.spec.trained_monitor import TrainedOn

if TYPE_CHECKING:
    from ragdecode.evaluation.monitors.labelled import LabelledData
    from ragdecode.evaluation.monitors.preparing import Bench


@dataclass(frozen=True)
class TrainedMonitor:
    """A trained monitor.

    Attributes:
        fitted: What was fitted to all sentences.
        saved: The same as files.
        unseen: How well fits of the same kind do on sources that they have not seen.
    """

    fitted: Fitted
    saved: Saved
    unseen: Row

    def lines(self) -> list[str]:
        """For people."""
        one = self.unseen.sentences
        return [
            f"{self.fitted.settings.kind}, {self.fitted.chosen}, threshold {self.fitted.threshold:.3f}",
            f"sentences of sources not seen: AUROC {shown(one.auroc)}, AUPRC {shown(one.auprc)} (base rate "
            f"{one.base_rate:.3f}), balanced accuracy {shown(one.balanced)}, ECE {shown(one.ece)}",
        ]


def shown(figure: Figure) -> str:
    """A figure with its interval."""
    if figure.value is None:
        return "none"
    ends = "" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{ends}"


def features_without(groups: Collection[str]) -> tuple[str, ...]:
    """All features but those of some groups.

    Raises:
        InputError: None is left.
    """
    left = tuple(name for name in FEATURES if not any(name in GROUPS[group] for group in groups))
    if not left:
        raise InputError("--without leaves no feature")
    return left


def train_monitor(
    bench: Bench,
    data: Sequence[LabelledData],
    settings: FitSettings,
    out: Path,
    *,
    prompt: str,
    licences: Sequence[str] = (),
) -> TrainedMonitor:
    """Read the answers, fit, and measure.

    Raises:
        InputError: The model tells no states, and the local dimension is asked for.
        RunError: There are too few sentences of a kind, or too few sources.
    """
    tables = [bench.examples(one) for one in data]
    examples = joined(tables)
    if examples.states is None and set(settings.features) & set(LID):
        raise InputError(
            "this backend does not tell the states of middle layers, which lid is measured on", hint="--without lid"
        )
    fitted = fit_monitor(examples, settings)
    unseen = cross_validate(
        examples,
        settings,
        tell=lambda done, total: bench.progress("cross-validation", done, total),
    )
    row = judge("all", settings.kind, examples, unseen.probabilities, unseen.flagged, probabilities=True)
    facts = tuple(
        TrainedOn(
            name=one.name,
            licence=licences[place] if place < len(licences) else "",
            sources=len(np.unique(table.groups[table.placed])),
            answers=len(np.unique(table.answers[table.placed])),
            sentences=int(table.placed.sum()),
            unfaithful=int((~table.faithful & table.placed).sum()),
        )
        for place, (one, table) in enumerate(zip(data, tables, strict=True))
    )
    figures = {
        "auroc": row.sentences.auroc.value,
        "auroc_low": row.sentences.auroc.low,
        "auroc_high": row.sentences.auroc.high,
        "auprc": row.sentences.auprc.value,
        "base_rate": row.sentences.base_rate,
        "balanced_accuracy": row.sentences.balanced.value,
        "ece": row.sentences.ece.value,
        "answer_auroc": row.answers.auroc.value,
    }
    figures = {name: None if value is None else round(value, 4) for name, value in figures.items()}
    names = " and ".join(one.name for one in facts)
    description = (
        f"Faithful sentences for {bench.model.spec.name or bench.model.path.name}, by {settings.kind} on {names}: "
        f"AUROC {shown(row.sentences.auroc)} on sources not seen."
    )
    saved = save(
        fitted,
        model=bench.model.heads_fingerprint,
        prompt=prompt,
        aligner=bench.aligner.label,
        description=description,
        data=facts,
        figures=figures,
        arrays_file=out.with_suffix(".safetensors").name,
    )
    return TrainedMonitor(fitted, saved, row)


def joined(tables: Sequence[Examples]) -> Examples:
    """Sentences of several data sets as one table; states only if all of them have them."""
    first = np.cumsum([0, *(len(table.unfaithful) for table in tables)])
    states = [table.states for table in tables if table.states is not None]

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(table, name) for table in tables])

    return Examples(
        features=together("features"),
        states=np.concatenate(states) if len(states) == len(tables) else None,
        similarity=together("similarity"),
        faithful=together("faithful"),
        placed=together("placed"),
        groups=together("groups"),
        answers=np.concatenate([table.answers + at for table, at in zip(tables, first[:-1], strict=True)]),
        unfaithful=together("unfaithful"),
        answer_groups=together("answer_groups"),
    )
