"""What is asked of the retrieval chain, and what query stages make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragdecode.indexing.store import Probe


@dataclass(frozen=True, slots=True)
class Query:
    """A question.

    Attributes:
        text: What is searched for: the question as asked, or as a stage has rewritten it.
        history: Earlier turns as (role, text), oldest first; for stages that rewrite the question.
        variants: Other wordings and sub-questions, searched beside the text; the rankings are fused.
        parts: Those of the variants that are sub-questions of the text.
        words: Weight of each word, by store that ranks by words.
        likenesses: Texts that look like what is sought, for stores that rank by vectors.
    """

    text: str
    history: tuple[tuple[str, str], ...] = ()
    variants: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    words: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)
    likenesses: tuple[str, ...] = ()

    def probes(self, store: str) -> list[Probe]:
        """What the store is searched with: the question, then its variants as they stand."""
        main = Probe(self.text, self.words.get(store), self.likenesses)
        return [main, *(Probe(variant) for variant in self.variants)]
