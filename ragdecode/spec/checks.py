"""What the checks of combinations share: where a problem stands, and parts built once for a look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragdecode.errors import RagDecodeError
from ragdecode.spec.node import Node, Path_
from ragdecode.spec.part import Part
from ragdecode.spec.report import Report
from ragdecode.spec.validate import node_at


class Checks:
    """Checks of one validated document.

    Attributes:
        tree: The resolved tree, for lines.
        report: Takes the problems.
    """

    def __init__(self, tree: Node, report: Report) -> None:
        self.tree = tree
        self.report = report

    def add(self, path: Path_, message: str, hint: str | None = None, *, outermost: bool = False) -> None:
        """Note a problem; ``outermost`` blames the user's own document rather than a file that it names."""
        place = node_at(self.tree, path)[0].place
        self.report.add(place.outermost() if outermost else place, path, message, hint)

    def once(self, parts: Sequence[Part], path: Path_) -> None:
        """The same part twice is a slip."""
        seen: dict[str, int] = {}
        for position, part in enumerate(parts):
            if part.name in seen:
                self.add((*path, position), f"the {part.kind} '{part.name}' stands twice", "remove one")
            seen[part.name] = position

    def built(self, part: Part, path: Path_) -> Any:
        """The part, or None with a problem if its settings do not go together."""
        try:
            return part.build()
        except RagDecodeError as error:
            self.add((*path, part.name), error.message, error.hint)
            return None
