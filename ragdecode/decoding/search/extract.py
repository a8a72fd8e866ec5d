"""Exact extraction: the answer is the span of the passages that the model finds most probable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ragdecode.decoding.grammar.quoting import Boundaries
from ragdecode.decoding.searcher import Search, Steps
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.extraction.extracting import Extraction
    from ragdecode.decoding.rule import Company


class ExtractSettings(Settings):
    """Settings of exact extraction."""

    score: Literal["sum", "mean"] = "sum"
    """What spans are compared by: the log-probability of their tokens and of an end behind them, or its mean over
    these. The sum prefers short spans, the mean long ones, and it takes many more passes to be sure of."""
    top: int = Field(default=1, ge=1, le=50)
    """Spans that the record lists, best first; the first is the answer."""
    max_tokens: int = Field(default=24, ge=1, le=200)
    """Longest span; `max_new_tokens` bounds it too."""
    boundaries: Boundaries = "words"
    """Where spans begin and end: at words, or at any character where a token does."""
    ends: tuple[Annotated[str, Field(min_length=1)], ...] = ("\n", ".")
    """What ends an answer beside the model's end tokens: every token that begins with one of these counts."""
    width: int = Field(default=16, ge=1, le=256)
    """Beginnings of spans that a pass asks about; changes speed only."""
    budget: int = Field(default=4000, ge=1)
    """Beginnings in all; a search that needs more ends with the best span that it knows, and a note."""


@register("search", "extract", ExtractSettings)
class Extract(Search):
    """Takes the most probable span of the passages, exactly, by best-first search over the trie of their suffixes."""

    spans: ClassVar[bool] = True

    def check(self, company: Company) -> None:
        """Refuse what has nothing to act on.

        Raises:
            InputError: Drafters, constraints or monitors, or a temperature.
        """
        for kind in ("drafters", "constraints", "monitors"):
            if parts := getattr(company, kind):
                raise InputError(
                    f"extract takes a span of the passages and decodes no text, so '{parts[0].part_name}' has nothing "
                    "to act on",
                    hint="leave it out",
                )
        if company.sampling.temperature > 0:
            raise InputError("extract takes the most probable span: nothing is sampled", hint="temperature: 0")
        for rule in company.rules:
            if not rule.on_trees or rule.verification:
                raise InputError(
                    f"extract scores many beginnings at once, on which '{rule.part_name}' cannot be evaluated",
                    hint="leave the rule out",
                )

    @property
    def extraction(self) -> Extraction:
        """What is looked for."""
        from ragdecode.decoding.extraction.extracting import Extraction

        settings: ExtractSettings = self.settings
        return Extraction(
            top=settings.top,
            by_length=settings.score == "mean",
            longest=settings.max_tokens,
            boundaries=settings.boundaries,
            ends=settings.ends,
            width=settings.width,
            budget=settings.budget,
        )

    def run(self) -> Steps:
        """Not a search over sentences.

        Raises:
            InputError: Always: `extraction.extracting.extract` does it.
        """
        raise InputError("extract scores spans, it decodes no sentences", hint="call extraction.extracting.extract")
