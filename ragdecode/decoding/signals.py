"""What is read from the device after a step: picked tokens and their signals, in one transfer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ragdecode.decoding.compose import Composed
from ragdecode.decoding.request import TARGET, Alternative


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
    choices: dict[str, int]
    alternatives: Sequence[Alternative]


def read(batch: Sequence[Composed]) -> list[list[NodeSignals]]:
    """Signals of every node of every request; synchronises with the device once."""
    packed = [_pack(item) for item in batch]  # each [N, C]
    flat = torch.cat([table.flatten() for table in packed]).tolist()
    results = []
    start = 0
    for item, table in zip(batch, packed, strict=True):
        rows, width = table.shape
        results.append([_unpack(item, flat[start + node * width : start + (node + 1) * width]) for node in range(rows)])
        start += rows * width
    return results


def _pack(item: Composed) -> torch.Tensor:
    active = item.predicted.active
    picked = item.picked[:, None]  # [N, 1]
    columns = [picked, item.dead[:, None], item.log_probs.gather(-1, picked)]
    columns += [table.gather(-1, picked) for table in item.views.values()]
    if active.wants_entropy:
        finite = item.log_probs.clamp(min=torch.finfo(item.log_probs.dtype).min)
        columns.append(-(finite.exp() * finite).sum(-1, keepdim=True))
    if active.wants_divergence:
        target = item.views[TARGET]  # a rule that runs another model in its place goes with no such monitor
        for view, table in item.views.items():
            if view != TARGET:
                columns.append(_divergence(target, table))
    columns += [value[:, None] for value in item.told.values()]
    if k := min(active.request.alternatives, item.log_probs.shape[-1]):
        best = item.log_probs.topk(k, dim=-1)
        columns += [table.argmax(-1, keepdim=True) for table in item.views.values()]
        columns += [best.indices, best.values]
        columns += [table.gather(-1, best.indices) for table in item.views.values()]
    # float32 holds the ids of any vocabulary exactly (below 2^24), and not every device has float64
    return torch.cat([column.to(item.log_probs.dtype) for column in columns], dim=-1)


def _divergence(target: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(target || other) in nats ``[N, 1]`` of log-probabilities ``[N, V]``; finite, impossible tokens included."""
    floor = -1e4  # a probability of 0 in the other view would make it infinite, 0 in both undefined
    return (target.exp() * (target.clamp(min=floor) - other.clamp(min=floor))).sum(-1, keepdim=True)


def _unpack(item: Composed, values: list[float]) -> NodeSignals:
    active, views = item.predicted.active, list(item.views)
    rest = iter(values)
    token, dead, logprob = int(next(rest)), bool(next(rest)), next(rest)
    by_view = {view: next(rest) for view in views}
    entropy = next(rest) if active.wants_entropy else None
    divergence = {view: next(rest) for view in views if view != TARGET} if active.wants_divergence else {}
    rules = {name: next(rest) for name in item.told}
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
    return NodeSignals(token, dead, logprob, by_view, entropy, divergence, rules, choices, alternatives)
