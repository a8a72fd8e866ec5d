"""Which views a decoding recipe implies, who uses them, and what a step of the engine costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ragdecode.spec.decode import DecodeSpec, ViewSpec
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.part import Part
from ragdecode.spec.pipeline import PipelineSpec

#: The view that is always there: the prompt with the evidence.
TARGET = "with_context"
#: The view that needs no declaration: the same prompt with no passages.
CLOSED_BOOK = "without_context"


@dataclass(frozen=True)
class PlannedView:
    """A view that a run advances.

    Attributes:
        name: Its name.
        declared: What ``decode.views`` says of it; None for the two that need no declaration.
        rules: Rules and monitors that read it.
        drafters: Drafters that look at it.
    """

    name: str
    declared: ViewSpec | None
    rules: tuple[str, ...]
    drafters: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether each step advances it together with the target; a draft-only view is not verified."""
        return self.name == TARGET or bool(self.rules)

    @property
    def exits(self) -> bool:
        """Whether it is an early exit, which has no row of its own."""
        intervention = self.declared.intervention if self.declared is not None else None
        return intervention is not None and intervention.exit is not None

    @property
    def role(self) -> Literal["rule", "draft", "both"]:
        """Who uses it, as the engine wants to know."""
        if self.rules and self.drafters:
            return "both"
        return "rule" if self.verified else "draft"


def views_brought(parts: Iterable[Part]) -> dict[str, ViewSpec]:
    """Views that parts bring themselves, so that YAML need not declare them; builds the parts."""
    return {name: view for part in parts for name, view in getattr(part.build(), "declares", {}).items()}


def views_read(part: Part) -> tuple[str, ...]:
    """Views that a rule, drafter or monitor asks for besides the target; builds the part."""
    built: Any = part.build()
    return tuple(name for name in getattr(built, "views", ()) if name != TARGET)


def planned_views(decode: DecodeSpec) -> tuple[PlannedView, ...]:
    """The views that a recipe runs, the target first, then in order of first use."""
    readers = _users((*decode.rule, *decode.monitor))
    lookers = _users(decode.draft)
    names = dict.fromkeys((TARGET, *readers, *lookers))
    declared = {**views_brought((*decode.rule, *decode.draft)), **decode.views}
    return tuple(
        PlannedView(name, declared.get(name), tuple(readers.get(name, ())), tuple(lookers.get(name, ())))
        for name in names
    )


def _users(parts: Iterable[Part]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for part in parts:
        for name in views_read(part):
            users.setdefault(name, []).append(part.name)
    return users


@dataclass(frozen=True)
class StepCost:
    """The most that one step of one request may cost, the looks of drafters at their own views left out.

    Attributes:
        passes: Forward passes: one for each distinct model, one more for each rule that expands.
        rows: Rows (views) that they advance.
        nodes: Nodes of the draft tree in each row, the last accepted token included.
        tokens: New tokens that the passes feed together.
        expanding: Rules that ask to see candidate children of every node, in a pass of their own.
        draft_views: Views that only drafters look at; their looks are passes of their own.
        looks: Looks that the drafters take together; each is at most one pass more, of one row.
    """

    passes: int
    rows: int
    nodes: int
    tokens: int
    expanding: tuple[str, ...]
    draft_views: tuple[str, ...]
    looks: int = 0


def step_cost(spec: PipelineSpec) -> StepCost:
    """What a step of a pipeline costs at most; builds its rules, monitors and drafters."""
    views = planned_views(spec.decode)
    verified = [view for view in views if view.verified]
    nodes = spec.decode.max_draft_nodes if spec.decode.draft else 1
    widths = {part.name: getattr(part.build(), "expand", 0) for part in spec.decode.rule}
    expanding = tuple(name for name, width in widths.items() if width)
    switched = {name for part in spec.decode.rule for name in _switched(part)}
    switches = bool(switched)
    rows = sum(not view.exits and view.name not in switched for view in verified) + switches
    return StepCost(
        passes=(1 if switches else len(distinct_models(spec, verified))) + len(expanding),
        rows=rows + len(expanding),
        nodes=nodes,
        tokens=nodes * (rows + sum(1 + widths[name] for name in expanding)),
        expanding=expanding,
        draft_views=tuple(view.name for view in views if not view.verified),
        looks=sum(getattr(part.build(), "looks", 0) for part in spec.decode.draft) if nodes > 1 else 0,
    )


def _switched(part: Part) -> tuple[str, ...]:
    """The views of which a rule runs one at a time; builds the part."""
    return (TARGET, *views_read(part)) if getattr(part.build(), "switches", False) else ()


def distinct_models(spec: PipelineSpec, views: Sequence[PlannedView]) -> list[ModelSpec]:
    """The models that views run on, each once."""
    models: list[ModelSpec] = []
    for view in views:
        model = model_of(spec, view)
        if all(model.source != other.source for other in models):
            models.append(model)
    return models


def model_of(spec: PipelineSpec, view: PlannedView) -> ModelSpec:
    """The model that a view runs on."""
    declared = view.declared
    return spec.model if declared is None or declared.model is None else declared.model
