"""What a view's prompt must be."""

from __future__ import annotations

from collections.abc import Sequence

from ragdecode.errors import InputError


def check_prompt(view: str, prompt: Sequence[int], new_tokens: int, window: int, vocab_size: int) -> None:
    """Refuse a prompt that cannot be run.

    Raises:
        InputError: It is empty, leaves no room in the model's window, or holds an unknown token.
    """
    length = len(prompt)
    if not length:
        raise InputError(f"the prompt of view {view!r} is empty")
    if length + new_tokens > window:
        raise InputError(
            f"the prompt of view {view!r} has {length} tokens; with {new_tokens} new ones that is more than the "
            f"model's window of {window}",
            hint="shorten the prompt or lower max_new_tokens",
        )
    for token in (min(prompt), max(prompt)):
        if not 0 <= token < vocab_size:
            raise InputError(f"the prompt of view {view!r} holds token {token}, outside the {vocab_size} known")
