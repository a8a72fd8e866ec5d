"""How words that a user writes look as tokens inside an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request


def token_variants(phrase: str, request: Request, part: str) -> list[tuple[int, ...]]:
    """The phrase's tokens at the start of a text and after a space, distinct, that of mid-text first.

    Raises:
        InputError: The request has no tokenizer, or the phrase has no tokens.
    """
    if request.tokenize is None:
        raise InputError(
            f"constraint {part}: phrases need a tokenizer, and this request has none",
            hint="give token ids instead, or give the request `tokenize`",
        )
    phrase = phrase.strip()
    variants = dict.fromkeys(tuple(request.tokenize(text)) for text in (f" {phrase}", phrase))
    if not all(variants):
        raise InputError(f"constraint {part}: {phrase!r} has no tokens in this model's vocabulary")
    return list(variants)
