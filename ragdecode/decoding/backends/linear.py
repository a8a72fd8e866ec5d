"""Linear layers: weights packed once for oneDNN where that works, else plain.

On CPUs the plain matrix product streams its weights at a third of the memory bandwidth for a few rows, and jumps
in cost from one row to two, which is what drafting lives on; a packed weight removes both. The packing operators
are torch's own but private, hence the start-up check.
"""

from __future__ import annotations

import logging
from typing import Literal, Protocol

import torch
from torch.nn import functional

from ragdecode.errors import InputError

log = logging.getLogger(__name__)

LinearMode = Literal["auto", "packed", "plain"]
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


def choose(mode: LinearMode, device: torch.device, dtype: torch.dtype) -> type[PlainLinear] | type[PackedLinear]:
    """The class of linear layer for a mode on this machine.

    Raises:
        InputError: ``packed`` is demanded where it cannot work.
    """
    if mode == "plain":
        return PlainLinear
    reason = _packing_fails(device, dtype)
    if reason is None:
        return PackedLinear
    if mode == "packed":
        raise InputError(
            f"engine.linear: packed cannot be used here: {reason}",
            hint="use engine.linear: auto, which falls back to plain linear layers",
        )
    log.debug("linear layers are plain: %s", reason)
    return PlainLinear


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
