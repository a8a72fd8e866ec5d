"""Loaders that fail, each in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ragdecode.documents.document import Document
from ragdecode.documents.loader import Loaded
from ragdecode.errors import RunError
from ragdecode.indexing.building.loading import loaded


class AtOnce:
    """Asks its server before it gives anything, and not as a generator."""

    def load(self) -> Iterator[Loaded]:
        raise ConnectionError("no library today")


class Later:
    """Fails behind its first document."""

    def load(self) -> Iterator[Loaded]:
        yield Loaded("one", Document("One."))
        raise KeyError("two")


@dataclass
class AsPart:
    loader: Any
    name: str = "library"

    def build(self) -> Any:
        return self.loader


@pytest.mark.parametrize(("loader", "before", "reason"), [(AtOnce(), 0, "no library today"), (Later(), 1, "KeyError")])
def test_what_a_loader_raises_is_told_with_its_name(loader: Any, before: int, reason: str) -> None:
    documents = loaded([AsPart(loader)])  # type: ignore[list-item]
    assert [next(documents).source for _ in range(before)] == ["one"] * before
    with pytest.raises(RunError, match=reason) as caught:
        list(documents)
    assert caught.value.component == "loader library"
