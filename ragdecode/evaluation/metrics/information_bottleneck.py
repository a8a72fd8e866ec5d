"""How well a compression of retrieved text keeps what the answer needs, and drops the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, isfinite
from typing import TYPE_CHECKING

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.pipeline.pipeline import Pipeline

#: (prefix, text) pairs -> probability of each token of the text after the prefix
TokenProbs = Callable[[Sequence[tuple[str, str]]], list[list[float]]]


@dataclass(frozen=True)
class Compressed:
    """A compression to be judged.

    Attributes:
        question: What is asked.
        source: The retrieved text.
        compressed: What was made of it; may be empty.
        answer: The right answer. Where there is none, a draft of the model's own may stand in; say so then.
    """

    question: str
    source: str
    compressed: str
    answer: str


@dataclass(frozen=True)
class InformationBottleneck:
    """The score of a compression.

    Attributes:
        source: Mean probability of the source's tokens given question and compression, 0 to 1: what the compression
            still tells of all that was retrieved. Low is good.
        answer: Mean probability of the answer's tokens given question and compression, 0 to 1. High is good.
        score: ``source - beta * answer``. Low is good.
    """

    source: float
    answer: float
    score: float


def ib_scores(
    cases: Sequence[Compressed], token_probs: TokenProbs, *, beta: float = 1.0
) -> list[InformationBottleneck]:
    """Information-bottleneck scores of compressions; all texts are scored in one call.

    Zhu et al., "An information bottleneck perspective for effective noise filtering on retrieval-augmented
    generation" (ACL 2024), choose the compression that minimises I(compression; source | question) - beta *
    I(compression; answer | question). Both terms are estimated by a language model, as means of token probabilities
    (not of log-probabilities).

    Args:
        cases: What is judged.
        token_probs: The language model; `of_pipeline` makes one.
        beta: How much keeping the answer counts against dropping the rest.

    Raises:
        InputError: A source or an answer is blank, or beta is no number of at least 0.
    """
    if not isfinite(beta) or beta < 0:
        raise InputError(f"beta must be a number of at least 0; found {beta}")
    pairs = []
    for case in cases:
        for name, text in (("source", case.source), ("answer", case.answer)):
            if not text.strip():
                raise InputError(f"the {name} of the question {case.question!r:.80} is blank")
            pairs.append(_prompt(case, name, text))
    means = [sum(probs) / len(probs) for probs in token_probs(pairs)] if pairs else []
    return [
        InformationBottleneck(source, answer, source - beta * answer)
        for source, answer in zip(means[::2], means[1::2], strict=True)
    ]


def ib_score(
    question: str,
    source: str,
    compressed: str,
    answer: str,
    *,
    beta: float = 1.0,
    token_probs: TokenProbs,
) -> InformationBottleneck:
    """The score of one compression; see `ib_scores`."""
    return ib_scores([Compressed(question, source, compressed, answer)], token_probs, beta=beta)[0]


def of_pipeline(pipeline: Pipeline) -> TokenProbs:
    """Token probabilities under a pipeline's own language model."""

    def token_probs(pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        return [[exp(value) for value in values] for values in pipeline.log_probs(pairs)]

    return token_probs


def _prompt(case: Compressed, name: str, text: str) -> tuple[str, str]:
    """The same prefix for source and answer but for the word that says which of them follows."""
    shown = f"Passage: {case.compressed.strip()}\n" if case.compressed.strip() else ""
    label = "Full text" if name == "source" else "Answer"
    return f"{shown}Question: {case.question.strip()}\n{label}:", f" {text.strip()}"
