"""What a retrieval stage may ask of the pipeline's own language model: short texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Generation:
    """A text to be written.

    Attributes:
        messages: The chat so far as (role, content), oldest first; the model's answer is what is wanted. Special-token
            strings in contents are neutralised.
        max_new_tokens: Longest answer.
        stop: Texts before which the answer ends.
        temperature: 0 takes the most probable token each time.
        seed: Seed of the noise where the temperature is above 0; equal requests with equal seeds give equal texts.
        answer_prefix: How the answer is made to start; not part of the text that comes back.
    """

    messages: tuple[tuple[str, str], ...]
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int = 0
    answer_prefix: str = ""


#: requests -> the text of each, in order; all are decoded together
Generate = Callable[[Sequence[Generation]], list[str]]
