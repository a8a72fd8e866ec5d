"""Citations held against their passages, as ALCE defines it (Gao et al., EMNLP 2023, arXiv 2305.14627)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragdecode.text.sentences import sentence_spans

_BEFORE = re.compile(r"\s*\[\d+\]")
_CITATION = re.compile(r"\[(\d+)\]")

#: premise, hypothesis -> whether the premise entails the hypothesis
EntailsOne = Callable[[str, str], bool]


@dataclass(frozen=True)
class Citations:
    """Counts of one answer.

    Attributes:
        sentences: Its sentences.
        supported: Sentences that their cited passages entail together.
        citations: Citations of passages that are there.
        needed: Citations that count.
    """

    sentences: int
    supported: int
    citations: int
    needed: int

    @property
    def recall(self) -> float | None:
        """Share of supported sentences; None without sentences."""
        return self.supported / self.sentences if self.sentences else None

    @property
    def precision(self) -> float | None:
        """Share of citations that count; 0 where nothing is cited, None without sentences."""
        if not self.sentences:
            return None
        return self.needed / self.citations if self.citations else 0.0


def without_citations(text: str) -> str:
    """The text without its ``[1]``."""
    return " ".join(_BEFORE.sub("", text).split())


def cited_sentences(answer: str) -> list[str]:
    """Sentences of an answer, each with its citations behind it.

    Citations belong to the sentence that they stand in or follow, be it before its full stop or behind: ``so. [1]``
    and ``so [1].`` are the same.
    """
    text, places, taken = "", [], 0
    for match in _BEFORE.finditer(answer):
        text += answer[taken : match.start()]
        places.append((len(text), match[0].strip()))
        taken = match.end()
    text += answer[taken:]
    spans = [(start, end) for start, end in sentence_spans(text) if text[start:end].strip()]
    cited = [""] * len(spans)
    for place, citation in places:
        if spans:
            cited[max(0, sum(start < place for start, _ in spans) - 1)] += citation
    return [f"{text[start:end]} {own}".rstrip() for (start, end), own in zip(spans, cited, strict=True)]


def citations(sentences: Sequence[str], passages: Sequence[str], entails: EntailsOne) -> Citations:
    """Judge the citations ``[1]`` of an answer; 1 is the first passage.

    - A sentence is supported if it cites, no citation is out of range, and its passages together entail it.
    - Citations of other sentences never count. The only citation of a supported sentence counts. One of several counts
      if its passage alone entails the sentence, or if the others without it do not.
    - A citation out of range does not count, and is not counted among the citations either.

    Args:
        sentences: The answer's sentences with their citations.
        passages: The passages as a judge reads them, best first.
        entails: The judge.
    """
    supported = total = needed = 0
    for sentence in sentences:
        cited = [int(number) - 1 for number in _CITATION.findall(sentence)]
        known = [place for place in cited if 0 <= place < len(passages)]
        total += len(known)
        claim = without_citations(sentence)
        if not cited or len(known) < len(cited) or not entails(_joined(passages, known), claim):
            continue
        supported += 1
        needed += len(known) if len(known) == 1 else _needed(known, passages, claim, entails)
    return Citations(len(sentences), supported, total, needed)


def _needed(cited: Sequence[int], passages: Sequence[str], claim: str, entails: EntailsOne) -> int:
    count = 0
    for at, place in enumerate(cited):
        rest = [*cited[:at], *cited[at + 1 :]]
        count += entails(passages[place], claim) or not entails(_joined(passages, rest), claim)
    return count


def _joined(passages: Sequence[str], places: Sequence[int]) -> str:
    return "\n".join(passages[place] for place in places)
