"""A linear reward head: what every token would be worth, from one hidden state (the form of ARM)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.errors import InputError

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend

#: Name of a tensor in a head's file -> its shape in H (hidden size) and R (any rank).
LAYOUT = {"baseline.weight": ("H",), "baseline.bias": (), "left": ("H", "R"), "right": ("R", "H")}


@dataclass(frozen=True)
class RewardHead:
    """``rho(v) = baseline(h) + <left right h, e_v>`` with the model's output embeddings e.

    Attributes:
        weight: Of the baseline ``[H]``.
        bias: Of the baseline, a scalar.
        left: ``[H, R]``.
        right: ``[R, H]``.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @staticmethod
    def load(file: Path, model: Backend) -> RewardHead:
        """Read a safetensors file with the tensors of `LAYOUT`.

        Raises:
            InputError: It cannot be read, lacks a tensor, or is of another shape than the model.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if "exit" not in model.interventions:
            raise InputError(
                "the reward head multiplies with the output embeddings, which this backend does not tell",
                hint="engine.backend: llama if the model is Llama-shaped",
            )
        try:
            found = load_file(file)
        except (OSError, SafetensorError) as error:
            raise InputError(f"the reward head {file} cannot be read: {error}", hint="expected safetensors") from error
        if found.keys() != LAYOUT.keys():
            names = f"it has {', '.join(sorted(found)) or 'none'}; expected {', '.join(LAYOUT)}"
            raise InputError(f"the reward head {file} has other tensors than a head has: {names}")
        sizes = {"H": model.hidden_size, "R": found["left"].shape[-1] if found["left"].dim() == 2 else -1}
        for name, axes in LAYOUT.items():
            shape, wanted = tuple(found[name].shape), tuple(sizes[axis] for axis in axes)
            if shape != wanted:
                raise InputError(
                    f"the reward head {file} is not one of this model: {name} has the shape {list(shape)}, expected "
                    f"{list(axes)} with a hidden size H of {model.hidden_size}",
                    hint="a head belongs to the model that it was trained on",
                )
        if not all(bool(tensor.isfinite().all()) for tensor in found.values()):
            raise InputError(f"the reward head {file} holds values that are not finite")
        return RewardHead(*(found[name].to(model.device, model.dtype) for name in LAYOUT))

    def score(self, hidden: torch.Tensor, columns: torch.Tensor, model: Backend) -> torch.Tensor:
        """Rewards ``[N, k]`` of the token ids ``columns [N, k]`` after the last hidden states ``hidden [N, H]``."""
        moved = hidden @ self.right.T @ self.left.T
        return (hidden @ self.weight + self.bias)[:, None] + model.project(moved, columns, normed=False)
