"""Transforms of the composed distribution, applied once, after rules and constraints."""

from __future__ import annotations

import math

import torch

from ragdecode.decoding.request import Sampling

_NEG = float("-inf")


def penalise(scores: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Multiply the log-probabilities ``[N, V]`` of tokens that the answer holds (``seen``, bool ``[N, V]``).

    Log-probabilities are never positive, so the penalty always multiplies; it is not the division by sign of
    raw logits (CTRL, arXiv 1909.05858), whose strength would depend on the logits' offset.
    """
    return torch.where(seen, scores * penalty, scores)


def warp(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Temperature, then top-k, top-p and min-p on ``scores [N, V]``; the kept ones renormalised, float32 or better.

    Ties at a threshold stay in. At temperature 0 nothing is done: the argmax is taken.
    """
    if sampling.temperature == 0:
        return scores
    # the best score is moved to 0 first: dividing by a tiny temperature must not take all of them to -inf
    scores = (scores - scores.amax(dim=-1, keepdim=True)) / sampling.temperature
    scores = torch.log_softmax(scores, dim=-1)
    if 0 < sampling.top_k < scores.shape[-1]:
        threshold = scores.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < threshold, _NEG)
    if sampling.top_p < 1:
        scores = torch.log_softmax(scores, dim=-1)
        ordered = scores.sort(dim=-1, descending=True).values
        mass_before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        # the last token of the nucleus is the first with enough mass up to and including it
        kept = (mass_before < sampling.top_p).sum(dim=-1, keepdim=True)
        scores = scores.masked_fill(scores < ordered.gather(-1, (kept - 1).clamp(min=0)), _NEG)
    if sampling.min_p > 0:
        best = scores.max(dim=-1, keepdim=True).values
        scores = scores.masked_fill(scores < best + math.log(sampling.min_p), _NEG)
    return torch.log_softmax(scores, dim=-1)
