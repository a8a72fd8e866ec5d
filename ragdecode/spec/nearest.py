"""The nearest valid name for a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, valid: Iterable[str]) -> str | None:
    """``did you mean 'x'?`` if a valid name is near, else the valid names; None if there are none."""
    names = list(valid)
    folded = {item.casefold().replace("-", "_"): item for item in names}
    near = get_close_matches(name.casefold().replace("-", "_"), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    if not names:
        return None
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"valid here: {shown}"
