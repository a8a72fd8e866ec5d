"""Banned words: token sequences that the answer may not contain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from ragdecode.decoding.constraint import Constraint, ConstraintSession
from ragdecode.decoding.phrases import token_variants
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request


class BanSettings(Settings):
    """Settings of the ban; at least one of the two."""

    phrases: tuple[str, ...] = ()
    """Words or phrases; each is banned as it is tokenised at the start of a text and after a space."""
    tokens: tuple[int, ...] = Field(default=())
    """Token ids."""

    @model_validator(mode="after")
    def _something(self) -> BanSettings:
        if not self.phrases and not self.tokens:
            raise ValueError("expected at least one phrase or token")
        if any(not phrase.strip() for phrase in self.phrases):
            raise ValueError("a phrase to ban is empty")
        return self


@register("constraint", "ban", BanSettings)
class Ban(Constraint):
    """Forbids tokens, and the last token of phrases; works on tokens, so another spelling can still slip through."""

    def start(self, request: Request, vocab_size: int) -> ConstraintSession:
        """Tokenise the phrases.

        Raises:
            InputError: A token id is outside the vocabulary, or phrases are given and nothing can tokenise them.
        """
        for token in self.settings.tokens:
            if not 0 <= token < vocab_size:
                raise InputError(f"constraint ban: token {token} is outside the vocabulary of {vocab_size}")
        sequences: list[tuple[int, ...]] = [(token,) for token in self.settings.tokens]
        sequences += [item for phrase in self.settings.phrases for item in token_variants(phrase, request, "ban")]
        return _Session(sequences, vocab_size)


class _Session(ConstraintSession):
    """State: the last tokens, as many as the longest phrase looks back."""

    def __init__(self, sequences: list[tuple[int, ...]], vocab_size: int) -> None:
        import torch

        self._always = torch.zeros(vocab_size, dtype=torch.bool)
        self._always[[item[0] for item in sequences if len(item) == 1]] = True
        self._longer = [item for item in sequences if len(item) > 1]
        self._window = max((len(item) for item in self._longer), default=1) - 1

    def start(self) -> tuple[int, ...]:
        return ()

    def advance(self, state: tuple[int, ...], token: int) -> tuple[int, ...]:
        return (*state, token)[-self._window :] if self._window else ()

    def mask(self, state: tuple[int, ...]) -> torch.Tensor | None:
        ends = [item[-1] for item in self._longer if state[1 - len(item) :] == item[:-1]]
        if not ends:
            return self._always
        mask = self._always.clone()
        mask[ends] = True
        return mask
