"""Which kind of document a file is: by its folder, else by its content."""

from __future__ import annotations

from pathlib import Path

from ragdecode.errors import SpecError
from ragdecode.spec import catalogue, registry
from ragdecode.spec.include import open_file
from ragdecode.spec.load import document_type
from ragdecode.spec.node import Items, Scalar, Table
from ragdecode.spec.part_form import head
from ragdecode.spec.reference import FOLDERS


def kind_of(target: str) -> str:
    """The kind (a key of `FOLDERS`) of a file, or of a name as a command line gives it; pipelines if in doubt."""
    path = Path(target)
    if catalogue.NAME.fullmatch(target) and path.suffix not in (".yaml", ".yml"):
        for root in (catalogue.current_folder(), catalogue.catalogue_root()):
            for kind in FOLDERS:
                if catalogue.file_of(root, kind, target) is not None:
                    return kind
    folder = path.resolve().parent.as_posix()
    # the longer folder first: configs/models before models
    for kind, where in sorted(FOLDERS.items(), key=lambda item: -len(item[1])):
        if f"{folder}/".endswith(f"/{where}/"):
            return kind
    return _by_content(path) if path.is_file() else "pipelines"


def _by_content(path: Path) -> str:
    """The kind whose keys are most of the document's."""
    try:
        tree = open_file(path.resolve(), path.resolve().parent)
    except SpecError:
        return "pipelines"
    name = head(tree)
    if isinstance(tree, Items | Scalar) or (name is not None and registry.find("retriever", name) is not None):
        return "retrievers"
    assert isinstance(tree, Table)
    scores = {
        kind: len(set(tree.entries) & set(document_type(kind).model_fields) - {"description"})
        for kind in (
            "pipelines",
            "decoding",
            "indexes",
            "prompts",
            "models",
            "heads",
            "detectors",
            "monitors",
            "tunings",
            "diagnoses",
        )
    }
    return max(scores, key=lambda kind: scores[kind])
