"""Vectors of the last block of a stock model, listened to by hooks on its modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ragdecode.errors import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: what the families call the feed-forward part of a block, or the first of its layers where it has no module
_FEED_FORWARD = ("mlp", "feed_forward", "block_sparse_moe", "ffn", "fc1")
FFN_INPUT, BLOCK_OUTPUT = "ffn_input", "block_output"


class BlockTaps:
    """Finds the last block of a model and tells what goes into its feed-forward part and what comes out of it.

    Args:
        model: The stock model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        count = int(model.config.get_text_config().num_hidden_layers)
        lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
        blocks = next((module for module in lists if len(module) == count), None)
        self._block: torch.nn.Module | None = blocks[-1] if blocks is not None else None
        children = dict(self._block.named_children()) if self._block is not None else {}
        self._feed_forward = next((children[name] for name in _FEED_FORWARD if name in children), None)

    @property
    def names(self) -> frozenset[str]:
        """Taps whose modules were found."""
        found = {FFN_INPUT: self._feed_forward, BLOCK_OUTPUT: self._block}
        return frozenset(name for name, module in found.items() if module is not None)

    @contextmanager
    def listening(
        self, wanted: Collection[str], outputs: torch.Tensor, tokens: int
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Note vectors of the passes that run inside: ``[M, W]`` by name.

        Args:
            wanted: Names of taps; others than these two are passed over.
            outputs: Places in the flattened batch ``[M]``.
            tokens: Tokens of the batch, padding included.

        Raises:
            RunError: A module was called more than once a pass, or with something else than a vector a token.
        """
        heard: dict[str, list[torch.Tensor]] = {name: [] for name in wanted if name in self.names}
        told: dict[str, torch.Tensor] = {}

        def hear(name: str, value: torch.Tensor) -> None:
            heard[name].append(value.reshape(-1, value.shape[-1]))

        def enters(_: torch.nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            hear(FFN_INPUT, args[0] if args else named["hidden_states"])

        def leaves(_: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            hear(BLOCK_OUTPUT, output if isinstance(output, torch.Tensor) else output[0])

        with ExitStack() as hooks:
            if FFN_INPUT in heard and self._feed_forward is not None:
                hooks.callback(self._feed_forward.register_forward_pre_hook(enters, with_kwargs=True).remove)
            if BLOCK_OUTPUT in heard and self._block is not None:
                hooks.callback(self._block.register_forward_hook(leaves).remove)
            yield told
        for name, calls in heard.items():
            if len(calls) != 1 or len(calls[0]) != tokens:
                raise RunError(f"the model's {name} cannot be told: its module does not see one vector a token")
            told[name] = calls[0].index_select(0, outputs)
