"""What of two runs belongs together: systems, data sets, examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragdecode.errors import InputError
from ragdecode.evaluation.runs.record import Record
from ragdecode.evaluation.runs.summary_shape import Summary


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    Attributes:
        summary: Its summary.
        records: Its journal.
        title: For people, where both runs have the same name; its name if left out.
    """

    summary: Summary
    records: Sequence[Record]
    title: str = ""
    _groups: dict[tuple[str, str], dict[str, list[Record]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        groups: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        for record in self.records:
            groups[record.cell.system, record.cell.dataset][record.id].append(record)
        object.__setattr__(self, "_groups", groups)

    @property
    def systems(self) -> list[str]:
        """Its systems, in order."""
        return [one["system"] for one in self.summary["systems"]]

    @property
    def datasets(self) -> list[str]:
        """Its data sets, in order."""
        return list(dict.fromkeys(cell["dataset"] for cell in self.summary["cells"]))

    def examples(self, system: str, dataset: str) -> Mapping[str, list[Record]]:
        """Records of a system on a data set by example; several where there were several seeds."""
        return self._groups.get((system, dataset), {})


@dataclass(frozen=True)
class Pair:
    """What is compared: a system of one run with one of the other, on a data set of both.

    Attributes:
        dataset: The data set.
        a: System of the first run.
        b: System of the second.
        ids: Examples with the same question that both runs have, in order.
        other_questions: Ids that both have, with another question.
    """

    dataset: str
    a: str
    b: str
    ids: Sequence[str]
    other_questions: int

    @property
    def name(self) -> str:
        """For people."""
        return self.a if self.a == self.b else f"{self.a} → {self.b}"


def pairs(a: Side, b: Side, chosen: Sequence[tuple[str, str]] = ()) -> list[Pair]:
    """What of two runs belongs together: equal names of systems and data sets, or the systems chosen.

    Where each run has a single system, these two are compared whatever their names.

    Args:
        a: The first run.
        b: The second run.
        chosen: System of the first run and system of the second; all of equal names if empty.

    Raises:
        InputError: Nothing belongs together, or a system chosen is not there.
    """
    for side, place in ((a, 0), (b, 1)):
        for one in chosen:
            if one[place] not in side.systems:
                raise InputError(
                    f"the {('first', 'second')[place]} run has no pipeline {one[place]!r}",
                    hint=f"it has {', '.join(side.systems)}",
                )
    systems = list(chosen) or [(name, name) for name in a.systems if name in b.systems]
    if not systems and len(a.systems) == len(b.systems) == 1:
        systems = [(a.systems[0], b.systems[0])]
    if not systems:
        raise InputError(
            "the two runs have no pipeline of the same name and settings",
            hint=f"say which belong together, such as --pair '{a.systems[0]}={b.systems[0]}'",
        )
    datasets = [name for name in a.datasets if name in b.datasets]
    if not datasets:
        raise InputError(
            "the two runs have no data set in common",
            hint=f"the first has {', '.join(a.datasets)}; the second has {', '.join(b.datasets)}",
        )
    found = []
    for dataset in datasets:
        for system, other in systems:
            own, theirs = a.examples(system, dataset), b.examples(other, dataset)
            both = [name for name in own if name in theirs]
            same = [name for name in both if own[name][0].question == theirs[name][0].question]
            found.append(Pair(dataset, system, other, same, len(both) - len(same)))
    if not any(pair.ids for pair in found):
        raise InputError(
            "the two runs have no example in common: no id with the same question under pipelines that belong together",
            hint="compare runs over the same data sets",
        )
    return found
