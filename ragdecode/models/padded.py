"""Texts to padded batches of ids, similar lengths together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragdecode.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tokenizers
    import torch


@dataclass(frozen=True)
class Batch:
    """Some texts, padded on the right.

    Attributes:
        places: Index of each text among all.
        ids: ``[B, L]``.
        types: Segment of each token (0 or 1), ``[B, L]``.
        mask: True at tokens ``[B, L]``.
    """

    places: list[int]
    ids: torch.Tensor
    types: torch.Tensor
    mask: torch.Tensor


class PaddedInputs:
    """Makes batches with the special tokens that a model was trained with, cut at ``max_tokens``."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._fast = free_of_specials(tokenizer)
        self._fast.enable_truncation(max_tokens)
        pad = tokenizer.named_tokens.get("pad_token", "")
        self._pad = tokenizer.special_tokens.get(pad, 0)

    def batches(self, inputs: Sequence[str] | Sequence[tuple[str, str]], size: int) -> Iterator[Batch]:
        """Batches of at most ``size``, longest first, so that memory runs out at once or never."""
        import torch

        encodings = self._fast.encode_batch(list(inputs), add_special_tokens=True)
        order = sorted(range(len(encodings)), key=lambda place: -len(encodings[place].ids))
        for start in range(0, len(order), size):
            places = order[start : start + size]
            length = max(1, len(encodings[places[0]].ids))
            ids = torch.full((len(places), length), self._pad, dtype=torch.long)
            types = torch.zeros_like(ids)
            mask = torch.zeros_like(ids, dtype=torch.bool)
            for row, place in enumerate(places):
                encoding = encodings[place]
                count = len(encoding.ids)
                ids[row, :count] = torch.tensor(encoding.ids)
                types[row, :count] = torch.tensor(encoding.type_ids)
                mask[row, :count] = True
            yield Batch(places, ids, types, mask)

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids that are at hand already as ``[B, L]``, and where there are tokens."""
        import torch

        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = True
        return ids, mask


def free_of_specials(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """A copy for untrusted text, which must not write the tokens that separate its segments."""
    from tokenizers import Tokenizer as Fast

    fast: tokenizers.Tokenizer = Fast.from_str(tokenizer.fast.to_str())
    fast.encode_special_tokens = True
    return fast
