"""Gradient-boosted trees as flat arrays, walked one example at a time without a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: What stands for "no feature": the node is a leaf.
LEAF = -1


@dataclass(frozen=True)
class FlatTrees:
    """Trees; the arrays are over all nodes of all of them, and children have higher numbers than their parents.

    Attributes:
        roots: The root of each tree.
        feature: Which feature a node looks at, `LEAF` at a leaf.
        threshold: Values up to it, itself included, go left.
        missing_left: Whether an example without the feature goes left.
        left, right: Children; nothing at a leaf.
        value: A leaf's log-odds.

    Raises:
        ValueError: The arrays do not fit together, so that a walk would leave them or never end.
    """

    roots: Sequence[int]
    feature: Sequence[int]
    threshold: Sequence[float]
    missing_left: Sequence[bool]
    left: Sequence[int]
    right: Sequence[int]
    value: Sequence[float]

    def __post_init__(self) -> None:
        """Refuse what cannot be walked."""
        count = len(self.feature)
        columns = (self.threshold, self.missing_left, self.left, self.right, self.value)
        if any(len(column) != count for column in columns) or any(not 0 <= root < count for root in self.roots):
            raise ValueError("the arrays of the trees differ in length, or a root is beyond them")
        for node, feature in enumerate(self.feature):
            if feature != LEAF and not (node < self.left[node] < count and node < self.right[node] < count):
                raise ValueError(f"node {node} has a child that does not follow it")

    def logit(self, values: Sequence[float | None]) -> float:
        """The sum of the leaves that an example falls into; None is a feature that has no value."""
        total = 0.0
        for root in self.roots:
            node = root
            while self.feature[node] != LEAF:
                value = values[self.feature[node]]
                goes_left = self.missing_left[node] if value is None else value <= self.threshold[node]
                node = self.left[node] if goes_left else self.right[node]
            total += self.value[node]
        return total
