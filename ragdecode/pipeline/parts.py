"""The decoding parts of a pipeline, built once and shared by all its requests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ragdecode.decoding.constraint import Constraint
from ragdecode.decoding.drafter import Drafter
from ragdecode.decoding.monitor import Monitor
from ragdecode.decoding.request import TARGET
from ragdecode.decoding.rule import Rule
from ragdecode.decoding.searcher import Search
from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.part import Part

T = TypeVar("T")


@dataclass(frozen=True)
class DecodeParts:
    """What acts on an answer."""

    rules: Sequence[Rule] = ()
    drafters: Sequence[Drafter] = ()
    constraints: Sequence[Constraint] = ()
    monitors: Sequence[Monitor] = ()
    search: Search | None = None

    @staticmethod
    def build(spec: DecodeSpec) -> DecodeParts:
        """Build every part of a decoding stage.

        Raises:
            InputError: A part refuses its settings.
        """
        return DecodeParts(
            rules=_built(spec.rule),
            drafters=_built(spec.draft),
            constraints=_built(spec.constraint),
            monitors=_built(spec.monitor),
            search=None if spec.search is None else spec.search.build(),
        )

    @property
    def extracts(self) -> bool:
        """Whether answers are spans of the passages, which the engine does not decode."""
        return bool(getattr(self.search, "spans", False))

    @property
    def optional(self) -> frozenset[str]:
        """Views that a request may lack."""
        return frozenset(name for rule in self.rules for name in rule.optional)

    @property
    def reads_evidence(self) -> bool:
        """Whether a part wants to know where the prompts show the passages."""
        return any(getattr(part, "evidence", False) for part in (*self.rules, *self.monitors))

    @property
    def spells(self) -> bool:
        """Whether a part wants the model's tokens as bytes."""
        return self.extracts or any(part.spells for part in self.constraints)

    @property
    def needs(self) -> tuple[str, ...]:
        """Views besides the target that a part reads, in order of first use."""
        asked = [view for rule in self.rules for view in rule.views]
        asked += [view for drafter in self.drafters for view in drafter.views]
        asked += [view for monitor in self.monitors for view in monitor.views]
        return tuple(dict.fromkeys(view for view in asked if view != TARGET))

    def without_evidence(self, mute: Collection[str]) -> tuple[DecodeParts, tuple[str, ...]]:
        """The parts for a request that has no passages, and notes of what was dropped.

        Views that differ from the target in their passages only (``mute``) would show what the target shows, and a
        contrast of the two is pure noise: the rules and drafters that read them do not act. Monitors stay, for they
        do not change the distribution.
        """
        rules = [set(rule.views).isdisjoint(mute) for rule in self.rules]
        drafters = [set(drafter.views).isdisjoint(mute) for drafter in self.drafters]
        kept = replace(self, rules=_where(self.rules, rules), drafters=_where(self.drafters, drafters))
        dropped = [f"rule {part.part_name}" for part, keep in zip(self.rules, rules, strict=True) if not keep]
        dropped += [f"drafter {part.part_name}" for part, keep in zip(self.drafters, drafters, strict=True) if not keep]
        return kept, tuple(f"{name} did not act: there are no passages to contrast" for name in dropped)

    def with_views(self, known: Collection[str]) -> tuple[DecodeParts, tuple[str, ...]]:
        """The parts without those that read a view that is not ``known``, and notes of what was left out."""
        rules = [set(rule.views) - {*rule.optional} <= {TARGET, *known} for rule in self.rules]
        idle = [part.part_name for part, keep in zip(self.rules, rules, strict=True) if not keep]
        drafters = [set(drafter.views) <= {TARGET, *known} for drafter in self.drafters]
        dropped = [part.part_name for part, keep in zip(self.drafters, drafters, strict=True) if not keep]
        kept = self
        if dropped or idle:
            kept = replace(self, rules=_where(self.rules, rules), drafters=_where(self.drafters, drafters))
        notes = [f"rule {name} did not act: it reads a passage that there is not" for name in idle]
        return kept, (
            *notes,
            *(f"drafter {name} did not act: its prompt does not fit its model's window" for name in dropped),
        )


def _built(parts: Sequence[Part]) -> list[Any]:
    return [part.build() for part in parts]


def _where(items: Sequence[T], keep: Sequence[bool]) -> list[T]:
    return [item for item, yes in zip(items, keep, strict=True) if yes]
