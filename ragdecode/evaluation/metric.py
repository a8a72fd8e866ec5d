"""What a metric is: a part that scores one answer, or the answers of a whole cell together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ragdecode.evaluation.example import Answered, Field
from ragdecode.evaluation.runs.record import Record
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.settings import Settings

S = TypeVar("S", bound=Settings)

#: (premise, hypothesis) pairs -> how probable it is that the premise entails the hypothesis, 0 to 1
Entails = Callable[[Sequence[tuple[str, str]]], list[float]]
#: pairs of texts -> cosine of their vectors
Similarity = Callable[[Sequence[tuple[str, str]]], list[float]]


class Judges(Protocol):
    """Opens models that judge; the same model is opened once a run."""

    def entails(self, model: ModelSpec) -> Entails:
        """A model of entailment (kind ``cross_encoder``)."""
        ...

    def similarity(self, model: ModelSpec) -> Similarity:
        """A sentence encoder (kind ``encoder``)."""
        ...


@dataclass(frozen=True)
class Facts:
    """What one value of a metric means.

    Attributes:
        title: For tables and axes.
        description: One sentence.
        higher_is_better: Which way is good.
    """

    title: str
    description: str
    higher_is_better: bool = True


class Measure(ABC, Generic[S]):
    """What all metrics are. One gives one or more values; `facts` names them.

    Attributes:
        part_name: Its registered name.
        needs: What a data set must bring for it.
        settings: Its settings.
    """

    part_name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Field]] = frozenset()

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, Facts]:
        """What each of its values means, by the value's name; names are unique over all metrics of a run."""


class Metric(Measure[S]):
    """A metric over single answers. Registered with ``@register("metric", "name", Settings)``.

    It must import without a framework: models are opened in `open`.
    """

    def open(self, judges: Judges) -> None:
        """Open the models that it judges with; called once before the first answer.

        Raises:
            InputError: A model is not on this machine, or cannot judge.
        """

    @abstractmethod
    def score(self, answered: Answered) -> Mapping[str, float | None]:
        """Its values for an answer; None where it has none for this one. Never NaN."""


@dataclass(frozen=True)
class CellRecords:
    """The answers of a cell, failures left out, with those of other data sets under the same system and seed.

    Attributes:
        records: The cell's own.
        others: By the name of the data set.
    """

    records: Sequence[Record]
    others: Mapping[str, Sequence[Record]]


class CellMetric(Measure[S]):
    """A metric that no single answer has, such as AUROC; it reads what the journal holds."""

    @property
    def reads(self) -> Sequence[str]:
        """Values of other metrics that it reads from the records; the run must have them."""
        return ()

    @property
    def datasets(self) -> Sequence[str]:
        """Other data sets of the run whose answers it reads."""
        return ()

    @abstractmethod
    def of_cell(self, cell: CellRecords) -> Mapping[str, float | None]:
        """Its values for a cell; None where there is none, such as AUROC without a wrong answer. Never NaN."""

    def why(self, cell: CellRecords) -> str:
        """Why there is no value, where there is none."""
        return "no samples that it could be computed from"

    def curve(self, cell: CellRecords) -> Mapping[str, Any] | None:
        """What it draws: ``{"kind", "points": [{"x", "y", "threshold"}]}``; None for nothing."""
        return None
