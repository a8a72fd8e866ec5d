"""Prompts in which one sentence has to be found and copied: a needle in a haystack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from ragdecode.errors import InputError
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.models.tokenizer import Tokenizer

_FILE = Path(__file__).with_name("needles.yaml")
_ASK = "\n\nBased on the text above, answer the question: "


class Needle(Settings):
    """A sentence and the question that it answers."""

    needle: str
    """The sentence."""
    question: str
    """The question."""


@dataclass(frozen=True)
class Trial:
    """One prompt.

    Attributes:
        prompt: Token ids, open for the answer.
        needle: The sentence.
        answer: Its token ids as an answer would begin with it.
        start: First place of the prompt that holds it.
        stop: One beyond the last.
    """

    prompt: Sequence[int]
    needle: str
    answer: Sequence[int]
    start: int
    stop: int


@cache
def needles() -> tuple[Needle, ...]:
    """The sentences that are hidden."""
    from ragdecode.spec.node import Source, to_plain
    from ragdecode.spec.yaml_tree import parse

    node = parse(_FILE.read_text(encoding="utf-8"), Source(_FILE.name, _FILE.parent, _FILE.parent))
    return TypeAdapter(tuple[Needle, ...]).validate_python(to_plain(node))


def documentation() -> str:
    """The text of the shipped documentation, the haystack that is always there."""
    from ragdecode.spec.catalogue import catalogue_root

    files = sorted((catalogue_root() / "docs").glob("*.md"))
    return "\n\n".join(file.read_text(encoding="utf-8") for file in files)


def trials(tokenizer: Tokenizer, haystack: str, lengths: Sequence[int], depths: int, count: int) -> Iterator[Trial]:
    """Every length with every depth and needle.

    Args:
        tokenizer: The model's.
        haystack: The text; each needle gets another part of it.
        lengths: Tokens of haystack around the needle.
        depths: How many places are tried, from its beginning to its end.
        count: How many needles.

    Raises:
        InputError: The haystack is too short.
    """
    offsets = tokenizer.fast.encode(haystack, add_special_tokens=False).offsets
    if len(offsets) < max(lengths):
        raise InputError(
            f"the haystack has {len(offsets)} tokens, the longest prompt wants {max(lengths)}",
            hint="give a longer text, or lower --lengths",
        )
    for number, needle in enumerate(needles()[:count]):
        for length in lengths:
            first = (len(offsets) - length) * number // max(count - 1, 1)
            text = haystack[offsets[first][0] : offsets[first + length - 1][1]]
            for depth in range(depths):
                yield _trial(tokenizer, text, needle, depth / max(depths - 1, 1))


def _trial(tokenizer: Tokenizer, text: str, needle: Needle, depth: float) -> Trial:
    """A needle at a depth of 0 (the beginning) to 1 (the end), between two sentences."""
    at = round(len(text) * depth)
    ends = [0, *(place + 2 for place in range(len(text) - 1) if text[place : place + 2] in (". ", ".\n")), len(text)]
    at = min(ends, key=lambda place: abs(place - at))
    before, after = (tokenizer.neutralise(part).strip() for part in (text[:at], text[at:]))
    content = f"{before} {needle.needle} {after}{_ASK}{needle.question}"
    prompt = tokenizer.render_chat([{"role": "user", "content": content}])
    place = prompt.index(needle.needle)
    end = place + len(needle.needle)
    encoded = tokenizer.fast.encode(prompt, add_special_tokens=False)
    inside = [index for index, (first, last) in enumerate(encoded.offsets) if first < end and last > place]
    return Trial(encoded.ids, needle.needle, tokenizer.encode(needle.needle, special=False), inside[0], inside[-1] + 1)
