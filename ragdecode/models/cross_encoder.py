"""Cross-encoders: how well a passage answers a query, read together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.errors import InputError
from ragdecode.models.config import auto_config, quiet_loading
from ragdecode.models.opening import locate
from ragdecode.models.padded import PaddedInputs
from ragdecode.models.progress import Progress, silent
from ragdecode.models.store import ModelStore
from ragdecode.models.tokenizer import Tokenizer
from ragdecode.models.weights import check_weights
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class CrossEncoder:
    """A sequence classifier with one label, or two of which the second means relevant.

    Attributes:
        spec: What YAML says of it.
        path: Its folder.
        max_tokens: Longest pair; the longer side is cut.
    """

    def __init__(self, spec: ModelSpec, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.spec = spec
        self.path = path
        self._device = device
        self._dtype = dtype
        self._config = auto_config(path, spec)
        self._labels = int(self._config.num_labels or 0)
        if self._labels not in (1, 2):
            raise InputError(f"{path} is no cross-encoder: it has {self._labels} labels, expected 1 or 2")
        tokenizer = Tokenizer(path)
        positions = getattr(self._config, "max_position_embeddings", None)
        limits = [value for value in (tokenizer.max_length, positions) if isinstance(value, int) and value > 0]
        self.max_tokens = min(limits, default=512)
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
                    trust_remote_code=self.spec.trust_remote_code,
                )
        except (ValueError, OSError, KeyError) as error:
            raise InputError(f"{self.path} cannot be loaded as a cross-encoder: {error}") from error
        model.to(self._device)  # type: ignore[arg-type]
        model.train(False)
        return model

    def score(
        self, pairs: Sequence[tuple[str, str]], batch_size: int = 32, progress: Progress | None = None
    ) -> np.ndarray:
        """Relevance of the passage to the query, for pairs ``(query, passage)``.

        Returns:
            float32 ``[n]``: the logit; with two labels the log-odds of the second.
        """
        import numpy as np
        import torch

        scores = np.zeros(len(pairs), dtype=np.float32)
        segments = getattr(self._config, "type_vocab_size", 0) > 1
        done = 0
        with torch.inference_mode():
            for batch in self._inputs.batches(list(pairs), batch_size):
                types = {"token_type_ids": batch.types.to(self._device)} if segments else {}
                mask = batch.mask.long().to(self._device)
                logits = self._model(input_ids=batch.ids.to(self._device), attention_mask=mask, **types).logits
                logits = logits.float()  # [B, labels]
                values = logits[:, 0] if self._labels == 1 else logits[:, 1] - logits[:, 0]
                scores[batch.places] = values.cpu().numpy()
                done += len(batch.places)
                if progress is not None:
                    progress("score", done, len(pairs))
        return scores


def load_cross_encoder(
    spec: ModelSpec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    store: ModelStore | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> CrossEncoder:
    """Open a cross-encoder; its weights are read when the first pair is scored.

    Args:
        spec: The model.
        device: ``auto``, ``cpu``, ``cuda``, ...
        dtype: ``auto``, ``float32``, ``bfloat16``, ...
        store: Cache of models; the user's own if left out.
        fetch: Fetch weights that are not on this machine.
        progress: Told what is done, if something is fetched.

    Raises:
        InputError: The weights are not there, or are not a cross-encoder's; no such device or dtype.
        RunError: The weights are damaged, or fetching failed.
    """
    path, where, precision = locate(
        spec, "cross_encoder", device=device, dtype=dtype, store=store, fetch=fetch, progress=progress
    )
    check_weights(path)
    return CrossEncoder(spec, path, where, precision)
