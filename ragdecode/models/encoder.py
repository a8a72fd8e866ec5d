"""Sentence encoders: texts to vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ragdecode.errors import InputError
from ragdecode.models.config import auto_config, quiet_loading, read_config
from ragdecode.models.opening import locate
from ragdecode.models.padded import PaddedInputs
from ragdecode.models.progress import Progress, silent
from ragdecode.models.sentence_modules import SentenceModules
from ragdecode.models.store import ModelStore
from ragdecode.models.tokenizer import Tokenizer
from ragdecode.models.weights import check_weights, read_tensors, weights_fingerprint
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Encoder:
    """A sentence encoder: a language model, pooling, and what follows it.

    Attributes:
        spec: What YAML says of it.
        path: Its folder.
        modules: Pooling and the like.
        tokenizer: Its tokenizer.
        max_tokens: Longest input, special tokens included; the rest of a text is not read.
        dimension: Length of a vector (D).
    """

    def __init__(self, spec: ModelSpec, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.spec = spec
        self.path = path
        self.modules = SentenceModules.read(path)
        self._folder = path / self.modules.transformer
        self._config = read_config(self._folder)
        self._device = device
        self._dtype = dtype
        self.tokenizer = Tokenizer(self._folder)
        positions = self._config.get("max_position_embeddings")
        limits = [
            value
            for value in (self.modules.max_tokens, self.tokenizer.max_length, positions)
            if isinstance(value, int) and value > 0
        ]
        self.max_tokens = min(limits, default=512)
        hidden = self._config.get("hidden_size") or self._config.get("dim") or self._config.get("d_model")
        if not isinstance(hidden, int):
            raise InputError(f"{self._folder / 'config.json'} does not say how large a hidden state is")
        self.dimension = hidden * len(self.modules.pooling)
        self._inputs = PaddedInputs(self.tokenizer, self.max_tokens)

    @property
    def normalised(self) -> bool:
        """Whether vectors have length 1, so that their inner product is the cosine."""
        return self.modules.normalise

    @cached_property
    def fingerprint(self) -> str:
        """Identity of weights, tokenizer and modules: 16 hexadecimal digits."""
        text = f"{weights_fingerprint(self._folder)} {self.tokenizer.fingerprint} {self.modules} {self.max_tokens}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _forward(self) -> Forward:
        import torch

        if not self.spec.trust_remote_code:
            from ragdecode.models.bert import Bert, is_plain_bert

            if is_plain_bert(self._config):
                tensors = read_tensors(self._folder, device=self._device, dtype=self._dtype)
                try:
                    return Bert(self._config, tensors)
                except KeyError as error:
                    raise InputError(f"{self._folder}: the weights lack {error}") from error
        from transformers import AutoModel

        try:
            with quiet_loading():
                model = AutoModel.from_pretrained(
                    self._folder,
                    config=auto_config(self._folder, self.spec),
                    dtype=self._dtype,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=self.spec.trust_remote_code,
                )
        except (ValueError, OSError, KeyError) as error:
            raise InputError(f"{self._folder} cannot be loaded as an encoder: {error}") from error
        model = model.to(self._device).eval()

        @torch.inference_mode()
        def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            return hidden

        return forward

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        progress: Progress | None = None,
        role: Literal["query", "document"] = "document",
    ) -> np.ndarray:
        """Vectors of texts.

        Args:
            texts: Any strings.
            batch_size: Texts that are read together.
            progress: Told how many texts are done.
            role: What the texts are, for models that want to be told (they bring a prompt for it).

        Returns:
            float32 ``[n, D]``, in the order of ``texts``; of length 1 if the model's modules say so.
        """
        import numpy as np
        import torch

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        prompt = self.modules.prompts.get(role, "")
        inputs = [prompt + text for text in texts]
        if self.modules.lower_case:
            inputs = [text.lower() for text in inputs]
        done = 0
        with torch.inference_mode():
            for batch in self._inputs.batches(inputs, batch_size):
                mask = batch.mask.to(self._device)
                hidden = self._forward(batch.ids.to(self._device), mask)  # [B, L, H]
                vectors[batch.places] = self.modules.pool(hidden, mask).cpu().numpy()
                done += len(batch.places)
                if progress is not None:
                    progress("encode", done, len(texts))
        return vectors


def load_encoder(
    spec: ModelSpec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    store: ModelStore | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> Encoder:
    """Open a sentence encoder; its weights are read when the first text is encoded.

    Args:
        spec: The model.
        device: ``auto``, ``cpu``, ``cuda``, ...
        dtype: ``auto``, ``float32``, ``bfloat16``, ...
        store: Cache of models; the user's own if left out.
        fetch: Fetch weights that are not on this machine.
        progress: Told what is done, if something is fetched.

    Raises:
        InputError: The weights are not there, or are not a supported encoder's; no such device or dtype.
        RunError: The weights are damaged, or fetching failed.
    """
    path, where, precision = locate(
        spec, "encoder", device=device, dtype=dtype, store=store, fetch=fetch, progress=progress
    )
    encoder = Encoder(spec, path, where, precision)
    check_weights(path / encoder.modules.transformer)
    return encoder
