"""Where a prompt shows its passages: they are marked, rendered again, and the marks looked up."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Around a passage: code points of the private use area, which mean nothing to a template or a tokenizer.
_OPEN, _CLOSE = "\ue0a0", "\ue0a1"


def mark(text: str, prompt: str) -> str:
    """A passage with marks around it; as it is if the prompt holds such characters already."""
    return text if _OPEN in prompt or _CLOSE in prompt else f"{_OPEN}{text}{_CLOSE}"


def spans_of(marked: str, prompt: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Token spans ``(start, stop)`` of the marked passages, in order.

    Args:
        marked: The prompt as it is rendered with marked passages.
        prompt: The prompt.
        offsets: Character span of each of the prompt's tokens.

    Returns:
        Nothing where the two differ in more than the marks: a template did more with a passage than to show it.
    """
    spans: list[tuple[int, int]] = []
    clean: list[str] = []
    length, opened = 0, None
    for piece in re.split(f"([{_OPEN}{_CLOSE}])", marked):
        if piece == _OPEN:
            opened = length
        elif piece == _CLOSE and opened is not None:
            spans.append((opened, length))
            opened = None
        else:
            clean.append(piece)
            length += len(piece)
    if "".join(clean) != prompt:
        return []
    return [_tokens(start, stop, offsets) for start, stop in spans]


def _tokens(start: int, stop: int, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The tokens that hold characters of a span."""
    inside = [index for index, (first, last) in enumerate(offsets) if first < stop and last > start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
