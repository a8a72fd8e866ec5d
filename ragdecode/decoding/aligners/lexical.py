"""Support by words: which of a sentence's words, numbers and names the passages have, and how alike they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ragdecode.decoding.faithfulness.aligner import Aligner, AlignerSession, Alignment, EvidenceSpan
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings
from ragdecode.text.sentences import sentence_spans

_WORD = re.compile(r"\w+")


class LexicalSettings(Settings):
    """Settings of lexical support."""


@register("aligner", "lexical", LexicalSettings)
class Lexical(Aligner):
    """Overlap of words, numbers and names. It is no entailment: a negation has the same words."""

    label = "lexical_support"

    def start(self, passages: Sequence[str], resources: Mapping[str, Any]) -> AlignerSession:
        """Index the passages' sentences."""
        return _Session(passages)


class _Session(AlignerSession):
    def __init__(self, passages: Sequence[str]) -> None:
        self._places = [
            (place, start, end) for place, text in enumerate(passages) for start, end in sentence_spans(text)
        ]
        self._words = [set(_WORD.findall(passages[place][start:end].lower())) for place, start, end in self._places]

    def align(self, sentence: str) -> Alignment:
        words = set(_WORD.findall(sentence.lower()))
        if not words:
            return Alignment(None)
        shares = [len(words & own) / len(words) for own in self._words]
        best = max(range(len(shares)), key=shares.__getitem__)
        score = shares[best]
        if not score:
            return Alignment(0.0, {"words": 0.0})
        place, start, end = self._places[best]
        return Alignment(score, {"words": score}, place, (EvidenceSpan(place, start, end),))
