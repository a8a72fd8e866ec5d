"""A weak view that a rule brings itself: the same request under another prompt, or shown to another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import model_validator

from ragdecode.spec.catalogue_prompt import catalogue_prompt
from ragdecode.spec.decode import ViewSpec
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.prompt import PromptSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.settings import Settings


class OwnViewSettings(Settings):
    """How the weak view of a rule is made."""

    prompt: Annotated[PromptSpec | None, Reference("prompts")] = None
    """The weak view's prompt. Left out, the catalogue's for this rule; with a ``model``, the pipeline's own."""
    model: Annotated[ModelSpec | None, Reference("models")] = None
    """A weak model with the same vocabulary; left out, the pipeline's own reads the weak prompt."""
    view: str | None = None
    """A view of ``decode.views`` in place of the rule's own; it then has its prompt and model from there."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.view == "with_context":
            raise ValueError("'with_context' is the view that is decoded: less itself nothing is left")
        if self.view is not None and (self.prompt is not None or self.model is not None):
            raise ValueError(f"the prompt and the model of a declared view stand there: decode.views.{self.view}")
        return self

    def brings(self, name: str, prompt: str) -> tuple[str, Mapping[str, ViewSpec]]:
        """The name of the view that is read, and what the rule declares of it.

        Args:
            name: The view's name where the rule brings it.
            prompt: Name of the catalogue's prompt for it.
        """
        if self.view is not None:
            return self.view, {}
        own = self.prompt
        if own is None and self.model is None:
            own = catalogue_prompt(prompt)
        return name, {name: ViewSpec(prompt=own, model=self.model, role="rule")}
