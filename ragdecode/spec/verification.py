"""What ``decode.verification`` asks of the parts; what does not fit breaks the law without a sign, so it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.node import Path_
from ragdecode.spec.part import Part

#: The way out that always works.
_NOISE = "leave 'verification' out: 'noise' takes any drafters"


def verification_problems(
    decode: DecodeSpec, path: Path_, build: Callable[[Part, Path_], Any]
) -> Iterator[tuple[Path_, str, str]]:
    """Where a stage's parts do not go with its verification: path, problem, way out.

    Args:
        decode: The stage.
        path: Where it stands.
        build: Makes a part that stands at a path, or None.
    """
    at = (*path, "verification")
    asking: list[str] = []
    for position, part in enumerate(decode.rule):
        place = (*path, "rule", position)
        if not getattr(build(part, place), "verification", None):
            continue
        asking.append(part.name)
        if len(decode.rule) > 1:
            message = f"'{part.name}' accepts drafts by a published test of its own, which no other rule may change"
            yield (*place, part.name), message, "keep it alone, or give it another mode"
        if decode.verification != "rejection":
            message = f"'{part.name}' accepts drafts by a test of draws"
            yield (*place, part.name), message, f"set {'.'.join(map(str, at))}: rejection, or give it another mode"
    if decode.verification != "rejection":
        return
    if len(decode.draft) != 1:
        names = ", ".join(part.name for part in decode.draft) or "none"
        why = "a token of a fused tree was drawn from nothing in particular" if decode.draft else "it tests drafts"
        yield at, f"'rejection' needs exactly one drafter, here: {names}; {why}", _NOISE
    for position, part in enumerate(decode.draft):
        place = (*path, "draft", position)
        built = build(part, place)
        if built is not None and not getattr(built, "draws", False):
            message = f"'{part.name}' draws from no distribution, and 'rejection' tests draws"
            yield (*place, part.name), message, _NOISE
        elif asking and getattr(built, "siblings", 1) > 1:
            message = f"'{part.name}' draws several tokens a node, and the published test of '{asking[0]}' judges one"
            yield (*place, part.name), message, "let it draw a chain (branch: 1), or give the rule another mode"
    if decode.max_draft_nodes < 2:
        message = f"'rejection' tests drafts, and max_draft_nodes: {decode.max_draft_nodes} leaves room for none"
        yield at, message, "raise max_draft_nodes"
    if decode.constraint:
        message = f"'rejection' does not go together with the constraint '{decode.constraint[0].name}'"
        yield at, f"{message}: it cuts drafts by what was drawn", _NOISE
