"""Support by words: which of a sentence's words, numbers and names the passages have, and how alike they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ragdecode.decoding.faithfulness.aligner import Aligner, AlignerSession, Alignment, EvidenceSpan
from ragdecode.decoding.faithfulness.grounds import Grounds
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings
from ragdecode.text.words import Word, words_of

if TYPE_CHECKING:
    import numpy as np

    Encode = Callable[[Sequence[str]], np.ndarray]

#: What `Request.resources` calls the encoder.
ENCODER = "align.encoder"
#: How much each part counts; those that a sentence does not have are left out.
_WEIGHTS = {"words": 0.5, "cosine": 0.3, "run": 0.2}
#: A sentence of the evidence that is so much like the sentence supports it ...
_SUPPORTS = 0.4
#: ... if it is nearly as much so as the best one.
_NEARLY = 0.8


class LexicalSettings(Settings):
    """Settings of lexical support."""

    encoder: Annotated[Literal["auto"] | ModelSpec | None, Reference("models")] = "auto"
    """Sentence encoder for the cosine. ``auto``: that of the pipeline's index, else minilm, where this machine has it;
    null compares words alone."""


@register("aligner", "lexical", LexicalSettings)
class Lexical(Aligner):
    """Overlap of words, numbers and names, and the cosine of the most similar sentence. It is no entailment.

    ``score = base * (1 + numbers) / 2 * (1 + names) / 2`` with ``base`` the weighted mean of ``words`` (share of the
    words that the evidence has, rare ones count more; 0.5), ``cosine`` (0.3) and ``run`` (longest run of words in the
    same order, by the sentence's length; 0.2); ``numbers`` and ``names`` are the shares of these that the evidence has,
    1 where there are none. A negation has the same words, so that it counts as supported. The formula is this
    package's; the parts are those of common overlap measures. A sentence of the evidence supports it, and is one
    of the ranges, if the mean of cosine and share of words, less for missing numbers and names as above, is at least
    0.4, and 0.8 of the best one's.
    """

    label = "lexical_support"

    def __init__(self, settings: LexicalSettings) -> None:
        super().__init__(settings)
        chosen = settings.encoder
        if chosen is not None:
            self.models = {ENCODER: None if chosen == "auto" else chosen}

    def start(self, passages: Sequence[str], resources: Mapping[str, Any]) -> AlignerSession:
        """Look up the passages' words; they are encoded with the first sentence."""
        return LexicalSession(passages, resources.get(ENCODER) if self.models else None)


class LexicalSession(AlignerSession):
    """Lexical support by given passages.

    Args:
        passages: Their texts.
        encode: Texts to vectors of length 1 ``[n, D]``; without it, words alone count.
    """

    def __init__(self, passages: Sequence[str], encode: Encode | None = None) -> None:
        self._grounds = Grounds(passages)
        self._encode = encode
        self._vectors: np.ndarray | None = None

    def align(self, sentence: str) -> Alignment:
        """Support of a sentence; no score where it has no word."""
        words, grounds = words_of(sentence), self._grounds
        if not words:
            return Alignment(None)
        if not grounds.units:
            return Alignment(0.0)
        keys = [word.key for word in words]
        cosines = self._cosines(sentence)
        parts = {"words": grounds.share(keys), "run": grounds.longest_run(keys) / len(keys)}
        if cosines is not None:
            parts["cosine"] = max(0.0, min(1.0, float(max(cosines))))
        numbers = [word.key for word in words if word.key[0].isdigit()]
        names = [word.key for word in _names(sentence, words)]
        told = {name: keys for name, keys in (("numbers", numbers), ("names", names)) if keys}
        parts |= {name: sum(map(grounds.has, keys)) / len(keys) for name, keys in told.items()}
        score = _score(parts)
        spans = self._spans(keys, cosines, _penalty(parts))
        return Alignment(score, parts, spans[0].passage if spans else None, spans)

    def _spans(self, keys: Sequence[str], cosines: Sequence[float] | None, penalty: float) -> list[EvidenceSpan]:
        """The sentences of the evidence that are most like a sentence, the best first."""
        shares, units = self._grounds.shares(keys), self._grounds.units
        likeness = {
            unit: penalty * (share if cosines is None else (share + cosines[unit]) / 2)
            for unit, share in shares.items()
        }
        ranked = sorted(likeness, key=lambda unit: (-likeness[unit], unit))
        least = max(_SUPPORTS, _NEARLY * likeness[ranked[0]]) if ranked else 0.0
        supporting = [units[unit] for unit in ranked if likeness[unit] >= least]
        return [EvidenceSpan(unit.passage, unit.start, unit.end) for unit in supporting]

    def _cosines(self, sentence: str) -> Sequence[float] | None:
        """Of the sentence with each unit ``[U]``; a number that is none counts as 0."""
        if self._encode is None:
            return None
        if self._vectors is None:
            self._vectors = self._encode([self._grounds.text(unit) for unit in self._grounds.units])
        values: list[float] = (self._vectors @ self._encode([sentence])[0]).tolist()
        return [value if math.isfinite(value) else 0.0 for value in values]


def _score(parts: Mapping[str, float]) -> float:
    known = {name: weight for name, weight in _WEIGHTS.items() if name in parts}
    base = math.fsum(weight * parts[name] for name, weight in known.items()) / math.fsum(known.values())
    return base * _penalty(parts)


def _penalty(parts: Mapping[str, float]) -> float:
    """For numbers and names that the evidence does not have."""
    return (1 + parts.get("numbers", 1.0)) / 2 * (1 + parts.get("names", 1.0)) / 2


def _names(sentence: str, words: Sequence[Word]) -> list[Word]:
    """Words with a capital, but for the first one; in a title, or in a script without capitals, there are none."""
    later = [word for word in words[1:] if not word.key[0].isdigit()]
    capital = [word for word in later if sentence[word.start].isupper() and sentence[word.start : word.end] != "I"]
    return capital if 2 * len(capital) <= len(later) or len(later) < 4 else []
