"""Splits English questions at their seams, without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from ragdecode.retrieval.writing import words
from ragdecode.spec.registry import register
from ragdecode.spec.settings import NoSettings

_ASKS = r"(?:who|whom|whose|what|when|where|which|why|how)"
_SENTENCE = re.compile(r"(?<=\?)\s+")
_SEAM = re.compile(
    rf"\s*[,;]?\s+(?:and|or|but)\s+(?:also\s+)?(?={_ASKS}\b)|\s*[,;]\s*(?=(?:what|why|how)\b)", re.IGNORECASE
)
_BETWEEN = re.compile(
    r"\b(?:differences?|similarit(?:y|ies)|comparison)\s+between\s+(?P<one>.{1,80}?)\s+and\s+(?P<other>[^?]{1,80}?)\s*\??$",
    re.IGNORECASE,
)
_BEGINNING = re.compile(rf"{_ASKS}\b", re.IGNORECASE)
#: words that stand for something said before; a part that leans on one cannot be searched alone
_LEANING = frozenset({
    "it", "its", "itself", "he", "him", "his", "she", "her", "hers", "they", "them", "their", "theirs", "this", "that",
    "these", "those", "one", "ones", "there",
})  # fmt: skip
_LEAST_WORDS = 3


@register("decomposer", "clauses", NoSettings)
class ClausesDecomposer:
    """Splits at conjunctions before question words, between questions, and between two things that are compared.

    It knows English only, and rather splits too little: parts that lean on a pronoun are left out, and a question
    word that opens a relative clause ("the man who wrote Emma and who died in 1817") is no seam.
    """

    needs_model = False

    def __init__(self, settings: NoSettings) -> None:
        self.settings = settings

    def split(self, queries: Sequence[Query], context: RetrievalContext) -> list[tuple[str, ...]]:
        """The parts of each question; none where there is no seam."""
        return [_parts(query.text) for query in queries]


def _parts(question: str) -> tuple[str, ...]:
    compared = _BETWEEN.search(question)
    if compared is not None:
        return tuple(f"What is {compared[name].strip()}?" for name in ("one", "other"))
    clauses = [clause for sentence in _SENTENCE.split(question.strip()) for clause in _clauses(sentence)]
    if len(clauses) < 2:
        return ()
    return tuple(_question(clause) for clause in clauses if _alone(clause))


def _clauses(sentence: str) -> list[str]:
    """The sentence in pieces; whole if it does not begin as a question or a piece would repeat its question word."""
    pieces = [piece.strip(" ,;") for piece in _SEAM.split(sentence)]
    if len(pieces) < 2 or _BEGINNING.match(pieces[0]) is None:
        return [sentence]
    inner = set(words(pieces[0])[1:])
    relative = any(words(piece)[:1] and words(piece)[0] in inner for piece in pieces[1:])
    return [sentence] if relative else pieces


def _alone(clause: str) -> bool:
    own = words(clause)
    return len(own) >= _LEAST_WORDS and _LEANING.isdisjoint(own)


def _question(clause: str) -> str:
    clause = clause.strip().rstrip("?.!").rstrip()
    return f"{clause[:1].upper()}{clause[1:]}?"
