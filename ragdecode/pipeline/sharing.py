"""Pipelines over the same models and one engine, for comparisons: their requests share passes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.errors import InputError
from ragdecode.pipeline.memory import memory_errors
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.spec.load import LoadedPipeline, load_pipeline

if TYPE_CHECKING:
    from ragdecode.decoding.composed_scoring import Asked, ComposedScorer


class SharedPipelines:
    """A pipeline whose models and engine others use too, each with prompt, views and decoding of its own.

    Requests of any of them, as `Pipeline.prepare` makes them, may be run together by any of them. They are closed with
    the first. How much is drafted is decided by the governor of the first.

    Args:
        first: The pipeline that has the models.
    """

    def __init__(self, first: Pipeline) -> None:
        self.first = first

    def load(self, target: str | Path, overrides: Sequence[str] = (), *, docs: Path | None = None) -> Pipeline:
        """Another pipeline.

        Args:
            target: A YAML file, or the name of a pipeline of the app or the catalogue.
            overrides: ``path=value`` texts, as after ``--set``.
            docs: Folder or file to search in the place of its ``index.corpus.path``.

        Raises:
            InputError: The YAML is wrong, or it names a model or an engine that the first does not have.
        """
        return self.over(load_pipeline(target, overrides), docs=docs)

    def over(self, loaded: LoadedPipeline, *, docs: Path | None = None) -> Pipeline:
        """Another pipeline whose YAML is loaded; see `load`."""
        other = Pipeline(loaded, docs=docs, models=self.first._models)
        mine, theirs = self.first._plans.models, other._plans.models
        if other._spec.engine != self.first._spec.engine or any(mine.get(key) != theirs[key] for key in theirs):
            raise InputError(
                f"the pipelines {self.first.name} and {other.name} differ in their models or in `engine`",
                hint="load it by itself",
            )
        return other

    def composed_log_probs(self, asked: Sequence[Asked]) -> list[list[list[float]]]:
        """Log-probability (nats) of each token of given answers under the rules of requests, as `prepare` made them.

        See `ComposedScorer`; the answers are token ids.

        Raises:
            InputError: An answer does not fit the window, or a rule cannot be evaluated on drafts.
            RunError: Memory ran out.
        """
        with self.first._models.engine.lock, memory_errors("scoring answers"):
            return self._scorer(asked)

    @cached_property
    def _scorer(self) -> ComposedScorer:
        from ragdecode.decoding.composed_scoring import ComposedScorer

        models, engine = self.first._models, self.first._spec.engine
        return ComposedScorer(
            models.backends,
            max_batch=engine.max_batch,
            prefill_tokens=engine.prefill_tokens,
            vocab_size=models.vocab_size,
            prefix_bytes=engine.prefix_cache_mb << 20,
        )
