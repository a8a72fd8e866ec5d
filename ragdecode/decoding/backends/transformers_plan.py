"""What a transformers model needs of its masks, read from its configuration; and what cannot be served at all."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ragdecode.decoding.backends.transformers_batch import Batch

logger = logging.getLogger(__name__)

FULL = "full_attention"
SLIDING = "sliding_attention"
CHUNKED = "chunked_attention"

#: Stands for "no limit" where a configuration names none.
NO_LIMIT = 2**31 - 1

#: Rotary embeddings that change with the longest row of a batch: beyond the original length a row would depend
#: on its neighbours, and cached keys would have been rotated otherwise.
_LENGTH_DEPENDENT_ROTARY = ("dynamic", "longrope")


@dataclass(frozen=True)
class MaskPlan:
    """Which mask goes where.

    Attributes:
        kinds: Kinds of attention layers in the model. One kind takes a plain mask, several take a mapping.
        window: Positions that sliding layers see, the token itself included; None if there are none.
        limit: Longest row for which the masks and positions are those of the stock model.
    """

    kinds: frozenset[str]
    window: int | None
    limit: int

    def masks(self, batch: Batch, dtype: torch.dtype) -> torch.Tensor | dict[str, torch.Tensor]:
        """The mask or masks of a pass, each ``[B, 1, L, S]``."""
        full = batch.mask(dtype) if self.kinds != {SLIDING} else None
        sliding = batch.mask(dtype, self.window) if SLIDING in self.kinds else None
        by_kind = {kind: sliding if kind == SLIDING else full for kind in self.kinds}
        masks = {kind: mask for kind, mask in by_kind.items() if mask is not None}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def within_window(self) -> MaskPlan:
        """The same for rows that no window cuts: a plain mask is right for them, whatever the layers are."""
        limit = self.limit if self.window is None else min(self.limit, self.window)
        return MaskPlan(frozenset({FULL}), None, limit)

    def with_window(self, window: int) -> MaskPlan:
        """The same with another window."""
        return replace(self, window=window)


def plan_masks(model: PreTrainedModel) -> MaskPlan:
    """Read the plan off the configuration.

    Raises:
        InputError: The model has layers that are not attention over cached keys and values.
    """
    config = text_config(model)
    window: int | None = getattr(config, "sliding_window", None) or None
    kinds = frozenset(getattr(config, "layer_types", None) or ({SLIDING} if window else {FULL}))
    others = kinds - {FULL, SLIDING, CHUNKED}
    if others:
        raise refusal(model, f"its layers of kind {', '.join(sorted(others))} carry a state that cannot be rolled back")
    limit = int(getattr(config, "max_position_embeddings", None) or NO_LIMIT)
    if CHUNKED in kinds:  # inside the first chunk it is plain causal attention
        limit = min(limit, int(getattr(config, "attention_chunk_size", None) or limit))
    limit = min(limit, _rotary_limit(config, limit))
    if SLIDING not in kinds or window is None:
        window = None
        kinds = frozenset(FULL if kind == SLIDING else kind for kind in kinds)
    return MaskPlan(kinds, window, limit)


def refuse_unfit(model: PreTrainedModel) -> None:
    """Refuse what is known beforehand not to work.

    Raises:
        InputError: With the reason and the way out.
    """
    config = model.config
    if getattr(config, "is_encoder_decoder", False):
        raise refusal(model, "it is an encoder-decoder model")
    if getattr(model, "_is_stateful", False):
        raise refusal(model, "it keeps a recurrent state that cannot be rolled back to an earlier token")
    if getattr(config, "add_cross_attention", False):
        raise refusal(model, "its layers attend to an encoder")
    text = text_config(model)
    if getattr(text, "use_bidirectional_attention", False) or not getattr(text, "is_causal", True):
        raise refusal(model, "its attention looks ahead")
    known = inspect.signature(model.forward).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    for name in ("position_ids", "past_key_values", "attention_mask"):
        if name not in known and not takes_any:
            raise refusal(model, f"its forward takes no {name}")
    if model.get_output_embeddings() is None:
        raise refusal(model, "it has no language model head")
    implementation = getattr(text, "_attn_implementation", None)
    if implementation not in ("sdpa", "eager"):
        raise InputError(
            f"attention implementation {implementation!r} takes no 4-D masks, which draft trees need",
            hint='load the model with attn_implementation="sdpa" (or "eager")',
            component="transformers backend",
        )


def refusal(model: PreTrainedModel, reason: str) -> InputError:
    """The error that turns a model away."""
    return InputError(
        f"{type(model).__name__} cannot be decoded here: {reason}",
        hint="choose a decoder-only model with a standard key-value cache, such as a Llama, Qwen, Mistral, Gemma, "
        "Phi, GPT-NeoX or OPT model",
        component="transformers backend",
    )


def text_config(model: PreTrainedModel) -> Any:
    """The configuration of the language model, also where it is part of a larger one."""
    return model.config.get_text_config()


@contextmanager
def narrow_window(model: PreTrainedModel, window: int) -> Iterator[None]:
    """Give the stock model a small window for the time of a check, so that few tokens suffice to exceed it."""
    config = text_config(model)
    before = config.sliding_window
    config.sliding_window = window
    try:
        yield
    finally:
        config.sliding_window = before


def _rotary_limit(config: Any, limit: int) -> int:
    """Longest row before a length-dependent rotary embedding changes."""
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, Mapping):
        return limit
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    for one in nested or [parameters]:
        kind = one.get("rope_type", "default")
        if kind in _LENGTH_DEPENDENT_ROTARY:
            original = one.get("original_max_position_embeddings")
            original = original or getattr(config, "original_max_position_embeddings", None) or limit
            if original < limit:
                logger.warning("rotary embedding %r changes beyond %d tokens: rows are limited to that", kind, original)
            limit = min(limit, int(original))
    return limit
