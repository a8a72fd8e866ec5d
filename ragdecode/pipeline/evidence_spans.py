"""Where a prompt shows its passages: they are marked, rendered again, and the marks looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

#: Characters of the private use areas, which mean nothing to a template or a tokenizer.
_PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))


@dataclass(frozen=True)
class Marks:
    """A pair of characters for each passage, none of which stands in the prompt.

    Attributes:
        pairs: What stands before and behind the text of each passage; none if there are not enough.
    """

    pairs: Sequence[tuple[str, str]]

    @staticmethod
    def of(prompt: str, count: int) -> Marks:
        """Marks for so many passages of a prompt."""
        taken = set(prompt)
        free = (chr(code) for area in _PRIVATE for code in area if chr(code) not in taken)
        found = list(islice(free, 2 * count))
        return Marks(list(zip(found[::2], found[1::2], strict=True)) if len(found) == 2 * count else [])

    def mark(self, place: int, text: str) -> str:
        """The text of a passage with its marks; white space around it stays outside, for templates may trim it."""
        core = text.strip()
        if not core or not self.pairs:
            return text
        before, _, behind = text.partition(core)
        opened, closed = self.pairs[place]
        return f"{before}{opened}{core}{closed}{behind}"

    def spans(self, marked: str, prompt: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """The passages that a prompt shows, in order of place: ``(start, stop, passage)``, in tokens.

        Args:
            marked: The prompt as it is rendered with marked passages.
            prompt: The prompt.
            offsets: Character span of each of the prompt's tokens.

        Returns:
            Nothing where the two differ in more than the marks: a template did more with a passage than to show it.
        """
        opening = {opened: place for place, (opened, _) in enumerate(self.pairs)}
        closing = {closed: place for place, (_, closed) in enumerate(self.pairs)}
        starts: dict[int, int] = {}
        found: list[tuple[int, int, int]] = []
        clean: list[str] = []
        for character in marked:
            if character in opening:
                starts[opening[character]] = len(clean)
            elif character in closing:
                place = closing[character]
                if place in starts:
                    found.append((starts.pop(place), len(clean), place))
            else:
                clean.append(character)
        if "".join(clean) != prompt:
            return []
        spans = [(*_tokens(start, stop, offsets), place) for start, stop, place in found]
        return sorted(span for span in spans if span[0] < span[1])


def _tokens(start: int, stop: int, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The tokens that hold characters of a span."""
    inside = [index for index, (first, last) in enumerate(offsets) if first < stop and last > start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
