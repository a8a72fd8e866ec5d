"""Linear layers: weights packed once for oneDNN where that works, else plain.

On CPUs the plain matrix product streams its weights at a third of the memory bandwidth for a few rows, and jumps
in cost from one row to two, which is what drafting lives on; a packed weight removes both. The packing operators
are torch's own but private, hence the start-up check.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch.nn import functional

from ragdecode.errors import InputError

log = logging.getLogger(__name__)

LinearMode = Literal["auto", "packed", "plain", "int4"]
_PACKABLE = (torch.float32, torch.bfloat16)


class Linear(Protocol):
    """A linear layer."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x [T, in]`` to ``[T, out]``."""


class PlainLinear:
    """``torch.nn.functional.linear``."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x [T, in]`` to ``[T, out]``."""
        return functional.linear(x, self._weight, self._bias)


class PackedLinear:
    """oneDNN product over a weight that was reordered once; the original weight may be freed."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        self._bias = bias
        self._run = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x [T, in]`` to ``[T, out]``."""
        result: torch.Tensor = self._run(x, self._weight, self._bias, "none", [], "")
        return result


class LinearMaker(Protocol):
    """Makes a linear layer of a weight."""

    def __call__(self, weight: torch.Tensor, bias: torch.Tensor | None, /) -> Linear:
        """The layer of ``weight [out, in]`` and ``bias [out]``."""


@dataclass(frozen=True)
class LinearKind:
    """What the linear layers of a model are made of.

    Attributes:
        block: Those inside the blocks.
        head: The output table.
    """

    block: LinearMaker
    head: LinearMaker


PLAIN = LinearKind(PlainLinear, PlainLinear)
PACKED = LinearKind(PackedLinear, PackedLinear)


def choose(mode: LinearMode, device: torch.device, dtype: torch.dtype) -> LinearKind:
    """The linear layers of a mode on this machine.

    Raises:
        InputError: ``packed`` or ``int4`` is demanded where it cannot work.
    """
    if mode == "plain":
        return PLAIN
    if mode == "int4":
        return low_bit(device)
    reason = _packing_fails(device, dtype)
    if reason is None:
        return PACKED
    if mode == "packed":
        raise InputError(
            f"engine.linear: packed cannot be used here: {reason}",
            hint="use engine.linear: auto, which falls back to plain linear layers",
        )
    log.debug("linear layers are plain: %s", reason)
    return PLAIN


def low_bit(device: torch.device) -> LinearKind:
    """Blocks in 4 bits, the output table in bfloat16: in 4 bits it would blur the logits themselves.

    Raises:
        InputError: It cannot work on this machine.
    """
    from ragdecode.decoding.backends.int4 import HalfLinear, Int4Linear, int4_fails

    if reason := int4_fails(device):
        raise InputError(
            f"weights in 4 bits cannot be used here: {reason}",
            hint="use engine.linear: auto, and leave the drafter 'quantized' out",
        )
    return LinearKind(Int4Linear, HalfLinear)


def _packing_fails(device: torch.device, dtype: torch.dtype) -> str | None:
    """Pack a small random weight and compare with the plain product; the reason if they differ, else None."""
    if device.type != "cpu":
        return f"packing is for CPUs, the device is {device}"
    if dtype not in _PACKABLE:
        return f"there is no packed product in {dtype}"
    if not torch.backends.mkldnn.is_available():
        return "this build of torch has no oneDNN"
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 40, generator=generator).to(dtype)
    bias = torch.randn(48, generator=generator).to(dtype)
    try:
        packed = PackedLinear(weight, bias)
        for rows in (1, 2, 9):
            x = torch.randn(rows, 40, generator=generator).to(dtype)
            expected = functional.linear(x.float(), weight.float(), bias.float())
            error = (packed(x).float() - expected).abs().max().item()
            if error > (1e-4 if dtype is torch.float32 else 0.3):
                return f"the packed product is off by {error:.2g} in the start-up check"
    except (RuntimeError, NotImplementedError, AttributeError) as failure:
        return f"the packed product failed in the start-up check ({type(failure).__name__})"
    return None
