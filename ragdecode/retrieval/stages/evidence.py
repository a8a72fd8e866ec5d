"""Later stage: passages stay only if they support an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.generation import Generation
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.retrieval.verifier import Claim, ContrastVerifier, NliVerifier, Verdict, Verifier
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_WITH = "Answer the question from the passages, in a few words and nothing else."
_WITHOUT = "Answer the question in a few words and nothing else."
_UNSUPPORTED = Verdict(0.0, False)


class EvidenceSettings(Settings):
    """Who judges, how strictly, and what happens if nothing passes."""

    by: Literal["nli", "likelihood_contrast"] = "likelihood_contrast"
    """``nli`` asks a model of natural-language inference whether the passage entails the answer;
    ``likelihood_contrast`` asks the pipeline's own model how much likelier the passage makes it."""
    model: Annotated[ModelSpec, Reference("models")] | None = None
    """For ``nli``: the model, of kind cross_encoder, with labels for entailment and contradiction."""
    threshold: float = Field(default=0.5, ge=0, lt=1)
    """For ``nli``: probability of entailment against contradiction that a passage must exceed."""
    margin: FiniteFloat = 0.0
    """For ``likelihood_contrast``: gain in mean log-probability of the answer's tokens that a passage must exceed."""
    judge: Literal["each", "together"] = "each"
    """``each``: every passage is judged on its own. ``together``: all passages as one text; they stay or go as one."""
    back_off: bool = True
    """If an answer has no support: whether no passage stays, so that the model answers without evidence."""
    keep_at_least: int = Field(default=1, ge=1)
    """Without ``back_off``: passages that stay in any case, the best supported ones."""
    draft_passages: int = Field(default=4, ge=1)
    """Passages, the first ones, that the model sees when it drafts the answer."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest draft answer."""

    @model_validator(mode="after")
    def _fits(self) -> EvidenceSettings:
        if (self.by == "nli") != (self.model is not None):
            raise ValueError("nli needs a model" if self.by == "nli" else "a model has no place without by: nli")
        if self.model is not None and self.model.kind != "cross_encoder":
            raise ValueError(f"model: expected a model of kind cross_encoder, not {self.model.kind}")
        other = "margin" if self.by == "nli" else "threshold"
        # defaults may be written out: `explain` does so
        if getattr(self, other) != type(self).model_fields[other].default:
            raise ValueError(f"{other} has no place with by: {self.by}")
        if self.back_off and self.keep_at_least != 1:
            raise ValueError("keep_at_least has no place with back_off")
        if self.judge == "together" and not self.back_off:
            raise ValueError("judge: together without back_off would never drop a passage")
        return self


@register("retriever", "evidence", EvidenceSettings)
class EvidenceStage:
    """Drafts an answer with the pipeline's own model and keeps the passages that support it.

    The judgement by inference follows Yoran et al., "Making retrieval-augmented language models robust to
    irrelevant context" (ICLR 2024): if the evidence does not entail the answer, the answer without evidence is
    better. Of a question with sub-questions the least supported answer decides.
    """

    role: Role = "passages"
    stores: tuple[str, ...] = ()
    needs_model = True

    def __init__(self, settings: EvidenceSettings) -> None:
        self.settings = settings

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The passages that support an answer; drafts and judgements of all questions are made together."""
        verifier = self._verifier(context)
        busy = [at for at, found in enumerate(hits) if found]
        kept = iter(self._supported([queries[at] for at in busy], [hits[at] for at in busy], verifier, context))
        return [next(kept) if found else [] for found in hits]

    def _supported(
        self, queries: Sequence[Query], hits: Sequence[list[Hit]], verifier: Verifier, context: RetrievalContext
    ) -> list[list[Hit]]:
        asked = [(question, hits[at]) for at, query in enumerate(queries) for question in _questions(query)]
        drafts = iter(self._drafts(asked, context))
        claims = [[Claim(question, next(drafts)) for question in _questions(query)] for query in queries]
        verdicts = _judged(verifier, claims, [self._evidence(found) for found in hits])
        kept = [self._kept(found, judged, verifier.name) for found, judged in zip(hits, verdicts, strict=True)]
        return self._unless_equal(queries, hits, kept, [own[0].answer for own in claims], context)

    def _evidence(self, hits: list[Hit]) -> list[str]:
        texts = [hit.passage.text for hit in hits]
        return ["\n\n".join(texts)] if self.settings.judge == "together" else texts

    def _kept(self, hits: list[Hit], judged: list[list[Verdict]], name: str) -> list[Hit]:
        """What stays, given a list of verdicts on the evidence for each claim."""
        backed = all(any(verdict.entailed for verdict in verdicts) for verdicts in judged)
        if self.settings.back_off and not backed:
            return []
        if self.settings.judge == "together":
            support = min(verdicts[0].support for verdicts in judged)
            return [_noted(hit, name, support) for hit in hits]
        best = [max(of_passage, key=lambda verdict: verdict.support) for of_passage in zip(*judged, strict=True)]
        stay = {at for at, of_passage in enumerate(zip(*judged, strict=True)) if any(v.entailed for v in of_passage)}
        if not self.settings.back_off:
            order = sorted(range(len(hits)), key=lambda at: (at not in stay, -best[at].support))
            stay |= set(order[: self.settings.keep_at_least])
        return [_noted(hit, name, best[at].support) for at, hit in enumerate(hits) if at in stay]

    def _unless_equal(
        self,
        queries: Sequence[Query],
        hits: Sequence[list[Hit]],
        kept: list[list[Hit]],
        answers: Sequence[str],
        context: RetrievalContext,
    ) -> list[list[Hit]]:
        """Passages come back where the answer without them is the same: there is nothing to protect it from."""
        lost = [at for at, found in enumerate(kept) if not found and answers[at]]
        blind = self._drafts([(queries[at].text, []) for at in lost], context)
        same = {at for at, answer in zip(lost, blind, strict=True) if _plain(answer) == _plain(answers[at])}
        return [list(hits[at]) if at in same else found for at, found in enumerate(kept)]

    def _drafts(self, asked: Sequence[tuple[str, list[Hit]]], context: RetrievalContext) -> list[str]:
        if context.generate is None:
            raise RunError("it needs the pipeline's language model", component="retriever evidence")
        requests = [self._draft(question, found[: self.settings.draft_passages]) for question, found in asked]
        return [text.strip() for text in context.generate(requests)] if requests else []

    def _draft(self, question: str, hits: Sequence[Hit]) -> Generation:
        # best last: where a prompt is too long it loses its beginning
        passages = "".join(f"Passage: {hit.passage.text.strip()}\n\n" for hit in reversed(hits))
        messages = (("system", _WITH if hits else _WITHOUT), ("user", f"{passages}Question: {question.strip()}"))
        return Generation(messages, self.settings.max_new_tokens, stop=("\n",))

    def _verifier(self, context: RetrievalContext) -> Verifier:
        settings = self.settings
        if settings.model is not None:
            if context.entailment is None:
                raise RunError("by: nli needs models to be loaded", component="retriever evidence")
            return NliVerifier(context.entailment(settings.model), settings.threshold)
        if context.likelihood is None:
            raise RunError("it needs the pipeline's language model", component="retriever evidence")
        return ContrastVerifier(context.likelihood, settings.margin)


def _questions(query: Query) -> tuple[str, ...]:
    """The question, then its sub-questions."""
    return (query.text, *query.parts)


def _judged(
    verifier: Verifier, claims: Sequence[Sequence[Claim]], evidence: Sequence[Sequence[str]]
) -> list[list[list[Verdict]]]:
    """Verdicts by query, claim and evidence; a blank answer has no support."""
    pairs = [
        (text, claim)
        for own, texts in zip(claims, evidence, strict=True)
        for claim in own
        if claim.answer
        for text in texts
    ]
    made = iter(verifier.entails(pairs) if pairs else [])
    return [
        [[next(made) if claim.answer else _UNSUPPORTED for _ in texts] for claim in own]
        for own, texts in zip(claims, evidence, strict=True)
    ]


def _noted(hit: Hit, name: str, support: float) -> Hit:
    """The hit with its support among its scores; the score by which it is ranked stays."""
    return replace(hit, scores={**hit.scores, name: support})


def _plain(answer: str) -> list[str]:
    """Its words, for comparison: case, blanks and the marks around words do not count."""
    return [word for part in answer.casefold().split() if (word := part.strip(".,;:!?\"'"))]
