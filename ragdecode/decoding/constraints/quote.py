"""Quotes: between two marks the answer may hold nothing but what a passage says, word for word."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from ragdecode.decoding.constraint import Constraint, ConstraintSession
from ragdecode.decoding.grammar.quoting import (
    Boundaries,
    Quoting,
    find_quotes,
    overlaps_itself,
    quote_grammar,
    source_of,
    spans_of,
)
from ragdecode.decoding.grammar.session import GrammarSession
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request


class QuoteSettings(Settings):
    """Settings of the quotes."""

    open: str = Field(default="“", min_length=1, max_length=40)
    """Mark before a quote."""
    close: str = Field(default="”", min_length=1, max_length=40)
    """Mark behind a quote; may be the same."""
    boundaries: Boundaries = "words"
    """Where a quote may begin and end in a passage: between words, or between any two characters."""
    free: bool = True
    """Whether the answer may hold text outside of quotes; if not, it is quotes, a blank or line end between two."""
    at_least: int = Field(default=0, ge=0, le=8)
    """Quotes that the answer must hold before it may end."""
    at_most: int | None = Field(default=None, ge=1, le=32)
    """Quotes that it may hold; any number if left out."""

    @model_validator(mode="after")
    def _clear(self) -> QuoteSettings:
        for key in ("open", "close"):
            mark = getattr(self, key)
            if overlaps_itself(mark):
                raise ValueError(f"{key}: {mark!r} can overlap with itself, so it would not be clear where it stands")
            if mark != mark.strip() or not mark.isprintable():
                raise ValueError(f"{key}: {mark!r} holds blanks at its ends or characters that are not seen")
        if self.open != self.close and (self.open in self.close or self.close in self.open):
            raise ValueError(f"the mark {self.open!r} is part of the other, {self.close!r}")
        if self.at_most is not None and self.at_most < max(self.at_least, not self.free):
            raise ValueError(f"at_most: {self.at_most} is below the quotes that must be there")
        return self


@register("constraint", "quote", QuoteSettings)
class QuoteConstraint(Constraint):
    """Lets nothing stand between the marks but a span of one passage, and records where each quote comes from."""

    spells: ClassVar[bool] = True
    unmixable: ClassVar[dict[str, str]] = {
        "json": "a JSON string escapes what a passage says (quotes, line ends), so it cannot hold it word for word",
        "require": "the phrases would be written by force in the middle of a quote, which forbids them",
    }

    def start(self, request: Request, vocab_size: int) -> ConstraintSession:
        """Make the grammar of the request's passages.

        Raises:
            InputError: Nothing tells the bytes of the tokens, the vocabulary cannot write the marks, or there must be
                quotes and there are no passages.
            RunError: The passages are too much for the parser.
        """
        settings, vocabulary = self.settings, request.vocabulary
        if vocabulary is None:
            raise InputError(
                "constraint quote: it reads tokens as bytes, and this request has no vocabulary",
                hint="give the request `vocabulary`",
            )
        for mark in (settings.open, settings.close):
            if not vocabulary.read(mark.encode()):
                raise InputError(f"constraint quote: this model's vocabulary cannot write the mark {mark!r}")
        least = max(settings.at_least, 0 if settings.free else 1)
        quoting = Quoting(settings.open, settings.close, settings.boundaries, settings.free, least, settings.at_most)
        if least and not any(
            any(spans_of(settings.boundaries, text, vocabulary)) for _, text in request.passages if text.strip()
        ):
            raise InputError(
                "constraint quote: the answer must hold a quote, and there is no passage to quote from",
                hint="let the answer do without (at_least: 0, free: true), or give it evidence",
            )
        return QuoteSession(quoting, request.passages, vocabulary, vocab_size, request.end_tokens)


class QuoteSession(GrammarSession):
    """Quotes at work for one request; passages that are found later are added to those that may be quoted."""

    def __init__(
        self,
        quoting: Quoting,
        passages: Sequence[tuple[str, str]],
        vocabulary: Vocabulary,
        vocab_size: int,
        end_tokens: Collection[int],
    ) -> None:
        self._quoting = quoting
        self._vocabulary = vocabulary
        self._passages = [(name, text) for name, text in passages if text.strip()]
        super().__init__("quote", self._made(), vocabulary, vocab_size, end_tokens)

    @property
    def notes(self) -> Sequence[str]:
        """Says so where nothing can be quoted."""
        return () if self._passages else ("there are no passages, so the answer may hold no quote",)

    def retrieved(self, passages: Sequence[tuple[str, str]]) -> None:
        """More may be quoted from now on; what was quoted before stays."""
        known = {text for _, text in self._passages}
        new = [(name, text) for name, text in passages if text.strip() and text not in known]
        if new:
            self._passages += new
            self.restart(self._made())

    def record(self, text: str) -> list[dict[str, Any]]:
        """Each quote with its place in the answer and in the first passage that holds it, in characters."""
        found = []
        for quote in find_quotes(text, self._quoting.opened, self._quoting.closed):
            words = text[quote.start : quote.end]
            # an answer that was cut may end within a character
            source = source_of(words if quote.closed else words.rstrip("\ufffd"), self._passages)
            found.append({"text": words, "start": quote.start, "end": quote.end, "closed": quote.closed, **source})
        return found

    def _made(self) -> str:
        return quote_grammar(self._quoting, [text for _, text in self._passages], self._vocabulary)
