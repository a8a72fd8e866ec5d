"""A trained monitor as it is used, on labelled answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ragdecode.decoding.aggregators.trained import Trained, TrainedSettings
from ragdecode.decoding.aggregators.unsupervised import Unsupervised
from ragdecode.decoding.faithfulness.dimension import local_dimension
from ragdecode.decoding.faithfulness.features import FEATURES, LID, SentenceFeatures
from ragdecode.errors import InputError
from ragdecode.evaluation.monitors.examples import COLUMNS
from ragdecode.evaluation.monitors.study import Row, judge
from ragdecode.spec.settings import NoSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.decoding.faithfulness.aggregator import Aggregator
    from ragdecode.evaluation.monitors.examples import Examples
    from ragdecode.evaluation.monitors.labelled import LabelledData
    from ragdecode.evaluation.monitors.preparing import Bench
    from ragdecode.spec.trained_monitor import TrainedMonitorSpec


def evaluate_monitor(bench: Bench, data: LabelledData, spec: TrainedMonitorSpec) -> list[Row]:
    """Figures of a trained monitor and, beside it, of the aggregator that needs no training.

    Raises:
        InputError: The monitor was trained for another model, its file is damaged, or nothing could be read.
    """
    trained = Trained(TrainedSettings(monitor=spec))
    trained.meet(bench.backend)
    examples = bench.examples(data)
    if not len(examples):
        raise InputError(f"no answer of {data.name} could be read", hint="; ".join(data.tally.lines()) or None)
    scores = scores_by(trained, examples)
    plain = Unsupervised(NoSettings())
    bare = scores_by(plain, examples)
    return [
        judge("trained", spec.kind, examples, scores, scores < trained.threshold, probabilities=True),
        judge("unsupervised", "unsupervised", examples, bare, bare < plain.threshold),
    ]


def scores_by(aggregator: Aggregator, examples: Examples) -> NDArray[np.float64]:
    """What an aggregator that met its model makes of sentences ``[n]``, as in decoding; NaN where it gives none."""
    import torch

    dimensions = np.full((len(examples), len(LID)), np.nan)
    if examples.states is not None:
        for place, name in enumerate(LID):
            if name in aggregator.anchors:
                states = torch.from_numpy(examples.states[:, place].astype(np.float32))
                dimensions[:, place] = local_dimension(states, aggregator.anchors[name]).double().numpy()
    table = np.concatenate([examples.features, dimensions], axis=1)
    found = np.full(len(examples), np.nan)
    for place, values in enumerate(table.tolist()):
        known = dict(zip((*COLUMNS, *LID), values, strict=True))
        features = SentenceFeatures({name: None if np.isnan(known[name]) else known[name] for name in FEATURES})
        score = aggregator.score(features)
        if score is not None:
            found[place] = score
    return found
