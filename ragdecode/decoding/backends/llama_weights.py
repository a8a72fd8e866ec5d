"""The weights of a Llama-shaped model, fused and permuted for the own forward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ragdecode.decoding.backends.linear import Linear, LinearKind
from ragdecode.decoding.backends.llama_shape import LlamaShape


@dataclass(frozen=True)
class Layer:
    """One block: query, key and value projections are one product, gate and up another."""

    attention_norm: torch.Tensor
    qkv: Linear
    qk_norm: tuple[torch.Tensor, torch.Tensor] | None
    output: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear
    down: Linear


class LlamaWeights:
    """All weights of the model on a device, in a dtype.

    Args:
        shape: The model's numbers.
        tensors: Its tensors by the names transformers gives them.
        device: Where they go.
        dtype: Their dtype there.
        linear: What linear layers are made of.
        shared: Weights of the same model, for a second copy in other linear layers: what is no linear layer is theirs.

    Attributes:
        embedding: ``[V, H]``.
        layers: The blocks.
        final_norm: ``[H]``.
        unembed: Hidden states ``[M, H]`` to logits ``[M, V]``.
        output_table: What it multiplies with ``[V, H]``; the embedding itself where the two are tied.
        rotations: ``exp(i position frequency)``, complex ``[max_positions, D / 2]``.
    """

    def __init__(
        self,
        shape: LlamaShape,
        tensors: Mapping[str, torch.Tensor],
        device: torch.device,
        dtype: torch.dtype,
        linear: LinearKind,
        shared: LlamaWeights | None = None,
    ) -> None:
        self._shape = shape

        def load(name: str) -> torch.Tensor:
            return tensors[name].to(device=device, dtype=dtype)

        def project(names: list[str], rotary: tuple[int, ...] = ()) -> Linear:
            weights = [load(f"{name}.weight") for name in names]
            biases = [load(f"{name}.bias") if f"{name}.bias" in tensors else None for name in names]
            for index in rotary:
                weights[index] = self._interleave(weights[index])
                bias = biases[index]
                biases[index] = None if bias is None else self._interleave(bias)
            bias = None
            if any(item is not None for item in biases):
                bias = torch.cat(
                    [
                        item if item is not None else weight.new_zeros(weight.shape[0])
                        for item, weight in zip(biases, weights, strict=True)
                    ]
                )
            return linear.block(torch.cat(weights), bias)

        self.embedding: torch.Tensor = shared.embedding if shared else load("model.embed_tokens.weight")
        self.final_norm = load("model.norm.weight")
        self.output_table: torch.Tensor
        if shared is not None:
            self.output_table = shared.output_table
        else:
            self.output_table = self.embedding if shape.tied else load("lm_head.weight")
        self.unembed = linear.head(self.output_table, None)
        self.layers = []
        for index in range(shape.layers):
            block = f"model.layers.{index}"
            norms = None
            if shape.qk_norm:
                norms = (
                    self._interleave(load(f"{block}.self_attn.q_norm.weight")),
                    self._interleave(load(f"{block}.self_attn.k_norm.weight")),
                )
            self.layers.append(
                Layer(
                    attention_norm=load(f"{block}.input_layernorm.weight"),
                    qkv=project([f"{block}.self_attn.{name}_proj" for name in "qkv"], rotary=(0, 1)),
                    qk_norm=norms,
                    output=project([f"{block}.self_attn.o_proj"]),
                    mlp_norm=load(f"{block}.post_attention_layernorm.weight"),
                    gate_up=project([f"{block}.mlp.{name}_proj" for name in ("gate", "up")]),
                    down=project([f"{block}.mlp.down_proj"]),
                )
            )
        self.rotations: torch.Tensor = shared.rotations if shared else _rotations(shape, device, dtype)

    def _interleave(self, tensor: torch.Tensor) -> torch.Tensor:
        """Reorder each head's rows so that the rotary pairs (i, i + D / 2) become neighbours."""
        d = self._shape.head_dim
        return tensor.reshape(-1, 2, d // 2, *tensor.shape[1:]).transpose(1, 2).flatten(0, 2).contiguous()


def _rotations(shape: LlamaShape, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """The rotation table; angles in float32, as the published models were trained with."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.int64).float() / shape.head_dim
    frequencies = 1.0 / (shape.rope_theta**exponents)  # [D / 2]
    if shape.rope_scaling:
        frequencies = _llama3(frequencies, shape)
    angles = torch.arange(shape.max_positions).float()[:, None] * frequencies[None]
    real = torch.float64 if dtype is torch.float64 else torch.float32
    return torch.complex(angles.cos().to(real), angles.sin().to(real)).to(device)


def _llama3(frequencies: torch.Tensor, shape: LlamaShape) -> torch.Tensor:
    """Llama 3.1's scaling: long wavelengths divided by ``factor``, short ones kept, a ramp between."""
    scaling = shape.rope_scaling
    factor, original = float(scaling["factor"]), float(scaling["original_max_position_embeddings"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    wavelengths = 2 * math.pi / frequencies
    ramp = (original / wavelengths - low) / (high - low)
    smooth = (1 - ramp) * frequencies / factor + ramp * frequencies
    scaled = torch.where(wavelengths > original / low, frequencies / factor, frequencies)
    between = (wavelengths <= original / low) & (wavelengths >= original / high)
    return torch.where(between, smooth, scaled)
