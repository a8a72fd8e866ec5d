"""What neighbours make of the next token, and how that is mixed with what the model predicts.

Khandelwal and others, "Generalization through Memorization: Nearest Neighbor Language Models", ICLR 2020,
https://arxiv.org/abs/1911.00172, section 2. Shapes: N nodes, k neighbours, V vocabulary.
"""

from __future__ import annotations

import torch


def shares(distances: torch.Tensor, values: torch.Tensor, temperature: float) -> torch.Tensor:
    """Each neighbour's share of the vote ``[N, k]``: ``softmax(-distance / temperature)``; 0 where there is none.

    Args:
        distances: Squared distances ``[N, k]``; infinite where there is no neighbour.
        values: The token that each votes for ``[N, k]``; -1 where there is no neighbour.
        temperature: Above 0, in units of the distances.
    """
    there = (values >= 0) & torch.isfinite(distances)
    scores = torch.where(there, -distances / temperature, -torch.inf)
    best = scores.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)  # finite even where none is
    weights = torch.exp(scores - best)
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)


def votes(share: torch.Tensor, values: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Probability of each token under the neighbours ``[N, V]``: shares of those that vote for it, summed.

    A row without neighbours is 0 everywhere.
    """
    table = share.new_zeros(len(share), vocab_size)
    return table.scatter_add_(1, values.clamp(min=0), torch.where(values >= 0, share, 0.0))


def mix(composed: torch.Tensor, share: torch.Tensor, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``log((1 - weight) exp(composed) + weight votes)``, in log space ``[N, V]``.

    A row whose weight is 0, or that has no neighbours, stays as it is to the last bit. What is impossible in
    ``composed`` stays impossible. Only tokens that some neighbour votes for take more than an addition.

    Args:
        composed: Log-probabilities ``[N, V]``.
        share: Shares of the neighbours ``[N, k]``.
        values: Their tokens ``[N, k]``, -1 where there is none.
        weight: Of the votes, from 0 to below 1 ``[N]``.
    """
    share = share.to(composed.dtype)
    active = (weight > 0) & (share.sum(dim=-1) > 0)
    weight = torch.where(active, weight, 0.0).to(composed.dtype).unsqueeze(-1)  # [N, 1]
    columns = values.clamp(min=0)
    voted = votes(share, values, composed.shape[-1]).gather(1, columns)  # [N, k]
    mixed = composed + torch.log1p(-weight)
    own = mixed.gather(1, columns)
    # a column without a vote is column 0 of a neighbour that is not there: its own vote counts, if it has one
    together = torch.where(voted > 0, torch.logaddexp(own, torch.log(weight * voted)), own)
    mixed.scatter_(1, columns, torch.where(torch.isneginf(own), own, together))
    return torch.where(active.unsqueeze(-1), mixed, composed)


def entropy_gate(
    composed: torch.Tensor, share: torch.Tensor, values: torch.Tensor, weight: float, least: float
) -> torch.Tensor:
    """Weight of the votes at each node ``[N]``: none where the model is sure, less where the neighbours are not.

    ``weight * [H(composed) > least] * (1 - H(votes) / log k)``, entropies in nats, k the neighbours that are there. It
    needs no training.

    Args:
        composed: Log-probabilities ``[N, V]``, normalised.
        share: Shares of the neighbours ``[N, k]``.
        values: Their tokens ``[N, k]``, -1 where there is none.
        weight: Largest weight.
        least: Entropy of the model, in nats, up to which the neighbours are not asked.
    """
    table = votes(share, values, composed.shape[-1])
    voted = -torch.xlogy(table, table).sum(dim=-1)
    probs = composed.exp()
    unsure = -torch.where(probs > 0, probs * composed, 0.0).sum(dim=-1)
    present = (values >= 0).sum(dim=-1).clamp(min=2).to(voted.dtype)
    return weight * (unsure > least).to(voted.dtype) * (1 - voted / torch.log(present)).clamp(min=0.0, max=1.0)
