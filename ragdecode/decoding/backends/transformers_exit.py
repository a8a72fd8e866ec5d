"""Early exits of a transformers model: what it would predict after one of its blocks."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ragdecode.decoding.backends.transformers_plan import text_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Tail:
    """The blocks of a model, and what stands between the last of them and its logits.

    Found by running the model once, not by names: blocks are the longest list of modules that are run in order,
    the tail is what their owner runs after them, the final norm and, in some models, a projection. Scaling and
    capping of logits come from the configuration.

    Args:
        model: The stock model.
        run: Runs it over a few tokens.

    Raises:
        LookupError: The model is built in another way; the message says how.
    """

    def __init__(self, model: PreTrainedModel, run: Any) -> None:
        self._model = model
        owner, self.blocks = _blocks(model)
        order: list[torch.nn.Module] = []
        with ExitStack() as hooks:
            for module in (*self.blocks, *owner.children()):
                handle = module.register_forward_hook(lambda one, _inputs, _output: order.append(one))
                hooks.callback(handle.remove)
            run()
        places = {id(block): [i for i, module in enumerate(order) if module is block] for block in self.blocks}
        ran = [place for block in self.blocks for place in places[id(block)]]
        if len(ran) != len(self.blocks) or ran != sorted(ran):
            raise LookupError("its blocks are not run once each, in order")
        self.after = order[ran[-1] + 1 :]
        head = model.get_output_embeddings()
        weight = getattr(head, "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.dim() != 2:
            raise LookupError("its head is no plain matrix")
        self._head: torch.nn.Module = head
        self._weight = weight
        self._bias: torch.Tensor | None = getattr(head, "bias", None)
        config = text_config(model)
        self._scale = float(getattr(config, "logit_scale", None) or 1.0)
        self._scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        self._cap = float(getattr(config, "final_logit_softcapping", None) or 0.0)

    @contextmanager
    def states(self, layers: Collection[int], wanted: torch.Tensor) -> Iterator[dict[int, torch.Tensor]]:
        """Note the residual stream ``[M, H]`` after these blocks at the tokens ``wanted [M]`` of the flat batch."""
        told: dict[int, torch.Tensor] = {}

        def take(_block: torch.nn.Module, _inputs: Any, output: Any, *, layer: int) -> None:
            states = output[0] if isinstance(output, tuple) else output  # [B, L, H]
            told[layer] = states.reshape(-1, states.shape[-1]).index_select(0, wanted)

        with ExitStack() as hooks:
            for layer in layers:
                handle = self.blocks[layer].register_forward_hook(functools.partial(take, layer=layer))
                hooks.callback(handle.remove)
            yield told

    def project(self, states: torch.Tensor, columns: torch.Tensor | None, *, normed: bool) -> torch.Tensor:
        """Logits ``[N, V]`` of ``states [N, H]``, or ``[N, C]`` of ``columns [N, C]``; norms are left out if asked."""
        x = states[None]
        for module in self.after:
            if normed or "norm" not in type(module).__name__.lower():
                x = module(x)
        if columns is None:
            logits: torch.Tensor = self._head(x)[0]
        else:
            logits = torch.einsum("nch,nh->nc", self._weight[columns], x[0])
            if self._bias is not None:
                logits = logits + self._bias[columns]
        if self._scale != 1.0:
            logits = logits * self._scale
        return self._cap * torch.tanh(logits / self._cap) if self._cap else logits


def _blocks(model: PreTrainedModel) -> tuple[torch.nn.Module, Sequence[torch.nn.Module]]:
    """The list of the model's blocks, and the module that holds it.

    Raises:
        LookupError: There is no such list.
    """
    count = int(text_config(model).num_hidden_layers)
    for owner in model.modules():  # outer ones first
        for child in owner.children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == count:
                return owner, list(child)
    raise LookupError(f"it holds no list of its {count} blocks")
