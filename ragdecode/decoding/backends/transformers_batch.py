"""From segments of different lengths to the padded rows, positions, slots and 4-D masks that transformers takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ragdecode.decoding.backend import Segment


@dataclass(frozen=True)
class Batch:
    """One pass over B rows of L new tokens, the shorter ones padded at the end.

    Attributes:
        ids: Token ids ``[B, L]``.
        positions: Positions ``[B, L]``: start of the segment + depth.
        slots: Cache slots ``[B, L]``; padding has the trash slot.
        rows: Cache rows ``[B]``, ascending.
        block: The same rows as a slice, if they are neighbours.
        used: Slots that the masks cover (S).
        outputs: Places of the wanted tokens in the flattened ``[B * L]``, in the order of the segments ``[M]``.
        bases: Row lengths ``[B]``.
        starts: How much of its row each segment follows ``[B]``.
        ancestors: Whether a new token sees another new token ``[B, L, L]``.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    rows: torch.Tensor
    block: slice | None
    used: int
    outputs: torch.Tensor
    bases: torch.Tensor
    starts: torch.Tensor
    ancestors: torch.Tensor

    def mask(self, dtype: torch.dtype, window: int | None = None) -> torch.Tensor:
        """Additive mask ``[B, 1, L, S]``: 0 where a token may look, the dtype's minimum elsewhere.

        A token sees the row's earlier slots and its own ancestors among the new tokens; with a window, only those
        of them that are fewer than ``window`` positions back. Additive, since eager attention misreads booleans.
        """
        length = self.ids.shape[1]
        slot = torch.arange(self.used, device=self.ids.device)
        new = slot - self.bases[:, None]  # [B, S]: index among the new tokens, negative for cached slots
        inside = (new >= 0) & (new < length)
        index = new.clamp(0, length - 1)
        among_new = self.ancestors.gather(2, index[:, None, :].expand(-1, length, -1))  # [B, L, S]
        allowed = (among_new & inside[:, None, :]) | (slot < self.starts[:, None])[:, None, :]
        if window is not None and window < self.used:
            position = torch.where(inside, self.positions.gather(1, index), slot)  # [B, S]
            allowed &= self.positions[:, :, None] - position[:, None, :] < window
        mask = torch.full(allowed.shape, torch.finfo(dtype).min, dtype=dtype, device=allowed.device)
        return mask.masked_fill_(allowed, 0.0)[:, None]


def batch_of(segments: Sequence[Segment], trash: int, device: torch.device) -> Batch:
    """Lay out segments of distinct rows, at least one, as one padded batch."""
    order = sorted(range(len(segments)), key=lambda number: segments[number].row)
    place = {number: index for index, number in enumerate(order)}
    length = max(len(segment.tokens) for segment in segments)
    shape = (len(segments), length)
    ids = torch.zeros(shape, dtype=torch.long)
    slots = torch.full(shape, trash)
    # Padding stands at its row's first new position and sees what the first new token sees: never an empty row.
    positions = torch.empty(shape, dtype=torch.long)
    ancestors = torch.zeros(*shape, length, dtype=torch.bool)
    ancestors[:, :, 0] = True
    for index, number in enumerate(order):
        segment = segments[number]
        count = len(segment.tokens)
        ids[index, :count] = torch.tensor(segment.tokens)
        positions[index] = segment.start
        positions[index, :count] += torch.tensor(segment.depths)
        slots[index, :count] = torch.arange(segment.base, segment.base + count)
        _mark_ancestors(ancestors[index, :count, :count], segment.parents)
    wanted = [place[number] * length + i for number, one in enumerate(segments) for i in one.outputs]
    rows = [segments[number].row for number in order]
    return Batch(
        ids=ids.to(device),
        positions=positions.to(device),
        slots=slots.to(device),
        rows=torch.tensor(rows, device=device),
        block=slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else None,
        used=max(segment.base + len(segment.tokens) for segment in segments),
        outputs=torch.tensor(wanted, dtype=torch.long, device=device),
        bases=torch.tensor([segments[number].base for number in order], device=device),
        starts=torch.tensor([segments[number].start for number in order], device=device),
        ancestors=ancestors.to(device),
    )


def _mark_ancestors(seen: torch.Tensor, parents: Sequence[int] | None) -> None:
    """Fill ``seen [L, L]``: each token sees its parent's ancestors, its parent and itself."""
    seen.copy_(torch.ones_like(seen).tril_())
    if parents is None:
        return
    first = next((i for i, parent in enumerate(parents) if i and parent != i - 1), len(parents))
    for i in range(first, len(parents)):  # before it the segment is a chain
        seen[i] = seen[parents[i]] if parents[i] >= 0 else False
        seen[i, i] = True
