"""Loads YAML documents: read, names resolved, overrides applied, validated; all problems at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter

from ragdecode.errors import InputError, Problem, SpecError
from ragdecode.spec import catalogue
from ragdecode.spec.include import Inclusion, app_root, label_of, open_file
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Node, Path_, Scalar, Source
from ragdecode.spec.override import LABEL, parse_overrides
from ragdecode.spec.pipeline import PipelineSpec
from ragdecode.spec.reference import FOLDERS, Reference
from ragdecode.spec.report import Report
from ragdecode.spec.resolve import Resolver, with_name
from ragdecode.spec.shape import shape_of
from ragdecode.spec.validate import node_at, validate


@dataclass(frozen=True)
class LoadedDocument:
    """A document of any kind, validated and with every default filled in.

    Attributes:
        kind: Kind of document, a key of `FOLDERS`.
        spec: The typed content: a spec model, or a tuple of `Part` for a retrievers file.
        name: The file's name without its ending.
        file: The file itself, absolute.
        app_root: The folder of the app (or the catalogue) that it belongs to.
        from_catalogue: Whether it belongs to the catalogue.
        inclusions: The names in it and the files they meant.
        tree: The resolved tree, for lines.
        hidden: List positions that paths are shown without.
    """

    kind: str
    spec: Any
    name: str
    file: Path
    app_root: Path
    from_catalogue: bool
    inclusions: tuple[Inclusion, ...] = ()
    tree: Node | None = field(default=None, repr=False, compare=False)
    hidden: frozenset[Path_] = field(default=frozenset(), repr=False, compare=False)

    def located(self, path: Path_, error: InputError) -> InputError:
        """An error that was found later, with the file and the line of the path that caused it."""
        if self.tree is None:
            return error
        report = Report()
        report.hidden = set(self.hidden)
        message = f"{error.component}: {error.message}" if error.component else error.message
        report.add(node_at(self.tree, path)[0].place, path, message, error.hint)
        return report.error()


@dataclass(frozen=True)
class LoadedPipeline(LoadedDocument):
    """A pipeline, validated and with every default filled in.

    Attributes:
        automatic: The drafters that ``draft: auto`` stands for here; they are in the spec in its place.
    """

    spec: PipelineSpec
    automatic: tuple[str, ...] = ()


def document_type(kind: str) -> Any:
    """The annotated type of a kind of document (a key of `FOLDERS`)."""
    from ragdecode.spec.decode import DecodeSpec
    from ragdecode.spec.detector import DetectorSpec
    from ragdecode.spec.diagnosis import DiagnosisSpec
    from ragdecode.spec.heads import HeadListSpec
    from ragdecode.spec.index import IndexSpec
    from ragdecode.spec.model import ModelSpec
    from ragdecode.spec.part import Retrievers
    from ragdecode.spec.prompt import PromptSpec
    from ragdecode.spec.trained_monitor import TrainedMonitorSpec
    from ragdecode.spec.tuning import TuningSpec

    types = {
        "indexes": IndexSpec,
        "retrievers": Annotated[Retrievers, Reference("retrievers")],
        "pipelines": PipelineSpec,
        "models": ModelSpec,
        "prompts": PromptSpec,
        "decoding": DecodeSpec,
        "heads": HeadListSpec,
        "detectors": DetectorSpec,
        "monitors": TrainedMonitorSpec,
        "tunings": TuningSpec,
        "diagnoses": DiagnosisSpec,
    }
    return types[kind]


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(document_type(kind))


def load_pipeline(target: str | Path, overrides: Sequence[str] = ()) -> LoadedPipeline:
    """Load a pipeline and check that its parts go together; nothing heavy is imported.

    Args:
        target: A file, or a name: of a pipeline of the app in the current folder, else of the catalogue.
        overrides: ``path=value`` texts, as after ``--set``.

    Raises:
        SpecError: Everything that is wrong with it, each with file, line and path.
    """
    from ragdecode.spec.automatic import automatic, expanded

    loaded = LoadedPipeline(**vars(_load("pipelines", target, overrides)))
    return replace(loaded, spec=expanded(loaded.spec), automatic=tuple(automatic(loaded.spec)))


def load_document(kind: str, target: str | Path, overrides: Sequence[str] = ()) -> LoadedDocument:
    """Load a document of any kind (a key of `FOLDERS`); see `load_pipeline`.

    Raises:
        SpecError: Everything that is wrong with it.
    """
    if kind == "pipelines":
        return load_pipeline(target, overrides)
    return _load(kind, target, overrides)


def _load(kind: str, target: str | Path, overrides: Sequence[str]) -> LoadedDocument:
    from ragdecode.spec.combination import Combination

    file, label = find_target(kind, target)
    root = app_root(file)
    here = catalogue.current_folder()
    sets = parse_overrides(overrides, Source(LABEL, here, root, (file,)))
    tree = open_file(file, root, label=label)
    if isinstance(tree, Scalar) and tree.value is None:
        raise SpecError([Problem("the file is empty", label, hint=f"see `ragdecode schema {kind}` for its keys")])
    report = Report()
    resolver = Resolver(report)
    tree = resolver.resolve(tree, shape_of(document_type(kind)), sets, ())
    if kind == "models":
        tree = with_name(tree, file.stem)
    spec = validate(tree, _adapter(kind), report)
    if not report:
        Combination(tree, report).check(kind, spec)
    if report:
        raise report.error()
    from_catalogue = root == catalogue.catalogue_root()
    return LoadedDocument(
        kind, spec, file.stem, file, root, from_catalogue, tuple(resolver.inclusions), tree, frozenset(report.hidden)
    )


def find_target(kind: str, target: str | Path) -> tuple[Path, str]:
    """The file that a command line means, absolute, and how to name it.

    A plain name is a file of the app in the current folder, else of the catalogue; anything else is a path.

    Raises:
        SpecError: There is no such file.
    """
    text = str(target)
    path = Path(target)
    is_name = isinstance(target, str) and catalogue.NAME.fullmatch(text) is not None
    if is_name and path.suffix not in (".yaml", ".yml"):
        own = catalogue.file_of(catalogue.current_folder(), kind, text)
        found = own or catalogue.find(kind, text)
        if found is not None:
            return found, label_of(found)
    try:
        is_file, is_folder, exists = path.is_file(), path.is_dir(), path.exists()
    except OSError as error:
        raise SpecError([Problem(f"cannot be read: {error.strerror}", text[:200])]) from error
    if is_file:
        # the folder is resolved, the file is not: a linked file belongs to the app that it is linked into
        return path.parent.resolve() / path.name, text
    if is_folder:
        shown = text or repr(text)  # an empty path is the current folder
        raise SpecError([Problem("this is a folder; expected a YAML file", shown, hint=_files_in(path))])
    if exists:
        raise SpecError([Problem("this is no regular file; expected a YAML file", text, hint="save it as a file")])
    if is_name and path.suffix not in (".yaml", ".yml"):
        known = sorted({*catalogue.names(kind), *catalogue.names_under(catalogue.current_folder(), kind)})
        message = f"no file of that path, and no {text}.yaml in {FOLDERS[kind]}/ here or in the catalogue"
        raise SpecError([Problem(message, text, hint=did_you_mean(text, known))])
    near = did_you_mean(path.name, sorted(item.name for item in path.parent.glob("*.y*ml")))
    hint = near if near and near.startswith("did") else f"the current folder is {catalogue.current_folder()}"
    raise SpecError([Problem("no such file", text, hint=hint)])


def _files_in(folder: Path) -> str | None:
    files = sorted(str(path) for path in (*folder.glob("*.yaml"), *folder.glob("pipelines/*.yaml")))
    return f"for example {files[0]}" if files else None
