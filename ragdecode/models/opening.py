"""What opening a model of any kind begins with: its kind, its folder, its device and dtype."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.errors import InputError
from ragdecode.models.device import resolve_device, resolve_dtype
from ragdecode.models.progress import Progress
from ragdecode.models.store import ModelStore
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import torch

_KINDS = {"causal": "a causal language model", "encoder": "an encoder", "cross_encoder": "a cross-encoder"}


def locate(
    spec: ModelSpec,
    kind: str,
    *,
    device: str,
    dtype: str,
    store: ModelStore | None,
    fetch: bool,
    progress: Progress,
) -> tuple[Path, torch.device, torch.dtype]:
    """The model's folder, and where and in what precision it runs.

    Raises:
        InputError: The model is of another kind, its weights are not there, or there is no such device or dtype.
        RunError: Fetching failed.
    """
    if spec.kind != kind:
        raise InputError(f"model {spec.name or spec.source}: expected {_KINDS[kind]}, it is of kind {spec.kind}")
    path = (store or ModelStore()).require(spec, fetch, progress)
    where = resolve_device(device)
    return path, where, resolve_dtype(dtype, where)
