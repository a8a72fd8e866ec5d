"""Linear layers in 4 bits: a copy of the weights that takes an eighth of float32's memory traffic.

It does not promise equal tokens. It drafts for the weights it was made of (`quantized`), where verification makes
good what it gets wrong, or it is a mode of its own with a name (``engine.linear: int4``).
"""

from __future__ import annotations

import torch
from torch.nn import functional

#: Weights that share a scale and a zero point, along the inputs; that of GGUF's 4-bit formats, whose values survive.
GROUP = 32
#: The operator packs this many outputs together.
_OUTPUTS = 16


class Int4Linear:
    """A linear layer whose weight is 16 levels a group of 32 inputs, multiplied with bfloat16 activations.

    The level of a weight w in a group with least value a and greatest value b is ``round(15 (w - a) / (b - a))``.
    The operators are torch's own but private, hence the start-up check (`int4_fails`). A weight whose shape the
    operator does not take stays in bfloat16.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._bias = bias
        self._dtype = weight.dtype
        self._plain: torch.Tensor | None = None
        outputs, inputs = weight.shape
        if inputs % GROUP or outputs % _OUTPUTS:
            self._plain = weight.bfloat16()
            return
        levels, self._scales = quantise(weight)
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1)
        self._run = torch.ops.aten._weight_int4pack_mm_for_cpu.default

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x [T, in]`` to ``[T, out]``, in the dtype of the original weight."""
        half = x.bfloat16()
        if self._plain is not None:
            product = functional.linear(half, self._plain)
        else:
            product = self._run(half, self._packed, GROUP, self._scales)
        wide = product.to(self._dtype)
        return wide if self._bias is None else wide + self._bias


class HalfLinear:
    """A linear layer in bfloat16 under activations of another dtype: what becomes of the output table."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous())
        self._bias = bias
        self._dtype = weight.dtype
        self._run = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x [T, in]`` to ``[T, out]``, in the dtype of the original weight."""
        wide: torch.Tensor = self._run(x.bfloat16(), self._weight, None, "none", [], "").to(self._dtype)
        return wide if self._bias is None else wide + self._bias


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels of a weight ``[out, in]`` with scales and zero points.

    Returns:
        Levels 0 to 15, int32 ``[out, in]``, and bfloat16 ``[in / 32, out, 2]``: scale s and value z of level 8, so
        that a weight is about ``(level - 8) s + z``.
    """
    outputs, inputs = weight.shape
    groups = weight.float().reshape(outputs, inputs // GROUP, GROUP)
    least, greatest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = ((greatest - least) / 15).clamp(min=torch.finfo(torch.float32).tiny)
    levels = ((groups - least) / scale).round().clamp(0, 15).to(torch.int32).reshape(outputs, inputs)
    scales = torch.cat([scale, least + 8 * scale], dim=-1).transpose(0, 1).contiguous()  # [in / 32, out, 2]
    return levels, scales.bfloat16()


def int4_fails(device: torch.device) -> str | None:
    """Run a small product and compare with the dequantised one; the reason if they differ, else None."""
    if device.type != "cpu":
        return f"the 4-bit product is for CPUs, the device is {device}"
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 96, generator=generator)
    levels, scales = quantise(weight)
    scale, middle = scales.float().transpose(0, 1).repeat_interleave(GROUP, dim=1).unbind(-1)
    try:
        layer, head = Int4Linear(weight, None), HalfLinear(weight, None)
        for rows in (1, 2, 9):
            x = torch.randn(rows, 96, generator=generator).bfloat16().float()
            for product, meant in ((layer(x), (levels - 8) * scale + middle), (head(x), weight.bfloat16().float())):
                error = (product - functional.linear(x, meant)).abs().max().item()
                if error > 0.3:
                    return f"the 4-bit product is off by {error:.2g} in the start-up check"
    except (RuntimeError, NotImplementedError, AttributeError) as failure:
        return f"the 4-bit product failed in the start-up check ({type(failure).__name__})"
    return None
