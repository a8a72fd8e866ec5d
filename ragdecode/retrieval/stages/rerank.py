"""Later stage: passages scored one by one against the question."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit, ranked
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext, Role
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

_PROMPT = Path(__file__).parent.parent / "prompts" / "query_likelihood.txt"


class RerankSettings(Settings):
    """By what, and how many stay."""

    by: Literal["query_likelihood"] | Annotated[ModelSpec, Reference("models")] = "query_likelihood"
    """``query_likelihood`` asks the pipeline's own language model how likely the question is after the passage; or
    the name of a cross-encoder."""
    top_k: int = Field(default=4, ge=1)
    """Passages to keep."""
    template: str | None = Field(default=None, min_length=1)
    """Jinja template over ``text``, ``source`` and ``heading`` that comes before the question; for
    ``query_likelihood``. A built-in one if left out."""

    @model_validator(mode="after")
    def _fits(self) -> RerankSettings:
        if isinstance(self.by, ModelSpec):
            if self.by.kind != "cross_encoder":
                raise ValueError(f"by: expected query_likelihood or a model of kind cross_encoder, not {self.by.kind}")
            if self.template is not None:
                raise ValueError("template has no place with a cross-encoder; it belongs to query_likelihood")
        elif self.template is not None:
            _compile(self.template)
        return self


@register("retriever", "rerank", RerankSettings)
class RerankStage:
    """Reorders passages: by query likelihood under the pipeline's own model, or by a cross-encoder.

    Query likelihood follows Sachan et al., "Improving Passage Retrieval with Zero-Shot Question Generation"
    (EMNLP 2022): the mean log-probability of the question's tokens after the passage and an instruction.
    """

    role: Role = "passages"
    stores: tuple[str, ...] = ()

    def __init__(self, settings: RerankSettings) -> None:
        self.settings = settings

    @property
    def needs_model(self) -> bool:
        """Whether it scores with the pipeline's language model."""
        return self.settings.by == "query_likelihood"

    def refine(self, queries: Sequence[Query], hits: Sequence[list[Hit]], context: RetrievalContext) -> list[list[Hit]]:
        """The best of the candidates; all pairs of all queries are scored in one call."""
        if isinstance(self.settings.by, ModelSpec):
            name, scores = "cross_encoder", self._relevance(self.settings.by, queries, hits, context)
        else:
            name, scores = "query_likelihood", self._likelihood(queries, hits, context)
        each = iter(scores)
        return [ranked((hit.rescored(name, next(each)) for hit in found), self.settings.top_k) for found in hits]

    def _likelihood(
        self, queries: Sequence[Query], candidates: Sequence[list[Hit]], context: RetrievalContext
    ) -> list[float]:
        if context.likelihood is None:
            raise RunError(
                "rerank by query_likelihood needs the pipeline's language model", component="retriever rerank"
            )
        render = _compile(self.settings.template or _PROMPT.read_text(encoding="utf-8").rstrip("\n"))
        pairs = [
            (render(hit), f" {query.text.strip()}")
            for query, hits in zip(queries, candidates, strict=True)
            for hit in hits
        ]
        return _counted(context.likelihood(pairs), len(pairs)) if pairs else []

    def _relevance(
        self, model: ModelSpec, queries: Sequence[Query], candidates: Sequence[list[Hit]], context: RetrievalContext
    ) -> list[float]:
        if context.cross_encoders is None:
            raise RunError("rerank by a cross-encoder needs models to be loaded", component="retriever rerank")
        pairs = [
            (query.text, hit.passage.text) for query, hits in zip(queries, candidates, strict=True) for hit in hits
        ]
        return _counted(context.cross_encoders(model)(pairs), len(pairs)) if pairs else []


def _compile(template: str) -> Callable[[Hit], str]:
    """A function that fills the template for a hit.

    Raises:
        ValueError: The template has an error, or a variable that is not there.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        compiled = environment.from_string(template)
        compiled.render(text="", source="", heading="")
    except TemplateError as error:
        raise ValueError(f"template: {error}") from error

    def render(hit: Hit) -> str:
        passage = hit.passage
        return compiled.render(text=passage.text, source=passage.source, heading=passage.heading)

    return render


def _counted(scores: list[float], pairs: int) -> list[float]:
    if len(scores) != pairs or any(math.isnan(score) for score in scores):
        raise RunError(f"expected {pairs} scores, got {scores!r:.200}", component="retriever rerank")
    return scores
