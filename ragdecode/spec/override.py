"""``--set a.b.c=value``: overrides from the command line, values parsed as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragdecode.errors import Problem, SpecError
from ragdecode.spec.node import Node, Place, Scalar, Source
from ragdecode.spec.yaml_tree import parse

LABEL = "--set"


@dataclass(frozen=True)
class Override:
    """A value for a path.

    Attributes:
        keys: What is left of the path below the current node; empty replaces it.
        value: The value's tree.
    """

    keys: tuple[str, ...]
    value: Node

    def below(self) -> Override:
        """The override as seen from the child that its first key names."""
        return Override(self.keys[1:], self.value)


def parse_overrides(texts: Sequence[str], source: Source) -> list[Override]:
    """Read ``path=value`` texts.

    Raises:
        SpecError: A text has no ``=``, an empty key, or a value that is not YAML; all of them are listed.
    """
    overrides = []
    problems: list[Problem] = []
    for text in texts:
        path, equals, value = text.partition("=")
        keys = tuple(key.strip() for key in path.split("."))
        if not equals or not all(keys):
            problems.append(
                Problem(
                    f"cannot read {path if equals else text!r}",
                    file=LABEL,
                    hint="write path=value, such as decode.rule.cad.alpha=0.3",
                )
            )
            continue
        try:
            node = parse(value, source) if value.strip() else Scalar(Place(source), None)
        except SpecError as error:
            problems.extend(Problem(item.message, LABEL, None, path, item.hint) for item in error.problems)
            continue
        overrides.append(Override(keys, _without_lines(node)))
    if problems:
        raise SpecError(problems)
    return overrides


def replaced(node: Node | None, overrides: list[Override]) -> tuple[Node | None, list[Override]]:
    """The node after the last override of itself, and the later overrides of what is below it."""
    for position in range(len(overrides) - 1, -1, -1):
        if not overrides[position].keys:
            return overrides[position].value, overrides[position + 1 :]
    return node, overrides


def _without_lines(node: Node) -> Node:
    from ragdecode.spec.node import Items, Table

    place = Place(node.place.source)
    if isinstance(node, Table):
        return Table(place, {key: _without_lines(value) for key, value in node.entries.items()})
    if isinstance(node, Items):
        return Items(place, tuple(_without_lines(item) for item in node.items))
    return Scalar(place, node.value)
