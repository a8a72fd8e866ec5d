"""``configs/eval/*.yaml``: evaluation runs, pipelines x data sets x settings x seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ragdecode.spec.dataset import DatasetSpec
from ragdecode.spec.part import Metrics
from ragdecode.spec.reference import Reference
from ragdecode.spec.settings import Settings


class SweepSpec(Settings):
    """Choices of settings, by dotted path as in ``--set``; every one is run."""

    list: tuple[dict[str, Any], ...] = ()
    """Choices one by one: ``- {decode.rule.cad.alpha: 0.5}``."""
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Values by path; all their combinations are run, with each choice of ``list``."""

    @model_validator(mode="after")
    def _something(self) -> SweepSpec:
        empty = [path for path, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"there are no values for {empty[0]}")
        twice = sorted(set(self.grid) & {path for one in self.list for path in one})
        if twice:
            raise ValueError(f"{twice[0]} is both in 'list' and in 'grid'")
        return self

    def choices(self) -> Iterator[dict[str, Any]]:
        """Every choice; one without settings if nothing is swept."""
        for one in self.list or ({},):
            for values in product(*self.grid.values()):
                yield {**one, **dict(zip(self.grid, values, strict=True))}


class SystemSpec(Settings):
    """A pipeline of a run."""

    pipeline: str = Field(min_length=1)
    """Name of a pipeline of the app or the catalogue, or its file, relative to this one."""
    name: str = Field(default="", pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """Name in the run; that of the pipeline if left out."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Values that are changed in it, by dotted path."""
    sweep: SweepSpec = SweepSpec()
    """Choices of settings for this pipeline alone."""


class EvalSpec(Settings):
    """An evaluation run."""

    description: str = ""
    """One line about the run."""
    datasets: tuple[Annotated[DatasetSpec, Reference("datasets")], ...] = Field(min_length=1)
    """What is asked."""
    pipelines: tuple[str | SystemSpec, ...] = Field(min_length=1)
    """Who answers: names, or mappings with ``pipeline`` and settings."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Values that are changed in every pipeline, by dotted path, such as ``decode.max_new_tokens``."""
    sweep: SweepSpec = SweepSpec()
    """Choices of settings for every pipeline."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(default=(0,), min_length=1)
    """Seeds of sampling; each is a run of its own. One is enough at temperature 0."""
    metrics: Metrics = Field(
        default=("exact_match", "f1", "recall", "contains_answer", "k_precision", "length"), validate_default=True
    )
    """What is measured."""
    limit: int | None = Field(default=None, ge=1)
    """Use this many examples of each data set."""
    batch: int | None = Field(default=None, ge=1, le=1024)
    """Questions decoded together; each pipeline's own ``engine.max_batch`` if left out."""
    deadline: float | None = Field(default=600.0, gt=0.0)
    """Seconds that a sample may take from when it is decoded; null waits for ever."""
    dry_run: int = Field(default=5, ge=0, le=1000)
    """Samples of each cell that are tried before the run begins; 0 tries none."""
    baseline: str = ""
    """Name of the pipeline that others are compared with; the first if left out."""
    compare: Literal["baseline", "all"] = "baseline"
    """Compare every pipeline with the baseline, or all pairs."""

    @model_validator(mode="after")
    def _once(self) -> EvalSpec:
        if len(set_of := frozenset(self.seeds)) < len(self.seeds):
            twice = next(seed for seed in set_of if self.seeds.count(seed) > 1)
            raise ValueError(f"the seed {twice} is there twice")
        return self

    @property
    def systems(self) -> tuple[SystemSpec, ...]:
        """The pipelines, all as mappings."""
        return tuple(SystemSpec(pipeline=one) if isinstance(one, str) else one for one in self.pipelines)

    def settings_of(self, system: SystemSpec) -> Iterator[dict[str, Any]]:
        """Every choice of swept settings of a pipeline: the run's own sweep with the pipeline's."""
        for common in self.sweep.choices():
            for own in system.sweep.choices():
                yield {**common, **own}


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings by path as the texts that ``--set`` takes."""
    import json

    return [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in settings.items()]
