"""Sentence encoders: texts to vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ragdecode.errors import InputError
from ragdecode.models.config import auto_config, max_tokens, quiet_loading, read_config
from ragdecode.models.long_inputs import REACH, LongText, Measure, positions
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
    from numpy.typing import NDArray

    from ragdecode.models.bert import Bert

    Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Encoder:
    """A sentence encoder: a language model, pooling, and what follows it.

    Attributes:
        spec: What YAML says of it.
        path: Its folder.
        modules: Pooling and the like.
        tokenizer: Its tokenizer.
        max_tokens: Longest input (the window), special tokens included; what becomes of longer texts says `spec`.
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
        self.max_tokens = max_tokens(self._config, self.modules.max_tokens, self.tokenizer.max_length)
        hidden = self._config.get("hidden_size") or self._config.get("dim") or self._config.get("d_model")
        if not isinstance(hidden, int):
            raise InputError(f"{self._folder / 'config.json'} does not say how large a hidden state is")
        self.dimension = hidden * len(self.modules.pooling)
        self._inputs = PaddedInputs(self.tokenizer, self.max_tokens)
        if spec.long not in ("cut", "chunks_mean") and not self._own:
            raise InputError(
                f"{path}: long: {spec.long} needs a BERT with a learned table of positions, and this is none",
                hint="say long: chunks_mean, or long: cut",
            )

    @property
    def normalised(self) -> bool:
        """Whether vectors have length 1, so that their inner product is the cosine."""
        return self.modules.normalise

    @cached_property
    def fingerprint(self) -> str:
        """Identity of weights, tokenizer, modules, precision and treatment of long texts: 16 hexadecimal digits."""
        text = f"{weights_fingerprint(self._folder)} {self.tokenizer.fingerprint} {self.modules} {self.max_tokens}"
        text = f"{text} {self._dtype} {self.spec.long}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _own(self) -> bool:
        """Whether the forward pass is our own."""
        from ragdecode.models.bert import is_plain_bert

        return not self.spec.trust_remote_code and is_plain_bert(self._config)

    @cached_property
    def _bert(self) -> Bert:
        from ragdecode.models.bert import Bert

        tensors = read_tensors(self._folder, device=self._device, dtype=self._dtype)
        try:
            return Bert(self._config, tensors)
        except KeyError as error:
            raise InputError(f"{self._folder}: the weights lack {error}") from error

    @cached_property
    def _forward(self) -> Forward:
        import torch

        if self._own:
            return self._bert
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
        inputs = self._prepared(texts, role)

        def told(done: int) -> None:
            if progress is not None:
                progress("encode", done, len(texts))

        fitting, beyond = (range(len(inputs)), []) if self.spec.long == "cut" else self._measure.split(inputs)
        done = 0
        with torch.inference_mode():
            for batch in self._inputs.batches([inputs[place] for place in fitting], batch_size):
                vectors[[fitting[place] for place in batch.places]] = self._vectors(batch.ids, batch.mask)
                done += len(batch.places)
                told(done)
            for some, made in self._beyond(beyond, batch_size):
                vectors[some] = made
                done += len(some)
                told(done)
        return vectors

    def encode_chunks(
        self, texts: Sequence[str], batch_size: int = 32, role: Literal["query", "document"] = "document"
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Vectors of the windows of texts, for who ranks by the best of them; `encode` gives one vector a text.

        Returns:
            ``[m, D]``, and the text of each ``[m]``, ascending.
        """
        import numpy as np
        import torch

        inputs = self._prepared(texts, role)
        fitting, beyond = self._measure.split(inputs)
        owners = np.asarray([text.place for text in beyond for _ in text.chunks(self.max_tokens)], np.int64)
        with torch.inference_mode():
            whole = np.zeros((len(fitting), self.dimension), np.float32)
            for batch in self._inputs.batches([inputs[place] for place in fitting], batch_size):
                whole[batch.places] = self._vectors(batch.ids, batch.mask)
            parts = self._chunks(beyond, batch_size)
        places = np.concatenate([np.asarray(fitting, np.int64), owners])
        order = np.argsort(places, kind="stable")
        return np.concatenate([whole, parts])[order], places[order]

    @cached_property
    def _measure(self) -> Measure:
        return Measure(self.tokenizer, self.max_tokens)

    def _prepared(self, texts: Sequence[str], role: str) -> list[str]:
        prompt = self.modules.prompts.get(role, "")
        inputs = [prompt + text for text in texts]
        return [text.lower() for text in inputs] if self.modules.lower_case else inputs

    def _vectors(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor | None = None
    ) -> NDArray[np.float32]:
        """Vectors of padded ids ``[B, D]``; pooled in single precision whatever the model computes in."""
        ids, mask = ids.to(self._device), mask.to(self._device)
        extra = () if positions is None else (positions.to(self._device),)
        forward = self._bert if extra else self._forward
        hidden = forward(ids, mask, *extra)  # [B, L, H]
        vectors: NDArray[np.float32] = self.modules.pool(hidden.float(), mask).cpu().numpy()
        return vectors

    def _chunks(self, texts: Sequence[LongText], batch_size: int) -> NDArray[np.float32]:
        """Vectors of the chunks of texts, one after the other ``[m, D]``."""
        import numpy as np

        rows = [chunk for text in texts for chunk in text.chunks(self.max_tokens)]
        batches = [self._inputs.pad(rows[at : at + batch_size]) for at in range(0, len(rows), batch_size)]
        return np.concatenate(
            [np.zeros((0, self.dimension), np.float32), *(self._vectors(*batch) for batch in batches)]
        )

    def _beyond(self, texts: Sequence[LongText], batch_size: int) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Places and vectors of texts longer than the window, longest first."""
        import numpy as np
        import torch

        ordered = sorted(texts, key=lambda text: -len(text.ids))
        while ordered:
            # as many as take the memory of a full batch of windows
            count = max(1, batch_size * self.max_tokens // len(ordered[0].ids))
            some, ordered = ordered[:count], ordered[count:]
            places = [text.place for text in some]
            if self.spec.long == "chunks_mean":
                counts = [len(text.chunks(self.max_tokens)) for text in some]
                sums = np.add.reduceat(self._chunks(some, batch_size), np.cumsum([0, *counts[:-1]]))
                means = torch.from_numpy(sums / np.asarray(counts, np.float32)[:, None])
                yield places, (torch.nn.functional.normalize(means) if self.normalised else means).numpy()
                continue
            rows = [text.within(REACH * self.max_tokens) for text in some]
            ids, mask = self._inputs.pad(rows)
            placed = torch.zeros(ids.shape, dtype=torch.float32)
            for at, row in enumerate(rows):
                placed[at, : len(row)] = positions(len(row), self.max_tokens, self.spec.long)
            yield places, self._vectors(ids, mask, placed)


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
        dtype: ``auto`` for what the model's file says, ``float32``, ``bfloat16``, ...
        store: Cache of models; the user's own if left out.
        fetch: Fetch weights that are not on this machine.
        progress: Told what is done, if something is fetched.

    Raises:
        InputError: The weights are not there, or are not a supported encoder's; no such device or dtype.
        RunError: The weights are damaged, or fetching failed.
    """
    dtype = spec.dtype if dtype == "auto" else dtype
    path, where, precision = locate(
        spec, "encoder", device=device, dtype=dtype, store=store, fetch=fetch, progress=progress
    )
    encoder = Encoder(spec, path, where, precision)
    check_weights(path / encoder.modules.transformer)
    return encoder
