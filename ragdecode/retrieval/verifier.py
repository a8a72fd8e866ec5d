"""Whether evidence supports an answer: by a model of natural-language inference, or by the pipeline's own model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ragdecode.retrieval.scores import checked
from ragdecode.retrieval.stage import Entailment, Likelihood


@dataclass(frozen=True, slots=True)
class Claim:
    """That an answer answers a question.

    Attributes:
        question: The question.
        answer: Its answer; not blank.
    """

    question: str
    answer: str

    @property
    def statement(self) -> str:
        """The claim as the hypothesis of Yoran and others: ``<question>? The answer is: <answer>``."""
        return f"{self.question.strip().rstrip('?')}? The answer is: {self.answer.strip()}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of a claim.

    Attributes:
        support: How much the evidence supports it; the scale is the verifier's.
        entailed: Whether that is enough.
    """

    support: float
    entailed: bool


class Verifier(Protocol):
    """Holds claims against evidence."""

    @property
    def name(self) -> str:
        """What its support is called among a passage's scores."""
        ...

    def entails(self, pairs: Sequence[tuple[str, Claim]]) -> list[Verdict]:
        """A verdict for each (evidence, claim), in order; all are judged in one call of the model."""
        ...


class NliVerifier:
    """A model of natural-language inference: premise is the evidence, hypothesis the claim.

    Args:
        entailment: The model.
        threshold: A claim is entailed above this probability.
    """

    name = "entailment"

    def __init__(self, entailment: Entailment, threshold: float) -> None:
        self._entailment = entailment
        self._threshold = threshold

    def entails(self, pairs: Sequence[tuple[str, Claim]]) -> list[Verdict]:
        """Support is the probability of entailment against contradiction."""
        asked = list(dict.fromkeys((evidence, claim.statement) for evidence, claim in pairs))
        known = dict(zip(asked, checked(self._entailment(asked), len(asked), "evidence"), strict=True)) if asked else {}
        supports = [known[evidence, claim.statement] for evidence, claim in pairs]
        return [Verdict(support, support > self._threshold) for support in supports]


class ContrastVerifier:
    """How much more likely the evidence makes the answer, under the pipeline's own model.

    Support is ``log p(answer | evidence, question) - log p(answer | question)``, as means over the answer's tokens.

    Args:
        likelihood: The model.
        margin: A claim is entailed above this support.
    """

    name = "likelihood_contrast"

    def __init__(self, likelihood: Likelihood, margin: float) -> None:
        self._likelihood = likelihood
        self._margin = margin

    def entails(self, pairs: Sequence[tuple[str, Claim]]) -> list[Verdict]:
        """Each answer's likelihood without evidence is asked for once, in the same call as all others."""
        with_evidence = [_prompt(claim, f"{evidence.strip()}\n\n") for evidence, claim in pairs]
        without = [_prompt(claim) for _, claim in pairs]
        asked = list(dict.fromkeys([*with_evidence, *without]))
        known = dict(zip(asked, checked(self._likelihood(asked), len(asked), "evidence"), strict=True)) if asked else {}
        supports = [known[seen] - known[blind] for seen, blind in zip(with_evidence, without, strict=True)]
        return [Verdict(support, support > self._margin) for support in supports]


def _prompt(claim: Claim, evidence: str = "") -> tuple[str, str]:
    return f"{evidence}Question: {claim.question.strip()}\nAnswer:", f" {claim.answer.strip()}"
