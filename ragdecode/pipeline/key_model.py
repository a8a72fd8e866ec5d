"""A causal model as what builds memories: it reads stretches of text and tells vectors of its last block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

from ragdecode.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.decoding.backend import Backend
    from ragdecode.indexing.memory.key_model import Key
    from ragdecode.indexing.models import IndexModels
    from ragdecode.models.causal import CausalModel
    from ragdecode.spec.pipeline import EngineSpec


class BackendKeys:
    """Vectors from a backend; see `ragdecode.indexing.memory.key_model.KeyModel`.

    Args:
        model: The model, without its weights.
        open_backend: Gives it with its weights.
        lock: Held for a pass, where others use the backend too.
    """

    def __init__(
        self,
        model: CausalModel,
        open_backend: Callable[[], Backend],
        lock: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._model = model
        self._open = open_backend
        self._lock = lock

    @cached_property
    def _backend(self) -> Backend:
        return self._open()

    @property
    def fingerprint(self) -> str:
        """Identity of weights and tokenizer."""
        return self._model.fingerprint

    @property
    def dtype(self) -> str:
        """Precision in which it computes."""
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def max_positions(self) -> int:
        """Longest text that it can read, in tokens."""
        return self._model.max_positions

    @property
    def hidden_size(self) -> int:
        """Expected width of a vector."""
        return int(self._model.raw_config.get("hidden_size") or self._model.config.hidden_size)

    def width(self, key: Key) -> int:
        """Width of the vectors.

        Raises:
            InputError: The model does not tell them.
        """
        width = self._backend.taps.get(key)
        if width is None:
            raise InputError(
                f"the model {self._model.spec.name} does not tell the vector {key!r}",
                hint=f"take one of {', '.join(self._backend.taps)}",
                component="store memory",
            )
        return width

    def vectors(self, texts: Sequence[Sequence[int]], first: Sequence[int], key: Key) -> NDArray[np.float32]:
        """Vectors of texts read in one pass, from place ``first[i]`` of each on, one after the other ``[n, W]``."""
        from ragdecode.decoding.backend import Segment

        self.width(key)
        backend = self._backend
        with self._lock():
            rows: list[int] = []
            try:
                rows.extend(backend.open_row(len(text)) for text in texts)
                told = backend.forward(
                    [
                        Segment(row, 0, text, range(len(text)), None, range(start, len(text)))
                        for row, text, start in zip(rows, texts, first, strict=True)
                    ],
                    taps=(key,),
                    logits=False,
                ).taps[key]
            finally:
                for row in rows:
                    backend.close_row(row)
        vectors: NDArray[np.float32] = told.float().cpu().numpy()
        return vectors


def index_key_model(models: IndexModels, engine: EngineSpec) -> BackendKeys:
    """The language model of an index that no pipeline has opened.

    Args:
        models: The models of the index.
        engine: How it runs.

    Raises:
        InputError: Nobody says which model that is, or its weights are not on this machine.
    """
    from ragdecode.models.causal import load_causal
    from ragdecode.pipeline.models import open_backend

    model = load_causal(models.language_model, device=engine.device, dtype=engine.dtype)
    return BackendKeys(model, lambda: open_backend(model, engine))
