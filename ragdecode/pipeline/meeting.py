"""Parts and views meet the models that they work with: what these cannot do is refused with file and line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.head_check import check_heads
from ragdecode.decoding.speculation.preconditions import check_intervention
from ragdecode.errors import InputError, SpecError
from ragdecode.pipeline.parts import DecodeParts
from ragdecode.pipeline.views import ViewPlan, ViewPlans
from ragdecode.spec.load import LoadedPipeline
from ragdecode.spec.node import Path_
from ragdecode.spec.view_plan import views_brought

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend


def meet(loaded: LoadedPipeline, plans: ViewPlans, parts: DecodeParts, backends: Mapping[str, Backend]) -> None:
    """Show every view and every part the models, before the first request.

    Args:
        loaded: The pipeline, for lines.
        plans: Its views.
        parts: Its parts, in the order of its document.
        backends: The models by key, ready to run.

    Raises:
        SpecError: A block or a head that a model does not have, or a part that cannot work with the models.
    """
    nodes = loaded.spec.decode.max_draft_nodes
    for view in plans.views:
        if view.intervention is not None:
            with _at(loaded, view_path(loaded, view.name, "intervention")):
                drafts = nodes > 1 and any(view.name in part.views for part in parts.drafters)
                check_intervention(view.name, view.intervention, backends[view.model], drafts=drafts)
                _check_list(loaded, view, backends[view.model])
    models = {view.name: backends[view.model] for view in plans.views}
    for index, rule in enumerate(parts.rules):
        with _at(loaded, ("decode", "rule", index, rule.part_name)):
            rule.meet(models)
    for index, drafter in enumerate(parts.drafters):
        with _at(loaded, ("decode", "draft", index, drafter.part_name)):
            drafter.meet(models)
    for index, monitor in enumerate(parts.monitors):
        with _at(loaded, ("decode", "monitor", index, monitor.part_name)):
            monitor.meet(models)


def equip(
    loaded: LoadedPipeline, parts: DecodeParts, opened: Callable[[Collection[str]], Mapping[str, Any]]
) -> dict[str, Any]:
    """Open what parts read besides requests, and let rules look at it.

    Args:
        loaded: The pipeline, for lines.
        parts: Its parts, in the order of its document.
        opened: Gives what is read, by name.

    Returns:
        All of it by name.

    Raises:
        SpecError: It is missing, or is not what a part needs.
        RunError: It is damaged.
    """
    found: dict[str, Any] = {}
    for index, rule in enumerate(parts.rules):
        with _at(loaded, ("decode", "rule", index, rule.part_name)):
            found |= opened(rule.resources)
            rule.equip(found)
    for index, drafter in enumerate(parts.drafters):
        with _at(loaded, ("decode", "draft", index, drafter.part_name)):
            found |= opened(drafter.resources)
    return found


def view_path(loaded: LoadedPipeline, name: str, *below: str) -> Path_:
    """Where a document asks for a view: its declaration, down to a key of it, or the part that brings the view."""
    decode = loaded.spec.decode
    if name not in decode.views:
        for key in ("rule", "draft"):
            for index, part in enumerate(getattr(decode, key)):
                if name in views_brought([part]):
                    return ("decode", key, index, part.name)
    return ("decode", "views", name, *below)


def _check_list(loaded: LoadedPipeline, view: ViewPlan, model: Backend) -> None:
    """Refuse a list of heads of another model in a view that the document declares; parts look after their own."""
    declared = loaded.spec.decode.views.get(view.name)
    heads = declared.intervention.heads if declared is not None and declared.intervention is not None else None
    if heads is not None:
        check_heads(
            f"the list of heads of the view {view.name!r}", heads.list.model, heads.list.heads[: heads.top], model
        )


@contextmanager
def _at(loaded: LoadedPipeline, path: Path_) -> Iterator[None]:
    """Say where the document asks for what is refused inside."""
    try:
        yield
    except SpecError:
        raise
    except InputError as error:
        raise loaded.located(path, error) from error
