"""What a request must be like for its drafts to be verified; what is refused would break the law without a sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request


def check_rules(request: Request) -> None:
    """Refuse rules that cannot be evaluated on drafts, where there are any.

    Raises:
        InputError: There is one.
    """
    for rule in request.rules:
        if not rule.on_trees and request.drafters and request.max_draft_nodes > 1:
            raise InputError(
                f"the rule {rule.part_name} cannot be evaluated on drafts", hint="leave the drafters or the rule out"
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
    if request.constraints:
        raise InputError(
            f"verification by rejection does not go together with the constraint {request.constraints[0].part_name}: "
            "its drafts are cut before the pass, by what was drawn",
            hint="use verification 'noise', or leave the constraint out",
        )
