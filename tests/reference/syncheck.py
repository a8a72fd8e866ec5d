"""SynCheck's features from their definitions: two whole passes over the finished answer, float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch

from tests.reference.llama import PlainLlama, states


@cache
def distributions(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> torch.Tensor:
    """Distributions [n, V] that produced each answer token: the plain forward over prompt and answer."""
    logits = PlainLlama(model)(torch.tensor([[*prompt, *answer]])).logits[0]
    return torch.softmax(logits, dim=-1)[len(prompt) - 1 : len(prompt) - 1 + len(answer)]


@cache
def after_blocks(model: Any, ids: tuple[int, ...], count: int) -> torch.Tensor:
    """The residual stream [T, H] after so many blocks."""
    config = {**model.config.to_dict(), "num_hidden_layers": count}
    theta = config["rope_parameters"]["rope_theta"]
    return states(config, model.state_dict(), list(ids), theta, normed=False)


def dimension(query: torch.Tensor, anchors: torch.Tensor) -> float:
    """- 1 / mean_j log(r_j / r_k) over the k = |A| - 1 nearest anchors, the last term being 0."""
    distances = sorted(math.dist(query.tolist(), anchor.tolist()) for anchor in anchors)[: len(anchors) - 1]
    mean = sum(math.log(r / distances[-1]) for r in distances) / len(distances)
    return -1 / mean if mean else float(len(query))


def features(
    model: Any,
    with_context: Sequence[int],
    without: Sequence[int] | None,
    answer: Sequence[int],
    sentence: range,
    anchors: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, float | None]:
    """All features of one sentence but its alignment.

    Args:
        model: A stock Llama.
        with_context: The prompt with the evidence.
        without: The prompt without it, if there is one.
        answer: The whole answer.
        sentence: Its positions in the answer.
        anchors: States by feature name, for the dimensions; ``lid_15`` is measured after round(L * 15 / 32) blocks.
    """
    p = distributions(model, tuple(with_context), tuple(answer))
    entropies = [-sum(v * math.log(v) for v in p[t].tolist() if v > 0) for t in sentence]
    chances = [float(p[t, answer[t]]) for t in sentence]
    found: dict[str, float | None] = {
        "max_entropy": max(entropies),
        "mean_entropy": sum(entropies) / len(entropies),
        "min_prob": min(chances),
        "mean_prob": sum(chances) / len(chances),
        "n_tokens": float(len(sentence)),
        "mean_kl": None,
        "large_kl_count": None,
        "lid_15": None,
        "lid_16": None,
        "lid_17": None,
    }
    if without is not None:
        r = distributions(model, tuple(without), tuple(answer))
        kl = [float((p[t] * (p[t].log() - r[t].log())).sum()) for t in sentence]
        found["mean_kl"] = sum(kl) / len(kl)
        found["large_kl_count"] = float(len([value for value in kl if value > 3.0]))
    for name, bank in (anchors or {}).items():
        after = round(model.config.num_hidden_layers * int(name.removeprefix("lid_")) / 32)
        read = after_blocks(model, (*with_context, *answer), after)
        found[name] = dimension(read[len(with_context) + sentence[-1]], bank)
    return found
