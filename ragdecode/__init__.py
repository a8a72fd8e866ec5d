"""Retrieval-augmented generation in which decoding is a stage of the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragdecode.version import __version__

if TYPE_CHECKING:
    from ragdecode.pipeline.pipeline import Pipeline

__all__ = ["Pipeline", "__version__"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that importing the package alone loads nothing."""
    if name == "Pipeline":
        from ragdecode.pipeline.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
