"""A vocabulary as llguidance reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

_made: WeakKeyDictionary[Vocabulary, dict[int, Any]] = WeakKeyDictionary()


def grammar_tokens(vocabulary: Vocabulary, size: int) -> Any:
    """The tokens of a vocabulary for llguidance (an ``LLTokenizer``); made once for each size.

    Control tokens and unused ids write nothing that a grammar could want. One more token, ``size``, stands for the
    end: which of the model's tokens end an answer is the request's affair.

    Args:
        vocabulary: The tokens as bytes.
        size: Ids that the model knows (V).
    """
    sizes = _made.setdefault(vocabulary, {})
    if size not in sizes:
        import llguidance

        wrapped: Any = llguidance.TokenizerWrapper(_Table(vocabulary, size))
        sizes[size] = llguidance.LLTokenizer(wrapped, n_vocab=size + 1, eos_token=size)
    return sizes[size]


class _Table:
    """What ``TokenizerWrapper`` asks of a tokenizer."""

    def __init__(self, vocabulary: Vocabulary, size: int) -> None:
        known = [vocabulary.writes(id_) for id_ in range(size)]
        self.eos_token_id = size
        self.bos_token_id = None
        self.tokens: Sequence[bytes] = [token or b"<[%d]>" % id_ for id_, token in enumerate([*known, None])]
        self.special_token_ids = [id_ for id_, token in enumerate([*known, None]) if not token]
        self._vocabulary = vocabulary

    def __call__(self, text: str | bytes) -> list[int]:
        """Tokens that write a text; nothing where the vocabulary cannot."""
        return self._vocabulary.read(text.encode() if isinstance(text, str) else text) or []
