"""How each view of a pipeline shows the model a request, and on which backend it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragdecode.decoding.intervention import EarlyExit, HeadMask, Intervention
from ragdecode.decoding.request import TARGET
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.pipeline import PipelineSpec
from ragdecode.spec.prompt import PromptSpec
from ragdecode.spec.view_plan import CLOSED_BOOK, PlannedView, model_of, planned_views, views_brought

#: Key of the pipeline's own model among the backends.
MAIN = "main"


@dataclass(frozen=True)
class ViewPlan:
    """How a view is made of a request.

    Attributes:
        name: Its name.
        prompt: Its chat template.
        top_k: How many of the passages it shows, from the best; None shows those of the target.
        model: Key of its backend.
        role: Used by rules, by drafters, or by both.
        follows: It shows what the target shows, also where a request gives exact prompts: a rule or drafter brings it
            without a prompt of its own, or it differs from the target inside the model only.
        translates: Who reads it copes with a model of another vocabulary.
        by: Whether the best of the passages are the first, or the most relevant.
        tokens: Longest part of a passage that it shows; None shows them whole.
        only: The one passage that it shows, counted from 1; None shows those that the other settings say.
        intervention: What it changes inside the model.
    """

    name: str
    prompt: PromptSpec
    top_k: int | None = None
    model: str = MAIN
    role: Literal["rule", "draft", "both"] = "both"
    follows: bool = False
    translates: bool = False
    by: Literal["place", "relevance"] = "place"
    tokens: int | None = None
    only: int | None = None
    intervention: Intervention | None = None


@dataclass(frozen=True)
class ViewPlans:
    """The views that a pipeline's requests have.

    Attributes:
        views: The plans, the target first.
        models: The model of each backend key.
    """

    views: tuple[ViewPlan, ...]
    models: dict[str, ModelSpec]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the views besides the target whose prompts a request has to bring, if it brings any."""
        return tuple(view.name for view in self.views if view.name != TARGET and not view.follows)

    @property
    def mute(self) -> frozenset[str]:
        """Names of the views that differ from the target in their passages only."""
        target = self.views[0]
        return frozenset(
            view.name
            for view in self.views[1:]
            if view.model == target.model and view.prompt == target.prompt and not view.follows
        )


def plan_views(spec: PipelineSpec) -> ViewPlans:
    """The target and the views that rules, monitors and drafters read."""
    models = {MAIN: spec.model}
    plans = []
    brought = views_brought((*spec.decode.rule, *spec.decode.draft))
    translated = {name for part in spec.decode.draft for name in getattr(part.build(), "translates", ())}
    for view in planned_views(spec.decode):
        declared = view.declared
        prompt = spec.prompt if declared is None or declared.prompt is None else declared.prompt
        plans.append(
            ViewPlan(
                view.name,
                prompt,
                _top_k(view),
                _key(models, view.name, model_of(spec, view)),
                view.role,
                by=_by(view),
                tokens=_tokens(view),
                follows=_follows(view, view.name in brought and view.name not in spec.decode.views),
                only=_only(view),
                intervention=_intervention(view),
                translates=view.role == "draft" and view.name in translated,
            )
        )
    return ViewPlans(tuple(plans), models)


def _top_k(view: PlannedView) -> int | None:
    if view.declared is not None and view.declared.passages is not None:
        return view.declared.passages.top_k
    return 0 if view.name == CLOSED_BOOK else None


def _by(view: PlannedView) -> Literal["place", "relevance"]:
    if view.declared is not None and view.declared.passages is not None:
        return view.declared.passages.by
    return "place"


def _tokens(view: PlannedView) -> int | None:
    if view.declared is not None and view.declared.passages is not None:
        return view.declared.passages.tokens
    return None


def _only(view: PlannedView) -> int | None:
    if view.declared is not None and view.declared.passages is not None:
        return view.declared.passages.only
    return None


def _intervention(view: PlannedView) -> Intervention | None:
    """What a view changes inside the model, as the engine wants to know."""
    declared = view.declared.intervention if view.declared is not None else None
    if declared is None:
        return None
    if declared.exit is not None:
        return EarlyExit(declared.exit)
    assert declared.heads is not None
    heads = declared.heads
    return HeadMask(frozenset((one.layer, one.head) for one in heads.list.heads[: heads.top]), heads.how, heads.prompt)


def _follows(view: PlannedView, brought: bool) -> bool:
    """Whether a view shows what the target shows, whatever that is."""
    declared = view.declared
    if declared is None or not (brought or declared.intervention is not None):
        return False
    return declared.prompt is None and declared.passages is None


def _key(models: dict[str, ModelSpec], view: str, model: ModelSpec) -> str:
    """Key of a view's model; views with the same weights share a backend."""
    for key, known in models.items():
        if known.source == model.source:
            return key
    models[view] = model
    return view


def select(views: Sequence[ViewPlan], names: Sequence[str]) -> tuple[ViewPlan, ...]:
    """The target and the named views, in the order of the plans."""
    return tuple(view for view in views if view.name == TARGET or view.name in names)
