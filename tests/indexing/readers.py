"""A tiny random language model that builds memories, and its tokenizer: one id a letter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.pipeline.key_model import BackendKeys
from tests.decoding.tiny_models import tiny


class Letters:
    """Ids of ASCII characters."""

    fingerprint = "letters"
    vocab_size = 97

    def encode(self, text: str, special: bool) -> list[int]:
        return [ord(letter) % 97 for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(id_ if id_ >= 32 else id_ + 97) for id_ in ids)


class TinyReader:
    """A two-layer model. Keeps the texts that it reads.

    Args:
        stop_after: Interrupt the build after so many texts.
        scale: What vectors are multiplied with.
    """

    max_positions = 256
    hidden_size = 32

    def __init__(self, fingerprint="tiny-1", dtype="float64", stop_after=None, scale=1.0):
        self.fingerprint, self.dtype = fingerprint, dtype
        self.read: list[list[int]] = []
        self._stop_after, self._scale = stop_after, scale
        self._model = tiny("llama")
        backend = LlamaBackend(self._model.config.to_dict(), self._model.state_dict(), dtype=torch.float64)
        self._keys = BackendKeys(None, lambda: backend)

    def width(self, key):
        return self._keys.width(key)

    def vectors(self, texts, first, key):
        if self._stop_after is not None and len(self.read) >= self._stop_after:
            raise KeyboardInterrupt
        self.read += [list(text) for text in texts]
        return self._keys.vectors(texts, first, key) * np.float32(self._scale)

    def stock(self, ids, key) -> np.ndarray:
        """The same of a text by the stock model, ``[n, W]``, at half precision."""
        from tests.decoding.test_taps import stock_taps

        return stock_taps(self._model, "llama", list(ids))[key].numpy().astype(np.float16).astype(np.float64)
