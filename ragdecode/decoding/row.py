"""One cache row of a request: a view's prompt, then the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ragdecode.decoding.backend import Backend
from ragdecode.decoding.intervention import HeadMask


@dataclass
class Row:
    """A view's row in a backend.

    Attributes:
        view: Name of the view.
        model: Key of the backend.
        backend: The backend itself.
        handle: Its number for this row.
        prompt: Token ids of the view's prompt.
        capacity: Slots that the row has.
        verified: Whether rules or monitors read it; a draft-only row advances only when a drafter looks.
        cached: Tokens of prompt + answer whose keys and values are in the cache; always a true prefix.
        own: The answer in this row's own vocabulary, where its model has another one than the target.
        mask: Heads that are switched off in it.
        reading: Places of the prompt whose predictions a rule wants while it is read.
        idle: Nobody reads it for now: a rule runs another model, and no drafter looks. It falls behind meanwhile.
    """

    view: str
    model: str
    backend: Backend
    handle: int
    prompt: Sequence[int]
    capacity: int
    verified: bool
    cached: int = 0
    own: list[int] | None = None
    mask: HeadMask | None = None
    reading: list[range] = field(default_factory=list)
    idle: bool = False

    @property
    def plain(self) -> int:
        """How many tokens from the first on any row with the same tokens would have in its cache alike."""
        if self.mask is None:
            return self.capacity
        return 0 if self.mask.prompt else len(self.prompt) - 1

    @property
    def unread(self) -> int:
        """First place of the prompt that has to be read here, whatever is known of it; the prompt's last token if none.

        What a rule wants of it is not kept with keys and values.
        """
        last = len(self.prompt) - 1
        return min([last, *(max(span.start, self.cached) for span in self.reading if span.stop > self.cached)])

    def masked_from(self, base: int) -> int:
        """First of the new tokens after ``base`` for which heads are switched off."""
        return max(0, self.plain - base) if self.mask is not None else 0

    def wants(self, base: int, count: int) -> list[int]:
        """Which of ``count`` new tokens after ``base`` predict what a rule wants, in order."""
        stop = base + count
        places = {place for span in self.reading for place in range(max(span.start, base), min(span.stop, stop))}
        return sorted(place - base for place in places)

    def adopt(self, answer: Sequence[int]) -> None:
        """The answer in the row's own vocabulary is another one now; what both begin with stays cached."""
        old, new = self.own or [], list(answer)
        same = min(len(old), len(new))
        # most of the answer is as it was: the place where they part is near the end
        back = 1
        while old[:same] != new[:same]:
            same, back = max(same - back, 0), 2 * back
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        self.own = new
        self.cached = min(self.cached, len(self.prompt) + same)
        self.clamp(())

    def length(self, tokens: Sequence[int]) -> int:
        """Length of prompt + answer."""
        return len(self.prompt) + len(tokens if self.own is None else self.own)

    def pending(self, tokens: Sequence[int], limit: int | None = None) -> list[int]:
        """The tokens of prompt + answer that are not cached yet, at most ``limit``."""
        tokens = tokens if self.own is None else self.own
        stop = self.length(tokens) if limit is None else min(self.length(tokens), self.cached + limit)
        split = len(self.prompt)
        head = self.prompt[self.cached : min(stop, split)]
        return [*head, *tokens[max(self.cached - split, 0) : max(stop - split, 0)]]

    def token(self, place: int, tokens: Sequence[int]) -> int:
        """The token at a place of prompt + answer."""
        split = len(self.prompt)
        return self.prompt[place] if place < split else (tokens if self.own is None else self.own)[place - split]

    def clamp(self, tokens: Sequence[int]) -> None:
        """Forget what lies beyond the answer, and its last token, which the next pass feeds again."""
        self.cached = min(self.cached, self.length(tokens) - 1)

    def replace_prompt(self, prompt: Sequence[int], tokens: Sequence[int]) -> None:
        """Put another prompt before the answer; an equal prefix stays cached.

        Raises:
            RunError: There is no memory for a longer row.
        """
        tokens = tokens if self.own is None else self.own
        old = [*self.prompt, *tokens][: self.cached]
        new = [*prompt, *tokens]
        same = 0
        while same < min(len(old), len(new) - 1) and old[same] == new[same]:
            same += 1
        if self.mask is not None:  # the last token of either prompt is read without these heads
            same = min(same, self.plain, len(prompt) - 1)
        needed = self.capacity - len(self.prompt) + len(prompt)
        if needed > self.capacity:
            handle = self.backend.open_row(needed)  # first, so that a failure leaves the old row as it was
            self.backend.close_row(self.handle)
            self.handle, self.capacity, same = handle, needed, 0
        self.prompt, self.cached = prompt, same
