"""What a reader of data sets is, and how a run takes its examples from one."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from ragdecode.errors import InputError
from ragdecode.evaluation.example import Example, Field
from ragdecode.spec.dataset import DatasetSpec
from ragdecode.spec.settings import Settings

S = TypeVar("S", bound=Settings)

#: mistakes that one message lists
_SHOWN = 10


@dataclass(frozen=True)
class Mistake:
    """Something in a file that is no example.

    Attributes:
        place: ``FILE:LINE`` or the like.
        reason: What is wrong.
    """

    place: str
    reason: str


class DatasetReader(ABC, Generic[S]):
    """Reads the examples of a data set. Registered with ``@register("dataset", "name", Settings)``.

    Attributes:
        part_name: Its registered name.
        settings: Its settings.
    """

    part_name: ClassVar[str] = ""

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @property
    @abstractmethod
    def brings(self) -> frozenset[Field]:
        """What its examples may have besides questions."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that it reads, if it reads files: their content names the data in a run's configuration."""
        return ()

    @abstractmethod
    def read(self) -> Iterator[Example | Mistake]:
        """The examples in order, and what is wrong with others; ids may come twice.

        Raises:
            InputError: Nothing can be read.
        """

    def fingerprint(self) -> str:
        """Tells whether the data are the same."""
        digest = sha256()
        for file in self.files:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def read_dataset(spec: DatasetSpec, limit: int | None = None) -> list[Example]:
    """The examples that a run uses.

    Args:
        spec: The data set.
        limit: The run's own limit.

    Raises:
        InputError: A line is wrong (the first ones are named), an id is there twice, or there are no examples.
    """
    examples: list[Example] = []
    mistakes: list[Mistake] = []
    seen: set[str] = set()
    for one in spec.read.build().read():
        if isinstance(one, Mistake):
            mistakes.append(one)
        elif one.id in seen:
            mistakes.append(Mistake(f"example {one.id!r}", "this id is there twice"))
        else:
            seen.add(one.id)
            examples.append(one)
    name = spec.name or spec.read.name
    if mistakes:
        lines = [f"{one.place}: {one.reason}" for one in mistakes[:_SHOWN]]
        more = [f"... and {len(mistakes) - _SHOWN} more"] if len(mistakes) > _SHOWN else []
        raise InputError(f"the data set '{name}' has wrong examples\n" + "\n".join([*lines, *more]))
    if not examples:
        raise InputError(f"the data set '{name}' has no examples")
    if spec.shuffle is not None:
        random.Random(spec.shuffle).shuffle(examples)  # noqa: S311
    known = [one for one in (spec.limit, limit) if one is not None]
    return [_shown(one, spec) for one in examples[: min(known) if known else None]]


def _shown(example: Example, spec: DatasetSpec) -> Example:
    if spec.evidence == "none":
        return replace(example, passages=())
    if spec.top_k is not None and example.passages is not None:
        return replace(example, passages=example.passages[: spec.top_k])
    return example
