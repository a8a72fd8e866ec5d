"""The pipeline's own language model as a scorer of texts, for reranking by query likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ragdecode.errors import InputError
from ragdecode.pipeline.memory import memory_errors
from ragdecode.pipeline.views import MAIN

if TYPE_CHECKING:
    from ragdecode.pipeline.models import PipelineModels


class QueryLikelihood:
    """Mean log-probability of a continuation's tokens after a prefix, in nats; loads the model when first called."""

    def __init__(self, models: PipelineModels) -> None:
        self._models = models

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Score (prefix, continuation) pairs; a prefix that is too long loses its beginning.

        Raises:
            InputError: A continuation alone is longer than the model's window.
            RunError: Memory ran out.
        """
        return [sum(values) / len(values) if values else 0.0 for values in self.of_tokens(pairs)]

    def of_tokens(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Log-probability of each token of the continuations; a prefix that is too long loses its beginning.

        Raises:
            InputError: A continuation alone is longer than the model's window.
            RunError: Memory ran out.
        """
        from ragdecode.decoding.scoring import continuation_log_probs

        models = self._models
        backend, window, engine = models.backends[MAIN], models.windows[MAIN], models.engine
        encoded = [(self._ids(prefix), self._ids(continuation)) for prefix, continuation in pairs]
        start = self._start()
        cut = []
        for prefix, continuation in encoded:
            room = window - len(continuation) - len(start)
            if room < 1:
                raise InputError(f"a text of {len(continuation)} tokens is longer than the model's window of {window}")
            cut.append(([*start, *prefix[-room:]], continuation))
        with engine.lock, memory_errors("reranking"):
            return continuation_log_probs(backend, cut, vocab_size=models.vocab_size)

    def _ids(self, text: str) -> list[int]:
        return self._models.tokenizer.encode(text, special=False)

    def _start(self) -> list[int]:
        """The token that this model's texts begin with, if it wants one."""
        tokenizer = self._models.tokenizer
        first: list[int] = tokenizer.fast.encode("", add_special_tokens=True).ids[:1]
        begin = tokenizer.special_tokens.get(tokenizer.named_tokens.get("bos_token", ""))
        return first if first == [begin] else []
