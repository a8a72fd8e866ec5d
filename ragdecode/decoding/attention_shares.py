"""How attention heads share their attention out over the tokens of the evidence."""

from __future__ import annotations

from collections.abc import Sequence

import torch

#: Attention on the whole evidence below which a head counts as looking elsewhere.
_LEAST = 1e-8


class Shares:
    """The places of the evidence in a prompt, grouped by token.

    Args:
        prompt: Token ids.
        spans: Places of the evidence; overlapping ones count once.

    Attributes:
        tokens: The distinct token ids of the evidence ``[U]``, in order.
    """

    def __init__(self, prompt: Sequence[int], spans: Sequence[range]) -> None:
        places = sorted({place for span in spans for place in span})
        self._places = torch.tensor(places)
        ids = torch.tensor([prompt[place] for place in places])
        self.tokens, self._token, counts = ids.unique(return_inverse=True, return_counts=True)
        self._counts = counts

    def of(self, attention: torch.Tensor) -> torch.Tensor:
        """Each token's share ``[*, U]`` of the attention ``[*, S]`` over a prompt of S tokens.

        A token's attention is the mean over its places; the shares of all tokens add up to 1, or to less where there is
        next to no attention on the evidence.
        """
        device = attention.device
        seen = attention[..., self._places.to(device)]
        sums = seen.new_zeros(*seen.shape[:-1], len(self.tokens)).index_add_(-1, self._token.to(device), seen)
        means = sums / self._counts.to(sums)
        shares: torch.Tensor = means / means.sum(dim=-1, keepdim=True).clamp(min=_LEAST)
        return shares
