"""A plain Llama-shaped forward pass, written from the architecture: no cache, no fusing, one sequence, any dtype."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def _rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate halves: pair i with i + D / 2; x [n, heads, D], angles [n, D / 2]."""
    cos, sin = angles.cos().to(x)[:, None], angles.sin().to(x)[:, None]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def states(
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    ids: list[int],
    theta: float,
    *,
    normed: bool = True,
    inputs: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Last hidden states after the final norm, of every token of ``ids`` [n, H]; before it if not ``normed``.

    ``inputs`` takes what enters the feed-forward part of each block [n, H].
    """
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // heads
    eps = config["rms_norm_eps"]
    x = weights["model.embed_tokens.weight"][ids]
    n = len(ids)
    frequencies = 1.0 / theta ** (torch.arange(0, dim, 2).float() / dim)
    angles = torch.arange(n).float()[:, None] * frequencies

    def project(name: str, y: torch.Tensor) -> torch.Tensor:
        out = y @ weights[f"{name}.weight"].T
        return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out

    for index in range(config["num_hidden_layers"]):
        block = f"model.layers.{index}"
        y = _norm(x, weights[f"{block}.input_layernorm.weight"], eps)
        q = project(f"{block}.self_attn.q_proj", y).view(n, heads, dim)
        k = project(f"{block}.self_attn.k_proj", y).view(n, kv, dim)
        v = project(f"{block}.self_attn.v_proj", y).view(n, kv, dim)
        if f"{block}.self_attn.q_norm.weight" in weights:
            q = _norm(q, weights[f"{block}.self_attn.q_norm.weight"], eps)
            k = _norm(k, weights[f"{block}.self_attn.k_norm.weight"], eps)
        q, k = _rotate(q, angles), _rotate(k, angles)
        out = torch.zeros_like(q)
        for head in range(heads):
            shared = head // (heads // kv)
            for i in range(n):
                weight = torch.softmax(k[: i + 1, shared] @ q[i, head] / math.sqrt(dim), 0)
                out[i, head] = weight @ v[: i + 1, shared]
        x = x + project(f"{block}.self_attn.o_proj", out.reshape(n, -1))
        y = _norm(x, weights[f"{block}.post_attention_layernorm.weight"], eps)
        if inputs is not None:
            inputs.append(y)
        gate, up = project(f"{block}.mlp.gate_proj", y), project(f"{block}.mlp.up_proj", y)
        x = x + project(f"{block}.mlp.down_proj", gate * torch.sigmoid(gate) * up)
    return _norm(x, weights["model.norm.weight"], eps) if normed else x


def logits(config: dict[str, Any], weights: dict[str, torch.Tensor], ids: list[int], theta: float) -> torch.Tensor:
    """Logits after every token of ``ids`` [n, V]."""
    head_weight = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return states(config, weights, ids, theta) @ head_weight.T


class PlainLlama:
    """The plain forward with the calling form of a transformers model, all in the weights' own precision.

    (transformers normalises in float32 inside, which shows at 1e-6.)
    """

    device = torch.device("cpu")

    def __init__(self, stock: Any) -> None:
        self.config, self.weights = stock.config.to_dict(), stock.state_dict()
        self.theta = self.config["rope_parameters"]["rope_theta"]

    def __call__(self, ids: torch.Tensor, use_cache: bool = False) -> SimpleNamespace:
        return SimpleNamespace(logits=logits(self.config, self.weights, ids[0].tolist(), self.theta)[None])

    def states(self, ids: list[int]) -> torch.Tensor:
        """Last hidden states of every token [n, H]."""
        return states(self.config, self.weights, list(ids), self.theta)

    def ffn_input(self, ids: list[int]) -> torch.Tensor:
        """What enters the last block's feed-forward part, of every token [n, H]."""
        inputs: list[torch.Tensor] = []
        states(self.config, self.weights, list(ids), self.theta, inputs=inputs)
        return inputs[-1]
