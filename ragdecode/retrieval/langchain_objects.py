"""LangChain objects as YAML describes them: a class, its arguments, and other such objects among these."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.spec.class_path import check_arguments, construct, load_class

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

#: kinds of object that may stand among arguments
BASES = (
    "langchain_core.documents.base.BaseMedia",
    "langchain_core.documents.BaseDocumentCompressor",
    "langchain_core.documents.BaseDocumentTransformer",
    "langchain_core.embeddings.Embeddings",
    "langchain_core.language_models.BaseLanguageModel",
    "langchain_core.retrievers.BaseRetriever",
    "langchain_core.stores.BaseStore",
    "langchain_core.vectorstores.VectorStore",
)
RETRIEVER, VECTOR_STORE = "langchain_core.retrievers.BaseRetriever", "langchain_core.vectorstores.VectorStore"
#: where short names are looked up
SHORT = {RETRIEVER: "langchain_community.retrievers", VECTOR_STORE: "langchain_community.vectorstores"}
_KEYS = ({"class"}, {"class", "arguments"}, {"class", "constructor"}, {"class", "constructor", "arguments"})


class Maker:
    """Makes LangChain objects.

    Args:
        where: The part; begins the messages of errors.
        trust: Also classes of packages that are not LangChain's.
        embeddings: Gives what stands for ``{encoder: true}``.
    """

    def __init__(self, where: str, trust: bool, embeddings: Callable[[], Embeddings]) -> None:
        self._where = where
        self._trust = trust
        self._embeddings = embeddings

    def make(self, base: str, path: str, arguments: Mapping[str, Any], constructor: str, setting: str) -> Any:
        """An object of a class that derives from ``base``.

        Args:
            base: Dotted path of that class.
            path: Dotted path of the class, or a short name.
            arguments: Keyword arguments; mappings with ``class`` in them are made into objects first.
            constructor: Name of the class method that makes it, ``from_...``; the class itself if empty.
            setting: Where the path stands in YAML.

        Raises:
            InputError: There is no such class, it is not allowed, or does not take the arguments.
            RunError: It cannot be made.
        """
        where = f"{self._where}: {setting}"
        check_arguments(arguments, trust=self._trust, where=where)
        found = load_class(path, base=base, module=SHORT.get(base, "builtins"), trust=self._trust, where=where)
        made: Any = found
        if constructor:
            made = getattr(found, constructor, None)
            if getattr(made, "__self__", None) is not found:
                raise InputError(f"{where}: {found.__name__} has no class method {constructor!r}")
        inner = {name: self._value(value, f"{setting}.{name}") for name, value in arguments.items()}
        return construct(made, inner, where=where)

    def _value(self, value: Any, setting: str) -> Any:
        if isinstance(value, Mapping):
            if set(value) == {"encoder"} and value["encoder"] is True:
                return self._embeddings()
            if set(value) in _KEYS:
                return self._object(value, setting)
            return {key: self._value(item, f"{setting}.{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(item, f"{setting}.{place}") for place, item in enumerate(value)]
        return value

    def _object(self, written: Mapping[str, Any], setting: str) -> Any:
        path, arguments = written["class"], written.get("arguments") or {}
        constructor = written.get("constructor", "")
        if not isinstance(path, str) or not isinstance(arguments, Mapping) or not _is_constructor(constructor):
            raise InputError(
                f"{self._where}: {setting}: expected class: a dotted path, arguments: a mapping, constructor: from_...",
            )
        where = f"{self._where}: {setting}"
        found = load_class(path, base="builtins.object", module="builtins", trust=self._trust, where=where)
        base = next((one for one in BASES if issubclass(found, _class(one))), None)
        if base is None:
            kinds = ", ".join(one.rpartition(".")[2] for one in BASES)
            raise InputError(f"{where}: {path!r} is none of the kinds that may stand here: {kinds}")
        return self.make(base, path, arguments, constructor, setting)


def _is_constructor(name: Any) -> bool:
    return isinstance(name, str) and (not name or name.startswith("from_"))


def _class(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found
