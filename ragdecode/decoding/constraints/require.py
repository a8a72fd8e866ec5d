"""Required phrases: the answer may not end before it contains them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.constraint import Constraint, ConstraintSession
from ragdecode.decoding.phrases import token_variants
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request


class RequireSettings(Settings):
    """Settings of the requirement."""

    phrases: tuple[str, ...] = Field(min_length=1)
    """Words or phrases that the answer must contain."""


@register("constraint", "require", RequireSettings)
class Require(Constraint):
    """Keeps the answer from ending before every phrase is in it; writes the missing ones when room runs out.

    A phrase counts when its tokens appear in a row, as tokenised at the start of a text or after a space.
    """

    def start(self, request: Request, vocab_size: int) -> ConstraintSession:
        """Tokenise the phrases.

        Raises:
            InputError: The phrases alone are longer than the longest answer.
        """
        variants = [token_variants(phrase, request, "require") for phrase in self.settings.phrases]
        needed = sum(len(forms[0]) for forms in variants)
        if needed > request.max_new_tokens:
            raise InputError(
                f"constraint require: the phrases take {needed} tokens, max_new_tokens is {request.max_new_tokens}",
                hint="raise decode.max_new_tokens or require less",
            )
        return _Session(variants, request, vocab_size)


@dataclass(frozen=True)
class _State:
    """Tokens so far, phrases still missing, the last tokens, and what is being written by force."""

    position: int
    missing: frozenset[int]
    tail: tuple[int, ...]
    forced: tuple[int, ...]


class _Session(ConstraintSession):
    def __init__(self, variants: list[list[tuple[int, ...]]], request: Request, vocab_size: int) -> None:
        import torch

        self._variants = variants
        self._room = request.max_new_tokens
        self._window = max(len(form) for forms in variants for form in forms)
        self._vocab_size = vocab_size
        self._ends = torch.zeros(vocab_size, dtype=torch.bool)
        self._ends[[token for token in request.end_tokens if token < vocab_size]] = True

    def start(self) -> _State:
        return self._force(_State(0, frozenset(range(len(self._variants))), (), ()))

    def advance(self, state: _State, token: int) -> _State:
        tail = (*state.tail, token)[-self._window :]
        missing = frozenset(
            index for index in state.missing if not any(tail[-len(form) :] == form for form in self._variants[index])
        )
        return self._force(_State(state.position + 1, missing, tail, state.forced[1:]))

    def mask(self, state: _State) -> torch.Tensor | None:
        if state.forced:
            mask = ~self._ends.new_zeros(self._vocab_size)
            mask[state.forced[0]] = False
            return mask
        return self._ends if state.missing else None

    def _force(self, state: _State) -> _State:
        """Begin to write the missing phrases once they just fit."""
        if state.forced or not state.missing:
            return state
        rest = tuple(token for index in sorted(state.missing) for token in self._variants[index][0])
        if self._room - state.position > len(rest):
            return state
        return _State(state.position, state.missing, state.tail, rest)
