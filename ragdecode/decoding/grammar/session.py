"""A grammar at work for one request: one parser, moved to whatever place of the draft tree is asked about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.constraint import ConstraintSession
from ragdecode.decoding.grammar.tokens import grammar_tokens
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
from ragdecode.errors import RunError

if TYPE_CHECKING:
    import torch


#: The library's own bounds are for services that trust nobody's grammar; passages make large ones. About a second.
_LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 50_000_000,
    "step_lexer_fuel": 20_000_000,
    "max_lexer_states": 2_000_000,
    "verbose_errors": False,
}


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """A state: the tokens so far, as a chain towards the beginning.

    Attributes:
        above: The state before the last token; None at the beginning.
        token: The last token; -1 at the beginning.
        depth: How many tokens there are.
        ended: Whether one of them ends the answer; the parser never sees that one.
    """

    above: Place | None = None
    token: int = -1
    depth: int = 0
    ended: bool = False


class GrammarSession(ConstraintSession):
    """Allows what a grammar allows, and an end where the text is a sentence of the grammar.

    A state is a chain of tokens, so that forking costs nothing. The parser goes to a state by taking back the tokens
    that lead away from it and reading those that lead to it: one of each between siblings.

    Args:
        name: Name of the constraint, for messages.
        grammar: The grammar, as llguidance reads it.
        vocabulary: The tokens as bytes.
        vocab_size: Columns of the logits (V).
        end_tokens: Tokens that end the answer.
    """

    def __init__(
        self,
        name: str,
        grammar: str,
        vocabulary: Vocabulary,
        vocab_size: int,
        end_tokens: Collection[int],
    ) -> None:
        self._name = name
        self._ends = sorted(token for token in end_tokens if token < vocab_size)
        self._is_end = frozenset(self._ends)
        self._vocab_size = vocab_size
        self._tokens = grammar_tokens(vocabulary, vocab_size)
        self._begin = Place()
        self.restart(grammar)

    def restart(self, grammar: str) -> None:
        """Go on under another grammar, which must allow what is written already; states stay what they are.

        Raises:
            RunError: The grammar is too complex.
        """
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(**_LIMITS)
        self._parser: Any = LLMatcher(self._tokens, grammar, log_level=0, limits=limits)
        self._at = self._begin
        self._check()

    def start(self) -> Place:
        """The beginning."""
        return self._begin

    def advance(self, state: Place, token: int) -> Place:
        """One token further; the parser does not move yet."""
        return Place(state, token, state.depth + 1, state.ended or token in self._is_end)

    def mask(self, state: Place) -> torch.Tensor | None:
        """Forbidden tokens, bool ``[V]``.

        Raises:
            RunError: The parser gave up: the grammar is too complex for its limits here.
        """
        import numpy as np
        import torch

        if state.ended:  # nothing below an end is ever read
            return torch.ones(self._vocab_size, dtype=torch.bool)
        self._move(state)
        parser = self._parser
        if parser.is_stopped() and not parser.is_error():
            mask = torch.ones(self._vocab_size, dtype=torch.bool)
        else:
            bits = np.frombuffer(parser.compute_bitmask(), dtype=np.uint8)
            mask = torch.from_numpy(np.unpackbits(bits, count=self._vocab_size, bitorder="little") == 0)
        self._check()
        mask[self._ends] = not parser.is_accepting()
        return mask

    def _move(self, state: Place) -> None:
        """Bring the parser to a state."""
        here, there, back, ahead = self._at, state, 0, list[int]()
        while here is not there:
            if there.depth >= here.depth:
                assert there.above is not None
                ahead.append(there.token)
                there = there.above
            else:
                assert here.above is not None
                back += 1
                here = here.above
        if back:
            self._parser.rollback(back)
        if ahead:
            self._parser.consume_tokens(ahead[::-1])
        self._at = state
        self._check()

    def _check(self) -> None:
        if self._parser.is_error():
            raise RunError(f"constraint {self._name}: {brief(self._parser.get_error())}")


def brief(message: str) -> str:
    """What the library complains of, without what it says of its own state."""
    return message.split("\n", 1)[0].strip()
