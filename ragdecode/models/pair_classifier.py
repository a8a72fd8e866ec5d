"""Sequence classifiers that read two texts together: what cross-encoders and entailment models are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.models.config import auto_config, max_tokens, quiet_loading
from ragdecode.models.padded import PaddedInputs
from ragdecode.models.progress import Progress
from ragdecode.models.tokenizer import Tokenizer
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class PairClassifier:
    """A sequence classifier over pairs of texts; its weights are read when the first pair comes.

    Attributes:
        path: Its folder.
        labels: Names of its labels, in the order of the logits.
        max_tokens: Longest pair; the longer side is cut.
    """

    def __init__(self, spec: ModelSpec, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.path = path
        self._spec = spec
        self._device = device
        self._dtype = dtype
        self._config = auto_config(path, spec)
        names: dict[Any, Any] = self._config.id2label or {}
        self.labels = tuple(str(names.get(at, at)) for at in range(int(self._config.num_labels or 0)))
        tokenizer = Tokenizer(path)
        self.max_tokens = max_tokens(self._config.to_dict(), tokenizer.max_length)
        self._inputs = PaddedInputs(tokenizer, self.max_tokens)

    @cached_property
    def _model(self) -> PreTrainedModel:
        from transformers import AutoModelForSequenceClassification

        try:
            with quiet_loading():
                model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                    self.path,
                    config=self._config,
                    dtype=self._dtype,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=self._spec.trust_remote_code,
                )
        except (ValueError, OSError, KeyError) as error:
            raise InputError(f"{self.path} cannot be loaded as a cross-encoder: {error}") from error
        model.to(self._device)  # type: ignore[arg-type]
        model.train(False)
        return model

    def logits(
        self, pairs: Sequence[tuple[str, str]], batch_size: int = 32, progress: Progress | None = None
    ) -> np.ndarray:
        """Logits of the labels, float32 ``[n, labels]``."""
        import numpy as np
        import torch

        made = np.zeros((len(pairs), len(self.labels)), dtype=np.float32)
        segments = getattr(self._config, "type_vocab_size", 0) > 1
        done = 0
        with torch.inference_mode():
            for batch in self._inputs.batches(list(pairs), batch_size):
                types = {"token_type_ids": batch.types.to(self._device)} if segments else {}
                mask = batch.mask.long().to(self._device)
                logits = self._model(input_ids=batch.ids.to(self._device), attention_mask=mask, **types).logits
                made[batch.places] = logits.float().cpu().numpy()
                done += len(batch.places)
                if progress is not None:
                    progress("score", done, len(pairs))
        return made
