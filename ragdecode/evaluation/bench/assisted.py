"""Assisted generation of transformers as a contender: a smaller model drafts, the target verifies."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: The drafter whose model is the assistant.
DRAFTER = "draft_model"
#: The assistant that is cut from the target has one in so many of its layers.
_SHARE = 3

_LAYER = re.compile(r"\.layers\.(\d+)\.")


class AssistedContender(StockContender):
    """``model.generate`` with an assistant: the pipeline's own draft model, else the first layers of the target."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.alone = True

    def prepare(self, request: DecodeRequest) -> None:
        """See `Contender.prepare`."""
        super().prepare(request)
        self.note = self._assistant[1]

    def _assistance(self) -> dict[str, Any]:
        assistant = self._assistant[0]
        more: dict[str, Any] = {"assistant_model": assistant}
        draft = self.pipeline.model_of(DRAFTER)
        if draft is not None and draft.tokenizer.fingerprint != self.pipeline.tokenizer.fingerprint:
            if assistant.config.vocab_size == self.pipeline.model.hf_model().config.vocab_size:
                raise InputError(
                    "transformers takes two vocabularies of the same size for one, and the draft model's is another",
                    hint="leave hf-assisted out",
                )
            more |= {"tokenizer": self.pipeline.model.hf_tokenizer(), "assistant_tokenizer": draft.hf_tokenizer()}
        return more

    @cached_property
    def _assistant(self) -> tuple[PreTrainedModel, str]:
        """The assistant, and what it is."""
        draft = self.pipeline.model_of(DRAFTER)
        if draft is not None:
            return draft.hf_model(), f"assistant: {draft.spec.name or draft.path.name}"
        return first_layers(self.pipeline.model.hf_model())


def first_layers(model: PreTrainedModel) -> tuple[PreTrainedModel, str]:
    """A copy that has the first third of a model's layers, over the same tensors, and its label.

    Raises:
        InputError: The model does not keep its blocks in ``layers``, or has only one.
    """
    from transformers.initialization import no_init_weights

    state = model.state_dict()
    of = model.config.num_hidden_layers
    numbers = {int(found[1]) for name in state if (found := _LAYER.search(name))}
    if numbers != set(range(of)) or of < 2:
        raise InputError(
            "hf-assisted cannot cut an assistant out of this model: its blocks are not kept in 'layers'",
            hint=f"name an assistant with the drafter {DRAFTER}, or leave hf-assisted out",
        )
    keep = max(1, of // _SHARE)
    settings = model.config.to_dict() | {"num_hidden_layers": keep}
    if settings.get("layer_types"):
        settings["layer_types"] = settings["layer_types"][:keep]
    config = type(model.config)(**settings)
    with no_init_weights():
        cut: Any = type(model)(config)
    cut = cut.to(dtype=model.dtype, device=model.device)
    mine = {
        name: tensor for name, tensor in state.items() if not (found := _LAYER.search(name)) or int(found[1]) < keep
    }
    cut.load_state_dict(mine, assign=True)
    cut.tie_weights()
    cut.generation_config = type(model.generation_config).from_dict(model.generation_config.to_dict())
    cut.train(False)
    assistant: PreTrainedModel = cut
    return assistant, f"assistant: first {keep} of {of} layers of the target"
