"""A plain Llama-shaped forward pass in which single heads are off from some token on, and whose attention is told.

Written from the architecture and from the definition of the two interventions: no cache, no fusing, one sequence.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from tests.reference.llama import _norm, _rotate


class HeadsLlama:
    """The plain forward over the weights of a stock model, with some heads off.

    Args:
        stock: A transformers model of Llama's shape.
        off: Pairs of layer and query head.
        how: ``zero``: the head's output is 0; ``uniform``: it is the mean of all values that the token sees.
        first: First token for which they are off.
    """

    device = torch.device("cpu")

    def __init__(self, stock: Any, off: Collection[tuple[int, int]] = (), how: str = "zero", first: int = 0) -> None:
        self.config, self.weights = stock.config.to_dict(), stock.state_dict()
        self.off, self.how, self.first = set(off), how, first

    def __call__(self, ids: torch.Tensor, use_cache: bool = False) -> SimpleNamespace:
        return SimpleNamespace(logits=self.run(ids[0].tolist())[0][None])

    def run(self, ids: Sequence[int]) -> tuple[torch.Tensor, dict[tuple[int, int], torch.Tensor]]:
        """Logits after every token [n, V], and by layer and head the attention of every token [n, n]."""
        config, weights = self.config, self.weights
        heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
        dim = config.get("head_dim") or config["hidden_size"] // heads
        eps, n = config["rms_norm_eps"], len(ids)
        x = weights["model.embed_tokens.weight"][list(ids)]
        theta = config["rope_parameters"]["rope_theta"]
        angles = torch.arange(n).float()[:, None] * (1.0 / theta ** (torch.arange(0, dim, 2).float() / dim))
        told: dict[tuple[int, int], torch.Tensor] = {}

        def project(name: str, y: torch.Tensor) -> torch.Tensor:
            out = y @ weights[f"{name}.weight"].T
            return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out

        for layer in range(config["num_hidden_layers"]):
            block = f"model.layers.{layer}"
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
                table = torch.zeros(n, n, dtype=x.dtype)
                for i in range(n):
                    table[i, : i + 1] = torch.softmax(k[: i + 1, shared] @ q[i, head] / math.sqrt(dim), 0)
                    out[i, head] = table[i, : i + 1] @ v[: i + 1, shared]
                    if (layer, head) in self.off and i >= self.first:
                        out[i, head] = 0.0 if self.how == "zero" else v[: i + 1, shared].mean(0)
                told[layer, head] = table
            x = x + project(f"{block}.self_attn.o_proj", out.reshape(n, -1))
            y = _norm(x, weights[f"{block}.post_attention_layernorm.weight"], eps)
            gate, up = project(f"{block}.mlp.gate_proj", y), project(f"{block}.mlp.up_proj", y)
            x = x + project(f"{block}.mlp.down_proj", gate * torch.sigmoid(gate) * up)
        x = _norm(x, weights["model.norm.weight"], eps)
        tied = config["tie_word_embeddings"]
        return x @ weights["model.embed_tokens.weight" if tied else "lm_head.weight"].T, told
