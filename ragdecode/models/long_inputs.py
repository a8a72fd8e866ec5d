"""Texts longer than a sentence encoder's window, without training it anew.

Zhu and others, "LongEmbed: Extending Embedding Models for Long Context Retrieval", EMNLP 2024, arXiv 2404.12096. A text
of n tokens and a window of L give the factor ``s = ceil(n / L)``; texts within the window are none of this module's
business, so that their vectors stay those of the plain encoder to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragdecode.models.padded import free_of_specials

if TYPE_CHECKING:
    import torch

    from ragdecode.models.tokenizer import Tokenizer
    from ragdecode.spec.model import LongInputs

#: windows that stretched positions reach over; attention over more grows with the square
REACH = 16


@dataclass(frozen=True)
class LongText:
    """A text that does not fit.

    Attributes:
        place: Its index among all texts.
        ids: All its token ids, special ones included.
        before: Special tokens at its beginning.
        after: Special tokens at its end.
    """

    place: int
    ids: list[int]
    before: int
    after: int

    def chunks(self, window: int) -> list[list[int]]:
        """Its ids in windows, each with the special tokens; the last overlaps the one before, so that it is full."""
        end = len(self.ids) - self.after
        size = window - self.before - self.after
        starts = [*range(self.before, end - size, size), end - size]
        return [self.ids[: self.before] + self.ids[at : at + size] + self.ids[end:] for at in starts]

    def within(self, limit: int) -> list[int]:
        """Its ids, the end of the text left out if there are more than ``limit``."""
        if len(self.ids) <= limit:
            return self.ids
        end = len(self.ids) - self.after
        return self.ids[: limit - self.after] + self.ids[end:]


class Measure:
    """Tells texts that fit a window from those that do not."""

    def __init__(self, tokenizer: Tokenizer, window: int) -> None:
        self._fast = free_of_specials(tokenizer)
        self._fast.no_truncation()
        self._window = window

    def split(self, texts: Sequence[str]) -> tuple[list[int], list[LongText]]:
        """Places of texts within the window, and the others."""
        fitting: list[int] = []
        beyond: list[LongText] = []
        for place, encoding in enumerate(self._fast.encode_batch(list(texts), add_special_tokens=True)):
            if len(encoding.ids) <= self._window:
                fitting.append(place)
                continue
            special = encoding.special_tokens_mask
            before, after = special.index(0), special[::-1].index(0)
            beyond.append(LongText(place, encoding.ids, before, after))
        return fitting, beyond


def positions(length: int, window: int, mode: LongInputs) -> torch.Tensor:
    """Position of each token in the table of a window's positions ``[length]``; a fraction lies between two.

    Args:
        length: Tokens.
        window: Positions that the model was trained with.
        mode: ``grouped`` (neighbours share a position), ``recurrent`` (from the first again after the last), or
            ``interpolated`` (between two positions, in equal steps).
    """
    import torch

    places = torch.arange(length, dtype=torch.float32)
    if mode == "recurrent":
        return places % window
    factor = -(-length // window)
    return torch.div(places, factor, rounding_mode="floor") if mode == "grouped" else places / factor
