"""What a pipeline comes to: its resolved spec, where its names came from, its views, what a step costs."""

from __future__ import annotations

from typing import Any

from ragdecode.spec.catalogue_prompt import name_in_catalogue
from ragdecode.spec.dump import plain
from ragdecode.spec.headline import headline
from ragdecode.spec.include import label_of
from ragdecode.spec.load import LoadedPipeline
from ragdecode.spec.view_plan import CLOSED_BOOK, TARGET, PlannedView, model_of, planned_views, step_cost


def explanation(loaded: LoadedPipeline) -> dict[str, Any]:
    """The facts as plain data: ``pipeline, file, headline, names, retrieve, views, step, spec``."""
    spec = loaded.spec
    cost = step_cost(spec)
    return {
        "pipeline": loaded.name,
        "file": label_of(loaded.file),
        "headline": headline(spec),
        "names": [
            {
                "path": item.path,
                "name": item.name,
                "file": label_of(item.file),
                "from": "catalogue" if item.from_catalogue else "app",
            }
            for item in loaded.inclusions
        ],
        "retrieve": [
            {"stage": part.name, "uses_model": bool(getattr(part.build(), "needs_model", False))}
            for part in spec.retrieve
        ],
        "views": [_view(loaded, view) for view in planned_views(spec.decode)],
        "step": {
            "passes": cost.passes,
            "rows": cost.rows,
            "nodes": cost.nodes,
            "tokens": cost.tokens,
            "expanding": list(cost.expanding),
            "switching": [part.name for part in spec.decode.rule if getattr(part.build(), "switches", False)],
            "draft_views": list(cost.draft_views),
            "governor": spec.decode.governor if cost.nodes > 1 else "off",
            "automatic": list(loaded.automatic),
            "looks": cost.looks,
            "prefill_tokens": spec.engine.prefill_tokens,
        },
        "spec": plain(spec),
    }


def _view(loaded: LoadedPipeline, view: PlannedView) -> dict[str, Any]:
    spec, declared = loaded.spec, view.declared
    prompt = _name(loaded, "prompt")
    if declared is not None and declared.prompt is not None:
        prompt = _name(loaded, f"decode.views.{view.name}.prompt")
        if view.name not in spec.decode.views:  # a rule brings it
            prompt = name_in_catalogue(declared.prompt) or prompt
    return {
        "name": view.name,
        "prompt": prompt,
        "passages": _passages(view),
        "model": model_of(spec, view).name or "inline",
        "inside": _inside(view),
        "used_by": [*(["answer"] if view.name == TARGET else []), *view.rules, *view.drafters],
        "verified": view.verified,
    }


def _inside(view: PlannedView) -> str | None:
    """What a view changes inside the model."""
    intervention = view.declared.intervention if view.declared is not None else None
    if intervention is None:
        return None
    if intervention.exit is not None:
        return f"exit after block {intervention.exit}"
    assert intervention.heads is not None
    return f"{min(intervention.heads.top, len(intervention.heads.list.heads))} heads off"


def _passages(view: PlannedView) -> str:
    if view.declared is not None and view.declared.passages is not None:
        choice = view.declared.passages
        if choice.only is not None:
            return f"number {choice.only} alone"
        parts = f" parts of {choice.tokens} tokens" if choice.tokens else ""
        return f"best {choice.top_k}{parts}" + (" by relevance" if choice.by == "relevance" else "")
    return "none" if view.name == CLOSED_BOOK else "all"


def _name(loaded: LoadedPipeline, path: str) -> str:
    """The name that stands at a path, ``inline`` if a mapping does."""
    return next((item.name for item in loaded.inclusions if item.path == path), "inline")
