"""A slot cache for transformers: rows of different lengths in one block of memory a layer, written in place.

Every layer holds keys and values ``[R, heads, S + 1, D]``. Which rows and slots a pass writes is set beforehand
in the shared `Placement`, for transformers hands a cache layer no positions. Slot S is the trash: padding goes
there and nothing ever looks at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers.cache_utils import Cache, DynamicLayer

from ragdecode.errors import RunError


@dataclass
class Placement:
    """Size of the cache, and where the pass under way reads and writes.

    Attributes:
        rows: Rows there are (R).
        capacity: Slots of a row (S), the trash not counted.
        active: Rows of the pass, ascending ``[B]``.
        block: The same rows as a slice, if they are neighbours: then attention reads them where they lie.
        slots: Slots that the new tokens go to ``[B, L]``.
        used: Slots that attention sees, from 0 on.
    """

    rows: int = 0
    capacity: int = 0
    active: torch.Tensor | None = None
    block: slice | None = None
    slots: torch.Tensor | None = None
    used: int = 0


class SlotLayer(DynamicLayer):
    """One layer's keys and values, in slots."""

    def __init__(self, placement: Placement) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.placement = placement

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate, once the shapes of keys and values ``[B, heads, L, D]`` are known."""
        self.dtype, self.device = key_states.dtype, key_states.device
        rows, slots = self.placement.rows, self.placement.capacity + 1
        # Zeros, not garbage: a masked slot has weight 0, and 0 times NaN is NaN.
        self.keys = key_states.new_zeros(rows, key_states.shape[1], slots, key_states.shape[3])
        self.values = value_states.new_zeros(rows, value_states.shape[1], slots, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values ``[B, heads, L, D]`` in place; return all that is seen ``[B, heads, S, D]``."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        place = self.placement
        if place.active is None or place.slots is None or self.keys is None or self.values is None:
            raise RuntimeError("the cache was used outside a pass")
        index = (place.active[:, None], slice(None), place.slots)
        self.keys[index] = key_states.transpose(1, 2)  # [B, L, heads, D]
        self.values[index] = value_states.transpose(1, 2)
        return self._seen(self.keys), self._seen(self.values)

    def _seen(self, states: torch.Tensor) -> torch.Tensor:
        place = self.placement
        if place.block is not None:
            return states[place.block, :, : place.used]
        assert place.active is not None
        return states[:, :, : place.used].index_select(0, place.active)

    def resize(self, rows: int, capacity: int) -> None:
        """Make room for ``rows`` rows of ``capacity`` slots, keeping what is there; never shrinks."""
        if self.is_initialized and self.keys is not None and self.values is not None:
            self.keys = _grown(self.keys, rows, capacity + 1)
            self.values = _grown(self.values, rows, capacity + 1)

    def get_seq_length(self) -> int:
        """Slots in use; the model has explicit positions and masks and does not depend on it."""
        return self.placement.used

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what `update` returns."""
        return self.placement.used, 0


class Arena:
    """All layers' slots, and who owns which row.

    Rows are as long as the longest ever asked for, and memory is not given back before the backend goes.

    Attributes:
        placement: Shared with the layers.
        cache: What is handed to the model.
    """

    def __init__(self) -> None:
        self.placement = Placement()
        # A factory in place of a class: layers are made when a model first writes to them, however many it has.
        self.cache = Cache(layer_class_to_replicate=lambda: SlotLayer(self.placement))  # type: ignore[arg-type]
        self._capacity: dict[int, int] = {}
        self._used_before: set[int] = set()

    @property
    def layers(self) -> Sequence[SlotLayer]:
        """The layers that exist so far."""
        return cast("Sequence[SlotLayer]", self.cache.layers)

    def open(self, capacity: int) -> int:
        """Reserve a row of ``capacity`` slots and return its number, the lowest that is free.

        Raises:
            RunError: There is no memory for it.
        """
        row = next(number for number in range(len(self._capacity) + 1) if number not in self._capacity)
        self._reserve(row + 1, capacity)
        if row in self._used_before:  # what an earlier owner left could be NaN
            for layer in self.layers:
                if layer.keys is not None and layer.values is not None:
                    layer.keys[row].zero_()
                    layer.values[row].zero_()
        self._used_before.add(row)
        self._capacity[row] = capacity
        return row

    def close(self, row: int) -> None:
        """Free a row."""
        del self._capacity[row]

    def capacity(self, row: int) -> int:
        """Slots of an open row.

        Raises:
            ValueError: The row is not open.
        """
        if row not in self._capacity:
            raise ValueError(f"row {row} is not open")
        return self._capacity[row]

    def place(self, rows: torch.Tensor, block: slice | None, slots: torch.Tensor, used: int) -> None:
        """Say where the coming pass writes (``slots [B, L]`` of ``rows [B]``) and how far it sees."""
        self.placement.active, self.placement.block = rows, block
        self.placement.slots, self.placement.used = slots, used

    @property
    def token_bytes(self) -> int:
        """Bytes that the keys and values of one token take, as far as layers exist."""
        return sum(states[0, :, 0].nbytes for states in self._states())

    def save(self, row: int, length: int) -> list[torch.Tensor]:
        """Copies of the first ``length`` entries of a row ``[heads, length, D]``: keys, then values, by layer."""
        return [states[row, :, :length].clone() for states in self._states()]

    def load(self, row: int, saved: Sequence[torch.Tensor], length: int) -> None:
        """Put the first ``length`` entries of what was saved at the beginning of a row."""
        for states, old in zip(self._states(), saved, strict=True):
            states[row, :, :length] = old[:, :length]

    def _states(self) -> Iterator[torch.Tensor]:
        for layer in self.layers:
            for states in (layer.keys, layer.values):
                if states is not None:
                    yield states

    def move(self, row: int, base: int, offsets: Sequence[int]) -> None:
        """Move the entries at ``base + offsets[k]`` to ``base + k``; offsets ascend."""
        first = next((k for k, offset in enumerate(offsets) if offset != k), None)
        if first is None:
            return
        source: torch.Tensor | None = None
        for layer in self.layers:
            for states in (layer.keys, layer.values):
                if states is None:
                    continue
                if source is None or source.device != states.device:
                    source = torch.tensor([base + offset for offset in offsets[first:]], device=states.device)
                # Indexing copies before the write begins, so the two may overlap.
                states[row, :, base + first : base + len(offsets)] = states[row].index_select(1, source)

    def _reserve(self, rows: int, capacity: int) -> None:
        place = self.placement
        if rows <= place.rows and capacity <= place.capacity:
            return
        least = (max(rows, place.rows), max(capacity, place.capacity))
        ample = (_ample(rows, place.rows), _ample(capacity, place.capacity))
        try:
            self._resize(*ample)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            try:
                self._resize(*least)
            except (RuntimeError, MemoryError) as second:
                if not out_of_memory(second):
                    raise
                raise RunError(
                    f"no memory for a cache of {least[0]} rows of {least[1]} tokens",
                    hint="shorten the prompts or max_new_tokens, or run fewer requests at once",
                    component="transformers backend",
                ) from second

    def _resize(self, rows: int, capacity: int) -> None:
        for layer in self.layers:
            layer.resize(rows, capacity)
        # Only now: layers that grew before one that failed merely have room to spare.
        self.placement.rows, self.placement.capacity = rows, capacity


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out (the CPU allocator has no error class of its own)."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def _ample(wanted: int, present: int) -> int:
    """Half as much again as there is, so that growing by ones costs no more than its sum."""
    return present if wanted <= present else max(wanted, present + present // 2)


def _grown(states: torch.Tensor, rows: int, slots: int) -> torch.Tensor:
    """A copy of ``states [R, heads, S, D]`` with more room, zeros in the new places."""
    old_rows, heads, old_slots, size = states.shape
    if rows <= old_rows and slots <= old_slots:
        return states
    grown = states.new_zeros(max(rows, old_rows), heads, max(slots, old_slots), size)
    grown[:old_rows, :, :old_slots] = states
    return grown
