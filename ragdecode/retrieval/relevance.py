"""How relevant passages are to questions, by the pipeline's own model: no further weights, no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.scores import checked
from ragdecode.retrieval.shorten import last_words
from ragdecode.retrieval.stage import Likelihood, RetrievalContext

_PROMPT = Path(__file__).parent / "prompts" / "query_likelihood.txt"
#: of a longer question only the end is scored: a forward pass over each passage has to hold it
QUESTION_TOKENS = 256


def compile_template(template: str | None) -> Callable[[Hit], str]:
    """A function that fills a Jinja template over ``text``, ``source`` and ``heading`` for a hit.

    Args:
        template: The template; the built-in one for query likelihood if left out.

    Raises:
        ValueError: The template has an error, or a variable that is not there.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        compiled = environment.from_string(template or _PROMPT.read_text(encoding="utf-8").rstrip("\n"))
        compiled.render(text="", source="", heading="")
    except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise ValueError(f"template: {error}") from error

    def render(hit: Hit) -> str:
        passage = hit.passage
        return compiled.render(text=passage.text, source=passage.source, heading=passage.heading)

    return render


class OwnModel:
    """The pipeline's language model as a judge of relevance.

    Args:
        stage: The stage that asks, for errors.
        by: Its way of scoring, for errors.
        context: The models.
        question_tokens: Of a longer question only the last so many tokens are scored.

    Raises:
        RunError: There is no model.
    """

    def __init__(self, stage: str, by: str, context: RetrievalContext, question_tokens: int = QUESTION_TOKENS) -> None:
        if context.likelihood is None:
            raise RunError(f"{stage} by {by} needs the pipeline's language model", component=f"retriever {stage}")
        self.likelihood: Likelihood = context.likelihood
        self._stage = stage
        self._count = context.count_tokens
        self._question_tokens = question_tokens

    def questions(self, questions: Sequence[str]) -> list[str]:
        """The questions, or their ends."""
        return last_words([question.strip() for question in questions], self._question_tokens, self._count)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Mean log-probability of the continuation's tokens, for (prefix, continuation) pairs."""
        return checked(self.likelihood(pairs), len(pairs), self._stage) if pairs else []

    def query_likelihood(
        self, questions: Sequence[str], hits: Sequence[Sequence[Hit]], render: Callable[[Hit], str]
    ) -> list[float]:
        """Mean log-probability of the question after each passage, list by list; one call for all.

        Sachan et al., "Improving passage retrieval with zero-shot question generation" (EMNLP 2022).
        """
        asked = self.questions(questions)
        return self.scores(
            [(render(hit), f" {question}") for question, found in zip(asked, hits, strict=True) for hit in found]
        )

    def yes_no(self, questions: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[float]:
        """Log-odds that the model says "yes" when asked whether the passage answers the question; one call for all."""
        asked = self.questions(questions)
        prefixes = [
            f"Passage: {hit.passage.text}\nQuestion: {question}\n"
            "Does the passage answer the question? Answer yes or no.\nAnswer:"
            for question, found in zip(asked, hits, strict=True)
            for hit in found
        ]
        scores = self.scores([(prefix, word) for prefix in prefixes for word in (" yes", " no")])
        return [yes - no for yes, no in zip(scores[::2], scores[1::2], strict=True)]
