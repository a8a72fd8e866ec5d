"""Opens the models that an aligner asks, where there is no pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from ragdecode.spec.model import ModelSpec


def open_judges(
    models: Mapping[str, ModelSpec | None], *, fetch: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """The models by the names under which an aligner asks for them; see `Aligner.models`.

    Raises:
        InputError: Weights are missing, or a model is of no use here.
    """
    from ragdecode.models.catalogue import default_encoder
    from ragdecode.models.encoder import load_encoder
    from ragdecode.models.entailment import load_entailment
    from ragdecode.pipeline.passage_source import unit_vectors

    found: dict[str, Any] = {}
    for name, spec in models.items():
        if spec is not None and spec.kind == "cross_encoder":
            found[name] = load_entailment(spec, fetch=fetch, progress=progress).probability
        else:
            found[name] = unit_vectors(load_encoder(spec or default_encoder(), fetch=fetch, progress=progress))
    return found
