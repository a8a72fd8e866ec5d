"""Whether an evaluation run goes together: pipelines that load, metrics that have what they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ragdecode.errors import SpecError
from ragdecode.spec import catalogue
from ragdecode.spec.checks import Checks
from ragdecode.spec.dataset import DatasetSpec
from ragdecode.spec.evaluation import EvalSpec, SystemSpec, overrides
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Items, Path_, Source, Table


class EvalChecks(Checks):
    """Checks one validated run, or one data set."""

    def check(self, spec: EvalSpec) -> None:
        """Check a run; pipelines are loaded under every choice of settings."""
        self._names("pipelines", [system_name(one) for one in spec.systems])
        self._names("datasets", [dataset_name(one) for one in spec.datasets])
        for place, system in enumerate(spec.systems):
            self._pipeline(spec, system, ("pipelines", place))
        names = [system_name(one) for one in spec.systems]
        if spec.baseline and spec.baseline not in names:
            message = f"there is no pipeline '{spec.baseline}' in this run"
            self.add(("baseline",), message, did_you_mean(spec.baseline, names))
        for place, dataset in enumerate(spec.datasets):
            self.dataset(dataset, ("datasets", place))
        self._metrics(spec)

    def dataset(self, spec: DatasetSpec, path: Path_) -> None:
        """Check a data set."""
        reader = self.built(spec.read, (*path, "read"))
        if reader is not None and spec.evidence == "given" and "passages" not in reader.brings:
            message = f"'evidence: given' needs passages, which '{spec.read.name}' does not bring here"
            self.add((*path, "evidence"), message, "evidence: retrieved, or name the column of the passages")

    def _names(self, key: str, names: list[str]) -> None:
        for place, name in enumerate(names):
            if names.index(name) != place:
                self.add((key, place), f"the name '{name}' is there twice", "give one of them a 'name:'")

    def _pipeline(self, spec: EvalSpec, system: SystemSpec, path: Path_) -> None:
        from ragdecode.spec.load import load_pipeline

        target = pipeline_target(system, self._source(path))
        told: set[str] = set()
        for settings in spec.settings_of(system):
            sets = overrides({**spec.set, **system.set, **settings})
            try:
                loaded = load_pipeline(target, sets)
            except SpecError as error:
                news = [one for one in error.problems if str(one) not in told]
                told |= {str(one) for one in news}
                for problem in news:
                    at = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
                    what = ": ".join(part for part in (at, problem.path, problem.message) if part)
                    self.add(path, f"pipeline '{system_name(system)}': {what}", problem.hint)
                continue
            for dataset in spec.datasets:
                if dataset.evidence == "retrieved" and not loaded.spec.retrieve and "retrieved" not in told:
                    told.add("retrieved")
                    message = f"'{dataset_name(dataset)}' wants retrieved evidence, and this pipeline has no 'retrieve'"
                    self.add(path, message, "evidence: auto or given")

    def _metrics(self, spec: EvalSpec) -> None:
        built = [self.built(part, ("metrics", place)) for place, part in enumerate(spec.metrics)]
        if not spec.metrics:
            self.add(("metrics",), "no metric: nothing would be measured", "name one: f1")
        values = Counter(name for metric in built if metric is not None for name in metric.facts)
        for place, (part, metric) in enumerate(zip(spec.metrics, built, strict=True)):
            if metric is None:
                continue
            at = ("metrics", place, part.name)
            for name in metric.facts:
                if values[name] > 1:
                    self.add(at, f"two metrics give the value '{name}'", "take one of them out")
            self._needs(spec, part.name, metric.needs, at)
            for name in getattr(metric, "reads", ()):
                if name not in values:
                    self.add(at, f"'{part.name}' reads the metric '{name}', which this run does not have", "add it")
            names = [dataset_name(one) for one in spec.datasets]
            for name in getattr(metric, "datasets", ()):
                if name not in names:
                    hint = did_you_mean(name, names)
                    self.add(at, f"'{part.name}' reads the data set '{name}', which this run does not have", hint)

    def _needs(self, spec: EvalSpec, name: str, needs: Iterable[str], at: Path_) -> None:
        """A metric that no data set can serve is a mistake; one that some cannot serve is empty there."""
        brought: list[frozenset[str]] = []
        for dataset in spec.datasets:
            try:
                brought.append(frozenset(dataset.read.build().brings))
            except Exception:
                return  # told at the data set
        lacking = [sorted(set(needs) - one) for one in brought]
        if all(lacking):
            sets = ", ".join(dataset_name(one) for one in spec.datasets)
            message = f"'{name}' needs {', '.join(lacking[0])}, which no data set of this run brings ({sets})"
            self.add(at, message, "name the columns in the data set, or leave the metric out")

    def _source(self, path: Path_) -> Source | None:
        node: Any = self.tree
        for key in path:
            if isinstance(node, Items) and isinstance(key, int) and key < len(node.items):
                node = node.items[key]
            elif isinstance(node, Table) and key in node.entries:
                node = node.entries[str(key)]
        return node.place.source if node is not None else None


def system_name(system: SystemSpec) -> str:
    """What a pipeline is called in a run."""
    return system.name or Path(system.pipeline).stem


def dataset_name(dataset: DatasetSpec) -> str:
    """What a data set is called in a run."""
    return dataset.name or dataset.read.name


def pipeline_target(system: SystemSpec, source: Source | None) -> str | Path:
    """The file of a pipeline: a name of the app that the run belongs to, else of the catalogue; else a path."""
    written = system.pipeline
    if source is None:
        return written
    if catalogue.NAME.fullmatch(written) and Path(written).suffix not in (".yaml", ".yml"):
        for root in (source.root, catalogue.current_folder(), catalogue.catalogue_root()):
            found = catalogue.file_of(root, "pipelines", written)
            if found is not None:
                return found
        return written
    return (source.folder / Path(written).expanduser()).resolve()
