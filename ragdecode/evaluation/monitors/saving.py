"""Fitted aggregators as files: YAML that people can read, and a safetensors file for trees and anchors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragdecode.decoding.faithfulness.features import LID
from ragdecode.evaluation.learning.trees import Trees
from ragdecode.evaluation.monitors.fitting import Fitted
from ragdecode.spec.dump import plain
from ragdecode.spec.trained_monitor import TrainedFeature, TrainedMonitorSpec, TrainedOn

_TREES = ("roots", "feature", "threshold", "missing_left", "left", "right", "value")
#: How the threshold is chosen; it stands in every file.
CRITERION = "best balanced accuracy on sentences of sources held out in cross-validation"


@dataclass(frozen=True)
class Saved:
    """A monitor as files.

    Attributes:
        spec: The YAML file; without the name of the arrays' file if there are none.
        arrays: The safetensors file, if it needs one.
    """

    spec: TrainedMonitorSpec
    arrays: bytes | None


def save(
    fitted: Fitted,
    *,
    model: str,
    prompt: str,
    aligner: str,
    description: str,
    data: Sequence[TrainedOn],
    figures: Mapping[str, float | None],
    arrays_file: str,
) -> Saved:
    """The files of a fitted aggregator.

    Args:
        fitted: The aggregator.
        model: Fingerprint of the model.
        prompt: Name of the prompt.
        aligner: Label of the aligner.
        description: One line for people.
        data: What it was trained on.
        figures: How well it does on sources that were not seen.
        arrays_file: Name of the file for the arrays, beside the YAML.
    """
    from safetensors.numpy import save as packed

    names = fitted.settings.features
    tables: dict[str, np.ndarray] = {}
    if isinstance(fitted.model, Trees):
        tables |= {name: np.ascontiguousarray(getattr(fitted.model, name)) for name in _TREES}
        coefficients, absences = np.zeros(len(names)), np.zeros(len(names))
    else:
        coefficients, absences = fitted.model.coefficients[: len(names)], np.zeros(len(names))
        absences[fitted.absent] = fitted.model.coefficients[len(names) :]
    if fitted.anchors is not None:
        for name in LID:
            if name in names:
                tables[name] = np.ascontiguousarray(fitted.anchors.states[:, LID.index(name)])
    arrays = packed(tables) if tables else None
    features = tuple(
        TrainedFeature(name=name, mean=mean, scale=scale, coefficient=weight, missing=absence if known else None)
        for name, mean, scale, weight, absence, known in zip(
            names,
            fitted.means.tolist(),
            fitted.scales.tolist(),
            coefficients.tolist(),
            absences.tolist(),
            fitted.absent.tolist(),
            strict=True,
        )
    )
    spec = TrainedMonitorSpec(
        description=description,
        model=model,
        kind=fitted.settings.kind,
        prompt=prompt,
        aligner=aligner,
        features=features,
        intercept=fitted.model.intercept,
        calibration=fitted.calibration,
        threshold=fitted.threshold,
        criterion=CRITERION,
        arrays=arrays_file if arrays is not None else None,
        sha256=hashlib.sha256(arrays).hexdigest() if arrays is not None else "",
        data=tuple(data),
        figures=dict(figures),
    )
    return Saved(spec, arrays)


def to_yaml(spec: TrainedMonitorSpec) -> str:
    """The YAML of a monitor: a line a key, a feature, a data set."""
    lines = []
    for key, value in plain(spec).items():
        if value in (None, "", [], {}):
            continue
        if key in ("features", "data"):
            lines.append(f"{key}:\n")
            lines += [f"  - {_flow(one)}\n" for one in value]
        else:
            lines.append(f"{key}: {_flow(value)}\n")
    return "".join(lines)


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items() if one is not None) + "}"
    return json.dumps(value, ensure_ascii=False)
