"""Local intrinsic dimension of states among anchors (Levina and Bickel; for hallucinations: arXiv 2402.18048)."""

from __future__ import annotations

import torch


def local_dimension(states: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Local intrinsic dimension of states, ``[N]``.

    With the distances r_1 <= ... <= r_k to the k nearest anchors: ``-1 / mean_j log(r_j / r_k)``, where the mean
    runs over all k terms, the last of which is 0, and k is the number of anchors less one. Where that is infinite
    (all are equally far), the ambient dimension.

    Args:
        states: The states ``[N, H]``.
        anchors: States of faithful sentences ``[A, H]``, at least two.
    """
    wide = states if states.dtype is torch.float64 else states.float()
    distances = torch.cdist(wide, anchors.to(wide)).sort(dim=-1).values[:, : len(anchors) - 1]  # [N, k]
    tiny = torch.finfo(wide.dtype).tiny
    ratios = distances.clamp(min=tiny).log() - distances[:, -1:].clamp(min=tiny).log()
    dimension = -1.0 / ratios.mean(-1)
    ambient = torch.full_like(dimension, float(states.shape[-1]))
    return torch.where(dimension.isfinite(), dimension, ambient)
