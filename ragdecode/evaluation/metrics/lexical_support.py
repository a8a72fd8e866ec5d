"""Whether a passage supports a sentence, by words: a fallback for where no model of entailment is at hand.

It is no judgement of entailment, and results say so: a negation or a swapped pair of names passes it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from ragdecode.evaluation.metrics.answers import normalise, precision

#: Least share of a sentence's content words that the passage must have.
LEAST = 0.7
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
#: words after another word; those in capitals are names
_LATER = re.compile(r"(?<=[^\s.!?…:])\s+([^\W\d_][\w'’-]*)")


@cache
def _stop_words() -> frozenset[str]:
    text = files("ragdecode.evaluation.metrics").joinpath("stop_words.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def lexical_support(premise: str, hypothesis: str) -> bool:
    """Whether more than 70 % of the content words, and all numbers and names, of the hypothesis stand in the premise.

    A name is a capitalised word that does not begin a sentence. A hypothesis without content words is not supported.
    """
    words = [word for word in normalise(hypothesis).split() if word not in _stop_words()]
    known = normalise(premise).split()
    if not words or precision(words, known) <= LEAST:
        return False
    numbers = {number.replace(",", "") for number in _NUMBER.findall(premise)}
    if any(number.replace(",", "") not in numbers for number in _NUMBER.findall(hypothesis)):
        return False
    names = [word for word in _LATER.findall(hypothesis) if word[0].isupper() and normalise(word) not in _stop_words()]
    return all(set(normalise(name).split()) <= set(known) for name in names)
