"""Prompts of the catalogue that parts bring, rather than the YAML."""

from __future__ import annotations

from functools import cache

from ragdecode.spec import catalogue
from ragdecode.spec.prompt import PromptSpec


@cache
def catalogue_prompt(name: str) -> PromptSpec:
    """A prompt of the catalogue."""
    from ragdecode.spec.load import load_document

    file = catalogue.find("prompts", name)
    assert file is not None, f"the catalogue lacks the prompt {name}"
    spec = load_document("prompts", file).spec
    assert isinstance(spec, PromptSpec)
    return spec


def name_in_catalogue(prompt: PromptSpec) -> str | None:
    """The name under which the catalogue has a prompt, or None."""
    return next((name for name in catalogue.names("prompts") if catalogue_prompt(name) == prompt), None)
