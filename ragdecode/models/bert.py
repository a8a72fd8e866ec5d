"""The forward pass of BERT (Devlin et al. 2019), without a framework around it: it starts seconds earlier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional


def is_plain_bert(config: Mapping[str, Any]) -> bool:
    """Whether ``config.json`` describes what `Bert` computes."""
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act", "gelu") == "gelu"
        and not config.get("is_decoder", False)
        and "quantization_config" not in config
    )


class Bert:
    """A BERT encoder.

    Attributes:
        config: ``config.json``.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the weights.

        Args:
            config: ``config.json``.
            tensors: Tensors by name, with or without the ``bert.`` prefix.

        Raises:
            KeyError: A tensor is missing.
        """
        self.config = config
        weights = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        # old checkpoints say gamma and beta
        self._weights = {
            name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
            for name, tensor in weights.items()
        }
        self._heads = int(config["num_attention_heads"])
        self._eps = float(config.get("layer_norm_eps", 1e-12))
        self._layers = [f"encoder.layer.{index}." for index in range(int(config["num_hidden_layers"]))]
        for name in ("embeddings.word_embeddings.weight", *(layer + "output.dense.weight" for layer in self._layers)):
            self._weights[name]

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Last hidden states.

        Args:
            ids: Token ids ``[B, L]``.
            mask: True at tokens, False at padding ``[B, L]``.
            positions: Position of each token in the table, fractions between two; 0, 1, ... if left out ``[B, L]``.

        Returns:
            ``[B, L, H]``.
        """
        states = (
            functional.embedding(ids, self._weights["embeddings.word_embeddings.weight"])
            + self._weights["embeddings.token_type_embeddings.weight"][0]
            + self._placed(ids.shape[1], positions)
        )  # [B, L, H]
        states = self._norm(states, "embeddings.LayerNorm")
        visible = None if bool(mask.all()) else mask[:, None, None, :]  # [B, 1, 1, L]
        for layer in self._layers:
            states = self._layer(states, visible, layer)
        return states

    def _placed(self, length: int, positions: torch.Tensor | None) -> torch.Tensor:
        """Embeddings of positions ``[L, H]`` or ``[B, L, H]``."""
        table = self._weights["embeddings.position_embeddings.weight"]
        if positions is None:
            return table[:length]
        low = positions.floor()
        part = (positions - low).to(table.dtype).unsqueeze(-1)
        first = low.long()
        return torch.lerp(table[first], table[(first + 1).clamp(max=len(table) - 1)], part)

    def _layer(self, states: torch.Tensor, visible: torch.Tensor | None, layer: str) -> torch.Tensor:
        batch, length, hidden = states.shape

        def heads(name: str) -> torch.Tensor:
            projected = self._linear(states, f"{layer}attention.self.{name}")
            return projected.view(batch, length, self._heads, hidden // self._heads).transpose(1, 2)  # [B, A, L, H/A]

        mixed = functional.scaled_dot_product_attention(heads("query"), heads("key"), heads("value"), visible)
        mixed = mixed.transpose(1, 2).reshape(batch, length, hidden)  # [B, L, H]
        mixed = self._linear(mixed, f"{layer}attention.output.dense")
        states = self._norm(mixed + states, f"{layer}attention.output.LayerNorm")
        wide = functional.gelu(self._linear(states, f"{layer}intermediate.dense"))
        return self._norm(self._linear(wide, f"{layer}output.dense") + states, f"{layer}output.LayerNorm")

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(states, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, states: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(states, weight.shape, weight, bias, self._eps)
