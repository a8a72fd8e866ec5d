"""The models that can be named: those of the app in the current folder, then those of the catalogue."""

from __future__ import annotations

from pathlib import Path

from ragdecode.spec import catalogue
from ragdecode.spec.load import load_document
from ragdecode.spec.model import ModelSpec

#: What the catalogue's own pipelines need.
DEFAULT_MODELS = ("smollm2-135m", "minilm")


def model_names() -> list[str]:
    """Names of all models that can be named here, sorted."""
    return sorted({*catalogue.names("models"), *catalogue.names_under(Path.cwd(), "models")})


def find_model(target: str) -> ModelSpec:
    """The model that a name or a YAML file means.

    Raises:
        SpecError: There is none, with the nearest name, or its YAML is wrong.
    """
    spec: ModelSpec = load_document("models", target).spec
    return spec


def default_encoder() -> ModelSpec:
    """The sentence encoder of the catalogue's own pipelines."""
    file = catalogue.find("models", DEFAULT_MODELS[1])
    assert file is not None, "the catalogue has it"
    return find_model(str(file))


def describe_source(spec: ModelSpec) -> str:
    """A source in one line."""
    source = spec.source
    if source.wheel is not None:
        return f"wheel {source.wheel.package}=={source.wheel.version}"
    if source.hub is not None:
        return f"hub {source.hub.repo}@{source.hub.revision}"
    assert source.path is not None
    return f"path {source.path.path}"
