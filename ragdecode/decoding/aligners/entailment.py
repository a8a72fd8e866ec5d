"""Alignment by a model of natural-language inference, as SynCheck uses AlignScore."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ragdecode.decoding.faithfulness.aligner import Aligner, AlignerSession, Alignment, EvidenceSpan
from ragdecode.decoding.faithfulness.grounds import Grounds, Unit
from ragdecode.errors import InputError
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings
from ragdecode.text.words import words_of

if TYPE_CHECKING:
    Judge = Callable[[Sequence[tuple[str, str]]], Sequence[float]]

#: What `Request.resources` calls the model.
MODEL = "align.entailment"
#: A chunk that entails the sentence at least so probably supports it.
_SUPPORTS = 0.5


class EntailmentSettings(Settings):
    """Settings of alignment by entailment."""

    model: Annotated[ModelSpec, Reference("models")]
    """A cross-encoder that was trained for natural-language inference."""
    words: int = Field(default=350, ge=16, le=4096)
    """Passages are cut into chunks of whole sentences with about so many words."""


@register("aligner", "entailment", EntailmentSettings)
class Entailment(Aligner):
    """How probably the evidence entails the sentence: the best of the passages' chunks.

    Chunks of whole sentences with about 350 words each, the maximum over chunks: AlignScore's ``nli_sp`` (arXiv
    2305.16739), with the probability of entailment against contradiction of any model of natural-language inference.
    The ranges are the sentences of a supporting chunk that share most words with the sentence.
    """

    label = "entailment"

    def __init__(self, settings: EntailmentSettings) -> None:
        super().__init__(settings)
        self.models = {MODEL: settings.model}

    def start(self, passages: Sequence[str], resources: Mapping[str, Any]) -> AlignerSession:
        """Cut the passages into chunks.

        Raises:
            InputError: The model is not among the resources.
        """
        judge = resources.get(MODEL)
        if judge is None:
            raise InputError(f"the aligner 'entailment' needs its model among the resources, as {MODEL!r}")
        return _Session(passages, self.settings.words, judge)


class _Session(AlignerSession):
    def __init__(self, passages: Sequence[str], words: int, judge: Judge) -> None:
        self._passages, self._judge = passages, judge
        self._grounds = Grounds(passages)
        self._chunks = [chunk for place in range(len(passages)) for chunk in self._cut(place, words)]

    def align(self, sentence: str) -> Alignment:
        """The best chunk's probability; no score where the sentence has no word."""
        words = words_of(sentence)
        if not words:
            return Alignment(None)
        if not self._chunks:
            return Alignment(0.0)
        pairs = [(self._passages[chunk.passage][chunk.start : chunk.end], sentence) for chunk in self._chunks]
        found = [value if math.isfinite(value) else 0.0 for value in map(float, self._judge(pairs))]
        ranked = sorted(range(len(found)), key=lambda place: (-found[place], place))
        shares = self._grounds.shares([word.key for word in words])
        spans = [self._narrow(self._chunks[place], shares) for place in ranked if found[place] >= _SUPPORTS]
        return Alignment(found[ranked[0]], {"entailment": found[ranked[0]]}, spans[0].passage if spans else None, spans)

    def _narrow(self, chunk: Unit, shares: Mapping[int, float]) -> EvidenceSpan:
        """The sentence of a chunk that has most of the words; the whole chunk where none has any."""
        inside = [
            (share, -place, unit)
            for place, share in shares.items()
            if (unit := self._grounds.units[place]).passage == chunk.passage
            and chunk.start <= unit.start
            and unit.end <= chunk.end
        ]
        best = max(inside, key=lambda item: item[:2])[2] if inside else chunk
        return EvidenceSpan(best.passage, best.start, best.end)

    def _cut(self, place: int, words: int) -> list[Unit]:
        chunks: list[Unit] = []
        count = 0
        for unit in self._grounds.units:
            if unit.passage != place:
                continue
            size = len(words_of(self._grounds.text(unit)))
            if chunks and count + size <= words:
                chunks[-1] = Unit(place, chunks[-1].start, unit.end)
                count += size
            else:
                chunks.append(unit)
                count = size
        return chunks
