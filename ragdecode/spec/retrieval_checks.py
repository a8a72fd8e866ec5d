"""Which stages of a retrieval chain, and which stores, go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragdecode.errors import RagDecodeError
from ragdecode.spec import registry
from ragdecode.spec.checks import Checks
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Path_
from ragdecode.spec.part import Part


class RetrievalChecks(Checks):
    """Checks the stages of one document."""

    def check(self, chain: Sequence[Part], index: IndexSpec | None, path: Path_) -> str | None:
        """Check a chain over its pipeline's index; returns the first stage that needs one."""
        finder: str | None = None
        needy = role = None
        readied: list[tuple[Part, Path_, Sequence[str]]] = []
        for position, part in enumerate(chain):
            at = (*path, position)
            if part in chain[:position]:
                self.add(at, f"'{part.name}' stands twice with the same settings", "remove one")
            built = self.built(part, at)
            role = getattr(built, "role", None)
            if role == "passages" and finder is None:
                message = f"'{part.name}' works on passages that another stage found; it cannot come before one"
                self.add((*at, part.name), message, "find passages before it: bm25, dense, hybrid", outermost=True)
            if role == "query" and finder is not None:
                message = f"'{part.name}' reworks the question; after '{finder}' it would come too late"
                self.add((*at, part.name), message, f"put it before '{finder}'", outermost=True)
            if role == "find" and finder is not None:
                message = f"'{part.name}' finds passages and would drop those of '{finder}'"
                hint = "only one stage finds passages; 'hybrid' fuses several stores"
                self.add((*at, part.name), message, hint, outermost=True)
            if role == "query" and getattr(built, "stores", None):
                readied.append((part, at, built.stores))
            if role == "find" and finder is None:
                self._readied(readied, part.name, getattr(built, "stores", None))
            if role == "find":
                finder = finder or part.name
            if built is not None and getattr(built, "stores", None) != ():
                needy = needy or part.name
            self._stores(part, built, index, at)
        if finder is None and chain and role == "query":
            self.add((*path, len(chain) - 1), "no stage finds passages", "add one: bm25, dense, hybrid", outermost=True)
        return needy

    def _readied(
        self, readied: Sequence[tuple[Part, Path_, Sequence[str]]], finder: str, searched: Sequence[str] | None
    ) -> None:
        """A stage that prepares the search of a store is of no use where that store is not searched."""
        for part, at, own in readied:
            if searched is not None and set(own).isdisjoint(searched):
                message = f"'{part.name}' is for the store '{', '.join(own)}', which '{finder}' does not search"
                self.add((*at, part.name), message, "search that store, or leave the stage out", outermost=True)

    def _stores(self, part: Part, built: Any, index: IndexSpec | None, path: Path_) -> None:
        if index is None:
            return
        have = [store.name for store in index.stores if _finds_passages(store.name)]
        for name in getattr(built, "stores", None) or ():
            if not _finds_passages(name):
                message = f"searches the store '{name}', which finds no passages: it is for decoding"
                hint = f"search {' or '.join(have)}" if have else "add one that does to index.stores: bm25, faiss"
                self.add((*path, part.name), message, hint, outermost=True)
            elif name not in have:
                near = did_you_mean(name, have)
                hint = near if near and near.startswith("did") else f"add '{name}' to index.stores"
                message = f"searches the store '{name}'; the index has {', '.join(have) or 'none'}"
                self.add((*path, part.name), message, hint, outermost=True)
            else:
                self._ranking(part, name, getattr(built, "ranks_by", None), have, path)
        if not have and getattr(built, "stores", ()) is None and index.stores:
            only = ", ".join(store.name for store in index.stores)
            message = f"searches the index, whose stores ({only}) find no passages"
            self.add((*path, part.name), message, "add one that does to index.stores: bm25, faiss", outermost=True)
        check = getattr(built, "check_stores", None)
        if check is not None and have:
            try:
                check(have)
            except RagDecodeError as error:
                self.add((*path, part.name), error.message, error.hint, outermost=True)

    def _ranking(self, part: Part, store: str, wanted: str | None, have: Sequence[str], path: Path_) -> None:
        """A stage that compares words is of no use over vectors, and the other way round."""
        found = _ranks_by(store)
        if wanted is not None and found is not None and found != wanted:
            fit = [name for name in have if _ranks_by(name) == wanted]
            hint = f"store: {' or '.join(fit)}" if fit else f"add one that ranks by {wanted} to index.stores"
            message = f"needs a store that ranks by {wanted}; '{store}' ranks by {found}"
            self.add((*path, part.name), message, hint, outermost=True)


def _finds_passages(store: str) -> bool:
    """Whether retrievers may search a store, as its class says."""
    info = registry.find("store", store)
    return info is None or getattr(info.cls, "finds_passages", True)


def _ranks_by(store: str) -> str | None:
    """What a store compares, as its class says; None if it does not say."""
    info = registry.find("store", store)
    return getattr(info.cls, "ranks_by", None) if info is not None else None
