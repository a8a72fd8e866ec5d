"""Any LangChain document loader as the reader of a file format."""

from __future__ import annotations

import inspect
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from ragdecode.documents.document import Document
from ragdecode.documents.langchain import LoaderClass, as_one, quietly
from ragdecode.documents.reader import UnreadableError
from ragdecode.errors import InputError
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from langchain_core.document_loaders import BaseLoader

_WHERE = "reader langchain"


class LangChainReaderSettings(LoaderClass):
    """Class, its arguments, and the files that it reads."""

    suffixes: tuple[str, ...] = Field(min_length=1)
    """Suffixes of the files that it reads, with the dot: ``[.rtf]``."""
    path_argument: str = "file_path"
    """The argument of the class that takes the path of a file."""

    @field_validator("suffixes")
    @classmethod
    def _with_dot(cls, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        for suffix in suffixes:
            if not suffix.startswith(".") or len(suffix) < 2 or "/" in suffix or "." in suffix[1:]:
                raise ValueError(f"expected a suffix with one dot, such as .rtf, found {suffix!r}")
        return tuple(dict.fromkeys(suffix.lower() for suffix in suffixes))


@register("reader", "langchain", LangChainReaderSettings)
class LangChainReader:
    """Files read by any LangChain ``BaseLoader`` that takes a path."""

    def __init__(self, settings: LangChainReaderSettings, suffix: str = "") -> None:
        self.settings = settings
        self.suffix = suffix or settings.suffixes[0]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """As the settings say."""
        return self.settings.suffixes

    def of_suffix(self, suffix: str) -> LangChainReader:
        """The same for files of one suffix."""
        return LangChainReader(self.settings, suffix)

    def read(self, data: bytes) -> Document:
        """What the loader makes of a copy of the file, which nobody else may read and which is removed at once.

        Raises:
            InputError: The class is not there or does not take the arguments.
            ImportError: It needs a package that is not installed.
            UnreadableError: It cannot read the file, or finds nothing in it.
        """
        found = self._class
        with tempfile.TemporaryDirectory(prefix="ragdecode-") as folder:  # of this user alone
            path = Path(folder) / f"document{self.suffix}"
            path.touch(mode=0o600)
            path.write_bytes(data)
            arguments = {**self.settings.arguments, self.settings.path_argument: str(path)}
            self._check(found, arguments)
            try:
                documents = list(quietly(iter(found(**arguments).lazy_load())))
            except ImportError:
                raise
            except Exception as error:  # a damaged file can break a loader in any way
                told = " ".join(str(error).replace(str(path), "the file").split())
                raise UnreadableError(
                    f"{found.__name__} cannot read it: {type(error).__name__}: {told[:200]}"
                ) from error
            for document in documents:
                document.metadata = _without(document.metadata, folder, path.name)
        if not any(document.page_content.strip() for document in documents):
            raise UnreadableError("no text in it")
        return as_one(documents)

    @cached_property
    def _class(self) -> type[BaseLoader]:
        return self.settings.load_class(_WHERE)

    def _check(self, found: type[BaseLoader], arguments: dict[str, Any]) -> None:
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):  # none to be had
            return
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise InputError(
                f"{_WHERE}: {found.__name__} does not take these arguments ({', '.join(arguments)}): {error}",
                hint=f"its arguments are {', '.join(signature.parameters)}; path_argument names the one for the path",
            ) from error


def _without(metadata: dict[str, Any], folder: str, name: str) -> dict[str, Any]:
    """Metadata without the place of the copy."""
    return {
        key: value
        for key, value in metadata.items()
        if not (isinstance(value, str) and (folder in value or value == name))
    }
