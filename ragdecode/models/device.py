"""Where models run and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragdecode.errors import InputError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto`` takes CUDA (or ROCm), XPU, MPS, CPU, whichever is there first.

    Raises:
        InputError: This machine has no such device.
    """
    import torch

    available = [kind for kind in ("cuda", "xpu", "mps") if _is_available(kind)]
    if name == "auto":
        return torch.device(available[0] if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"no such device: {name!r}", hint=f"here: {', '.join([*available, 'cpu'])}") from error
    count = torch.accelerator.device_count() if device.type in available else 0
    if device.type != "cpu" and (device.index or 0) >= count:
        raise InputError(
            f"this machine has no device {name!r}", hint=f"here: {', '.join([*available, 'cpu'])}; or say auto"
        )
    return device


def _is_available(kind: str) -> bool:
    import torch

    if kind == "mps":
        return torch.backends.mps.is_available()
    return bool(getattr(torch, kind).is_available())


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype called ``name``; ``auto`` is bfloat16 on CUDA and XPU, float32 on MPS and CPU.

    Raises:
        InputError: There is no such dtype, or the device cannot compute in it.
    """
    import torch

    dtypes = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}
    if name == "auto":
        return torch.bfloat16 if device.type in ("cuda", "xpu") else torch.float32
    if name not in dtypes:
        raise InputError(f"no such dtype: {name!r}", hint=f"valid here: auto, {', '.join(dtypes)}")
    if name == "float64" and device.type == "mps":
        raise InputError("the device mps cannot compute in float64", hint="say float32, or device: cpu")
    dtype: torch.dtype = dtypes[name]
    return dtype
