"""What a request must be like for its drafts to be verified; what is refused would break the law without a sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ragdecode.decoding.intervention import EarlyExit, HeadMask
from ragdecode.errors import InputError
from ragdecode.spec.view_plan import TARGET

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.rule import Rule


def check_rules(request: Request) -> None:
    """Refuse rules that do not go with the request's other parts.

    Raises:
        InputError: One cannot be evaluated on drafts, where there are any, or refuses what acts beside it.
    """
    check_deciders(request.rules)
    for rule in request.rules:
        rule.check(request)
        if not rule.on_trees and request.drafters and request.max_draft_nodes > 1:
            raise InputError(
                f"the rule {rule.part_name} cannot be evaluated on drafts", hint="leave the drafters or the rule out"
            )


def check_deciders(rules: Sequence[Rule]) -> None:
    """Refuse two rules of a chain that decide the same thing.

    Raises:
        InputError: They would undo each other.
    """
    deciders: dict[str, str] = {}
    for rule in rules:
        if rule.reweighs is None:
            continue
        other = deciders.setdefault(rule.reweighs, rule.part_name)
        if other != rule.part_name:
            raise InputError(
                f"'{other}' and '{rule.part_name}' cannot go together: both reweigh the {rule.reweighs}",
                hint="keep one of them",
            )


def check_constraints(request: Request) -> None:
    """Refuse constraints that could leave each other nothing.

    Raises:
        InputError: Two of them do not go together, with the reason.
    """
    names = [part.part_name for part in request.constraints]
    for part in request.constraints:
        for other, why in part.unmixable.items():
            if other in names:
                raise InputError(
                    f"the constraints {part.part_name} and {other} cannot go together: {why}", hint="keep one of them"
                )


def check_verification(request: Request) -> None:
    """Refuse a request whose draws could not be tested.

    Raises:
        InputError: Parts that do not go together with the request's verification.
    """
    asking = [rule for rule in request.rules if rule.verification]
    if asking and len(request.rules) > 1:
        raise InputError(
            f"the rule {asking[0].part_name} accepts drafts by a test of its own, which no rule may change"
        )
    if request.verification == "noise":
        if asking:
            raise InputError(
                f"the rule {asking[0].part_name} accepts drafts by a test of draws",
                hint="set the request's verification to 'rejection'",
            )
        return
    if len(request.drafters) > 1:
        raise InputError(
            f"verification by rejection takes one drafter, not {len(request.drafters)}: in a fused tree it is not "
            "known what a token was drawn from",
            hint="keep one drafter, or use verification 'noise', which takes any",
        )
    for drafter in request.drafters:
        if not drafter.draws:
            raise InputError(
                f"verification by rejection needs a drafter that draws; {drafter.part_name} has nothing to draw from",
                hint="use verification 'noise', which takes any drafter",
            )
        if asking and drafter.siblings > 1:
            raise InputError(
                f"the drafter {drafter.part_name} draws several tokens a node, and the published test of the rule "
                f"{asking[0].part_name} judges one",
                hint="let it draw a chain (branch: 1), or take another mode of the rule",
            )
    if request.constraints:
        raise InputError(
            f"verification by rejection does not go together with the constraint {request.constraints[0].part_name}: "
            "its drafts are cut before the pass, by what was drawn",
            hint="use verification 'noise', or leave the constraint out",
        )


def check_interventions(request: Request, models: Mapping[str, Backend]) -> None:
    """Refuse views that change what their model cannot change.

    Raises:
        InputError: A layer or a head that the model does not have, or a backend that cannot do it.
    """
    for name, view in request.views.items():
        if view.intervention is None or name not in models:
            continue
        drafts = any(name in drafter.views for drafter in request.drafters) and request.max_draft_nodes > 1
        check_intervention(name, view.intervention, models[name], drafts=drafts)
        target = request.views[TARGET]
        own = view.model != target.model or list(view.prompt) != list(target.prompt)
        if own and isinstance(view.intervention, EarlyExit):
            raise InputError(f"the view {name!r} leaves the target early, but has a prompt or a model of its own")


def check_intervention(name: str, intervention: EarlyExit | HeadMask, model: Backend, *, drafts: bool = False) -> None:
    """Refuse one view's intervention.

    Args:
        name: The view.
        intervention: What it changes.
        model: Its model, or the target's.
        drafts: Whether a drafter looks at it, which takes a backend that can leave out the blocks behind an exit.

    Raises:
        InputError: A layer or a head that the model does not have, or a backend that cannot do it.
    """
    kind = "exit" if isinstance(intervention, EarlyExit) else "heads"
    if kind not in model.interventions:
        what = "leave the model early" if kind == "exit" else "switch heads off"
        why = getattr(model, "lacks", {}).get(kind)
        raise InputError(
            f"the view {name!r} would {what}, which this backend cannot do" + (f": {why}" if why else ""),
            hint="engine.backend: llama if the model is Llama-shaped",
        )
    if isinstance(intervention, EarlyExit):
        if not 0 <= intervention.layer < model.blocks:
            raise InputError(
                f"the view {name!r} exits after block {intervention.layer}; the model has blocks 0 to "
                f"{model.blocks - 1}"
            )
        if drafts and not model.layers:
            raise InputError(
                f"a drafter looks at the view {name!r}, an early exit, and this backend cannot leave out the blocks "
                "behind it: each look would cost a whole pass",
                hint="engine.backend: llama if the model is Llama-shaped, else another drafter",
            )
        return
    for layer, head in sorted(intervention.heads):
        if not (0 <= layer < model.blocks and 0 <= head < model.heads):
            raise InputError(
                f"the view {name!r} switches off head {head} of layer {layer}; the model has {model.blocks} layers of "
                f"{model.heads} heads, counted from 0",
                hint="a list of heads belongs to the model that it was made for",
            )


def check_search(request: Request) -> None:
    """Refuse a search that nothing scores for, or whose sampling a rule does not go with.

    Raises:
        InputError: The search cannot work in this request.
    """
    if request.search is None:
        return
    if not any(part.scores and request.search.by in ("", part.part_name) for part in request.monitors):
        raise InputError(
            f"the search {request.search.part_name} needs a monitor that scores sentences", hint="add monitor: syncheck"
        )
    request.search.check(request)
    for sampling in request.search.samplings:
        other = replace(request, sampling=replace(request.sampling, **sampling))
        for rule in request.rules:
            rule.check(other)
