"""Early exits from their definition: the model with its later blocks cut off, run over whole prompts."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import torch

from tests.reference.llama import PlainLlama, states


def cut(model: Any, layer: int) -> Any:
    """A copy of a stock model that ends with a block, counted from 0: final norm and head follow it."""
    shorter = copy.deepcopy(model)
    count = shorter.config.num_hidden_layers
    owner, name, blocks = next(
        (module, name, child)
        for module in shorter.modules()
        for name, child in module.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == count
    )
    setattr(owner, name, blocks[: layer + 1])
    shorter.config.num_hidden_layers = layer + 1
    return shorter


class PlainExit(PlainLlama):
    """The plain Llama forward up to a block, counted from 0; without the final norm if not ``normed``."""

    def __init__(self, stock: Any, layer: int, *, normed: bool = True) -> None:
        super().__init__(stock)
        self.config = {**self.config, "num_hidden_layers": layer + 1}
        self.normed = normed

    def __call__(self, ids: torch.Tensor, use_cache: bool = False) -> SimpleNamespace:
        x = states(self.config, self.weights, ids[0].tolist(), self.theta, normed=self.normed)
        name = "model.embed_tokens.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"
        return SimpleNamespace(logits=(x @ self.weights[name].T)[None])
