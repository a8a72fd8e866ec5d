"""The pipelines of a service: those over the same models use them together, in one engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ragdecode.errors import InputError
from ragdecode.models.progress import Progress
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.sharing import SharedPipelines
from ragdecode.service.problem import Problem
from ragdecode.spec import catalogue
from ragdecode.spec.load import LoadedPipeline, load_pipeline
from ragdecode.spec.part import Part

_log = logging.getLogger(__name__)

#: Gives the documents that a pipeline searches in the place of its own; None leaves them.
Documents = Callable[[LoadedPipeline], Path | None]


class Shelf:
    """Pipelines by name; nothing heavy is loaded before `open`.

    Args:
        targets: The pipelines that are served, files or names; the first answers where a request names none.
        overrides: ``path=value`` texts, as after ``--set``; for the targets, and what they say of ``engine`` and
            ``model`` for the others.
        documents: What each pipeline searches.
        fetch: Fetch weights that are not on this machine.
        others: Offer the other pipelines of the app and the catalogue too, where they need no other model.
        progress: Told of long work.

    Attributes:
        first: The pipeline that answers where a request names none.

    Raises:
        InputError: The YAML of a target is wrong, or two have one name.
    """

    def __init__(
        self,
        targets: Sequence[str | Path],
        overrides: Sequence[str] = (),
        *,
        documents: Documents = lambda _: None,
        fetch: bool = False,
        others: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self._documents, self._fetch, self._progress = documents, fetch, progress
        self._pipelines: dict[str, Pipeline] = {}
        self._owners: list[Pipeline] = []
        for target in targets:
            loaded = load_pipeline(target, overrides)
            if loaded.name in self._pipelines:
                raise InputError(f"there are two pipelines of the name {loaded.name}", hint="rename one of the files")
            self._pipelines[loaded.name] = self._shared(loaded) or self._alone(loaded)
        self._served = list(self._pipelines)
        self.first = self._pipelines[self._served[0]]
        if others:
            kept = [item for item in overrides if item.split("=", 1)[0].split(".", 1)[0] in ("engine", "model")]
            for name in _names():
                self._offer(name, kept)

    def _alone(self, loaded: LoadedPipeline) -> Pipeline:
        found = Pipeline(
            conversational(loaded), docs=self._documents(loaded), progress=self._progress, fetch=self._fetch
        )
        self._owners.append(found)
        return found

    def _shared(self, loaded: LoadedPipeline) -> Pipeline | None:
        """The pipeline over the models of one that is there; None where it needs others."""
        for owner in self._owners:
            with suppress(InputError):
                return SharedPipelines(owner).over(conversational(loaded), docs=self._documents(loaded))
        return None

    def _offer(self, name: str, overrides: Sequence[str]) -> None:
        try:
            loaded = load_pipeline(name, overrides)
            found = None if loaded.name in self._pipelines else self._shared(loaded)
        except InputError as error:
            _log.debug("the pipeline %s is not offered: %s", name, error)
            return
        if found is not None:
            self._pipelines[found.name] = found

    @property
    def names(self) -> list[str]:
        """Names of the pipelines, the first one first."""
        return list(self._pipelines)

    def describe(self, name: str) -> dict[str, object]:
        """What a pipeline is, for people and programs."""
        pipeline = self[name]
        spec = pipeline.loaded.spec
        return {
            "name": name,
            "description": spec.description,
            "headline": pipeline.headline,
            "searches": pipeline.searches,
            "monitored": bool(spec.decode.monitor),
            "model": spec.model.name,
            "default": pipeline is self.first,
        }

    def __getitem__(self, name: str) -> Pipeline:
        if name not in self._pipelines:
            told = ", ".join(self._pipelines)
            raise Problem(404, "no-such-pipeline", f"there is no pipeline {name[:100]!r}", hint=f"there are {told}")
        return self._pipelines[name]

    def get(self, name: str | None) -> Pipeline:
        """The pipeline of a name, the first one without a name.

        Raises:
            Problem: 404, there is none of that name.
        """
        return self.first if name is None else self[name]

    def searching(self) -> list[Pipeline]:
        """Pipelines that search documents."""
        return [pipeline for pipeline in self._pipelines.values() if pipeline.searches]

    def open(self) -> None:
        """Load models and indexes of the targets; the others open their indexes with their first question.

        Raises:
            InputError: Weights are missing, or a corpus cannot be read.
            RunError: An index cannot be written.
        """
        for name in self._served:
            self._pipelines[name].open()

    def close(self) -> None:
        """Let go of everything."""
        for pipeline in reversed(self._pipelines.values()):
            pipeline.close()


def conversational(loaded: LoadedPipeline) -> LoadedPipeline:
    """The pipeline with follow-up questions rewritten before it searches, if it does not do so already."""
    from ragdecode.retrieval.stages.rewrite import RewriteSettings

    stages = loaded.spec.retrieve
    if not stages or any(part.name == "rewrite" for part in stages):
        return loaded
    rewrite = Part("retriever", "rewrite", RewriteSettings())
    return replace(loaded, spec=loaded.spec.model_copy(update={"retrieve": (rewrite, *stages)}))


def _names() -> list[str]:
    """Pipelines of the app in the current folder and of the catalogue."""
    return list(
        dict.fromkeys([*catalogue.names_under(catalogue.current_folder(), "pipelines"), *catalogue.names("pipelines")])
    )
