"""What is read from the device after a step: picked tokens and their signals, in one transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ragdecode.decoding.compose import Composed
from ragdecode.decoding.divergence import entropy, kl
from ragdecode.decoding.monitor import Seen
from ragdecode.decoding.request import TARGET, Alternative

#: What each monitor of a request measures at its N nodes ``[N]``, by name.
Measures = Sequence[Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class NodeSignals:
    """What was predicted after one node.

    Attributes:
        token: The picked token.
        dead: Everything was forbidden; the token means nothing.
        logprob: The token's composed log-probability.
        views: Its log-probability in each view.
        entropy: Entropy of the composed distribution in nats, or None.
        divergence: KL(target || view) in nats by view, if asked for.
        rules: What rules tell, as ``rule.name``, if asked for.
        measured: What monitors measure, by the monitor's place among the request's and the measure's name.
        choices: Most probable token of each view, if alternatives were asked for.
        alternatives: The best tokens, if asked for.
    """

    token: int
    dead: bool
    logprob: float
    views: dict[str, float]
    entropy: float | None
    divergence: dict[str, float]
    rules: dict[str, float]
    measured: list[dict[str, float]]
    choices: dict[str, int]
    alternatives: Sequence[Alternative]


def read(batch: Sequence[Composed]) -> list[list[NodeSignals]]:
    """Signals of every node of every request; synchronises with the device once."""
    measures = [_measured(item) for item in batch]
    packed = [_pack(item, own) for item, own in zip(batch, measures, strict=True)]  # each [N, C]
    flat = torch.cat([table.flatten() for table in packed]).tolist()
    results = []
    start = 0
    for item, own, table in zip(batch, measures, packed, strict=True):
        rows, width = table.shape
        results.append(
            [_unpack(item, own, flat[start + node * width : start + (node + 1) * width]) for node in range(rows)]
        )
        start += rows * width
    return results


def _pack(item: Composed, measures: Measures) -> torch.Tensor:
    active = item.predicted.active
    picked = item.picked[:, None]  # [N, 1]
    columns = [picked, item.dead[:, None], item.log_probs.gather(-1, picked)]
    columns += [table.gather(-1, picked) for table in item.views.values()]
    if active.wants_entropy:
        columns.append(entropy(item.log_probs)[:, None])
    if active.wants_divergence:
        target = item.views[TARGET]  # a rule that runs another model in its place goes with no such monitor
        for view, table in item.views.items():
            if view != TARGET:
                columns.append(kl(target, table)[:, None])
    columns += [value[:, None] for value in item.told.values()]
    columns += [value[:, None] for own in measures for value in own.values()]
    if k := min(active.request.alternatives, item.log_probs.shape[-1]):
        best = item.log_probs.topk(k, dim=-1)
        columns += [table.argmax(-1, keepdim=True) for table in item.views.values()]
        columns += [best.indices, best.values]
        columns += [table.gather(-1, best.indices) for table in item.views.values()]
    # float32 holds the ids of any vocabulary exactly (below 2^24), and not every device has float64
    return torch.cat([column.to(item.log_probs.dtype) for column in columns], dim=-1)


def _measured(item: Composed) -> list[Mapping[str, torch.Tensor]]:
    seen = Seen(item.views, item.predicted.states)
    return [part.measure(seen) if part.measures else {} for part in item.predicted.active.request.monitors]


def _unpack(item: Composed, measures: Measures, values: list[float]) -> NodeSignals:
    active, views = item.predicted.active, list(item.views)
    rest = iter(values)
    token, dead, logprob = int(next(rest)), bool(next(rest)), next(rest)
    by_view = {view: next(rest) for view in views}
    entropy = next(rest) if active.wants_entropy else None
    divergence = {view: next(rest) for view in views if view != TARGET} if active.wants_divergence else {}
    rules = {name: next(rest) for name in item.told}
    measured = [{name: next(rest) for name in own} for own in measures]
    choices: dict[str, int] = {}
    alternatives: list[Alternative] = []
    if k := min(active.request.alternatives, item.log_probs.shape[-1]):
        choices = {view: int(next(rest)) for view in views}
        tokens = [int(next(rest)) for _ in range(k)]
        scores = [next(rest) for _ in range(k)]
        tables = {view: [next(rest) for _ in range(k)] for view in views}
        alternatives = [
            Alternative(tokens[i], scores[i], {view: table[i] for view, table in tables.items()}) for i in range(k)
        ]
    return NodeSignals(token, dead, logprob, by_view, entropy, divergence, rules, measured, choices, alternatives)
