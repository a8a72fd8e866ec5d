"""Any LangChain document loader as a source of documents."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.documents.langchain import LoaderClass, as_one, quietly
from ragdecode.documents.loader import Loaded
from ragdecode.documents.reader import UnreadableError
from ragdecode.documents.walk import Skipped
from ragdecode.errors import InputError, RagDecodeError, RunError
from ragdecode.spec.class_path import construct
from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from langchain_core.documents import Document as LangChainDocument

_WHERE = "loader langchain"


class LangChainLoaderSettings(LoaderClass):
    """Class, its arguments, and how its documents are named."""

    paths: dict[str, ExistingPath] = Field(default_factory=dict)
    """Further arguments that are paths, relative to the YAML file."""
    name: str = ""
    """Begins the names of its documents; the name of the class if left out."""


@register("loader", "langchain", LangChainLoaderSettings)
class LangChainLoader:
    """Documents of any LangChain ``BaseLoader``."""

    def __init__(self, settings: LangChainLoaderSettings) -> None:
        self.settings = settings

    def load(self) -> Iterator[Loaded | Skipped]:
        """One document for those that follow one another and have the same ``source``; one each without a source.

        Raises:
            InputError: The class, its arguments or what they name are not there.
            RunError: The loader failed; nothing is known of the documents that it had yet to bring.
        """
        found = self.settings.load_class(_WHERE)
        loader = construct(found, {**self.settings.arguments, **self.settings.paths}, where=_WHERE)
        names = _Names(self.settings.name or found.__name__, list(self.settings.paths.values()))
        numbered = enumerate(self._documents(loader.lazy_load()), start=1)
        for source, group in groupby(numbered, key=lambda pair: pair[1].metadata.get("source") or pair[0]):
            name = names.of(source)
            try:
                yield Loaded(name, as_one([document for _, document in group]))
            except UnreadableError as error:
                yield Skipped(name, str(error))

    def _documents(self, documents: Iterator[LangChainDocument]) -> Iterator[LangChainDocument]:
        count = 0
        try:
            for document in quietly(documents):
                count += 1
                yield document
        except RagDecodeError:
            raise
        except Exception as error:  # a loader can fail in any way
            told = f"{_WHERE}: {self.settings.loader} failed after {count} documents: {_chain(error)}"
            if isinstance(error, ImportError):
                raise InputError(told, hint="install the package that it needs with pip") from error
            if any(isinstance(one, FileNotFoundError) for one in (error, error.__cause__)):
                raise InputError(told, hint="paths in arguments are relative to the current folder") from error
            raise RunError(told, hint="the rest would be missing from the index, so the one before stays") from error


class _Names:
    """Names of documents, each once."""

    def __init__(self, prefix: str, paths: list[str]) -> None:
        self.prefix = prefix
        folders = [Path(path) for path in paths]
        self.folders = [*(path if path.is_dir() else path.parent for path in folders), Path.cwd()]
        self.taken: dict[str, int] = {}

    def of(self, source: object) -> str:
        """Prefix and source; a file by its path below the folder of the arguments or the current one."""
        name = f"{self.prefix}/{self._relative(str(source))}"
        self.taken[name] = self.taken.get(name, 0) + 1
        return name if self.taken[name] == 1 else f"{name}#{self.taken[name]}"

    def _relative(self, source: str) -> str:
        for folder in self.folders:
            if Path(source).is_absolute() and Path(source).is_relative_to(folder):
                return Path(source).relative_to(folder).as_posix()
        return source.lstrip("/")


def _chain(error: BaseException) -> str:
    """The error and what it came from, in one line."""
    parts = [f"{type(error).__name__}: {' '.join(str(error).split())}"]
    if error.__cause__ is not None:
        parts.append(f"{type(error.__cause__).__name__}: {' '.join(str(error.__cause__).split())}")
    return " <- ".join(part[:200] for part in parts)
