"""The models that indexes need, opened when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from ragdecode.errors import InputError
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    from ragdecode.models.encoder import Encoder
    from ragdecode.models.store import ModelStore
    from ragdecode.models.tokenizer import Tokenizer


class IndexModels:
    """Tokenizer and encoders of an index.

    Args:
        spec: The index; None for a pipeline that has none.
        model: The pipeline's language model, whose tokens are counted unless the index names a tokenizer.
        device: Where encoders run.
        store: Cache of models; the user's own if left out.
        fetch: Fetch weights that are not on this machine.
    """

    def __init__(
        self,
        spec: IndexSpec | None,
        model: ModelSpec | None,
        *,
        device: str = "auto",
        store: ModelStore | None = None,
        fetch: bool = False,
    ) -> None:
        self._spec = spec
        self._model = (spec.tokenizer if spec else None) or model
        self._device, self._store, self._fetch = device, store, fetch
        self._encoders: dict[str, Encoder] = {}

    def __getstate__(self) -> dict[str, object]:
        """For workers: they open the models themselves, and fetch nothing."""
        state = {name: value for name, value in self.__dict__.items() if name != "tokenizer"}
        return {**state, "_encoders": {}, "_fetch": False}

    @property
    def language_model(self) -> ModelSpec:
        """The model whose tokens are counted.

        Raises:
            InputError: Nobody says which.
        """
        if self._model is None:
            raise InputError(
                "the index does not say whose tokens are counted",
                hint="add 'tokenizer: MODEL' to the index, or name the pipeline that uses it",
            )
        return self._model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that counts.

        Raises:
            InputError: Nobody says which, or its files are not on this machine.
        """
        from ragdecode.models.store import ModelStore
        from ragdecode.models.tokenizer import Tokenizer

        return Tokenizer((self._store or ModelStore()).require(self.language_model, self._fetch))

    @property
    def tokenizer_fingerprint(self) -> str:
        """Identity of the tokenizer."""
        return self.tokenizer.fingerprint

    @property
    def token_offsets(self) -> Callable[[str], list[tuple[int, int]]]:
        """Character offsets of the tokens of a text."""
        fast = self.tokenizer.fast
        return lambda text: fast.encode(text, add_special_tokens=False).offsets

    def encoder(self, model: ModelSpec) -> Encoder:
        """The encoder of a model, opened once."""
        from ragdecode.models.encoder import load_encoder

        key = model.model_dump_json()
        if key not in self._encoders:
            self._encoders[key] = load_encoder(model, device=self._device, store=self._store, fetch=self._fetch)
        return self._encoders[key]
