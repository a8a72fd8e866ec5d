"""Drafting under rules: what looks predict, composed as verification will compose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.view_plan import TARGET

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.active import Active
    from ragdecode.decoding.request import Request

#: What a rule may ask for that a look does not bring.
_BEYOND = ("hidden", "expand", "verification", "layers", "view_layers", "taps", "attends", "remembers", "switches")


def composed_by_looks(rules: Sequence[Rule], alike: Callable[[str], bool]) -> bool:
    """Whether what rules compose can be drafted by looks, which bring the log-probabilities of views and no more.

    All views that the rules read must be run as the target is, by one pass over the same weights; and no rule may
    ask for hidden states, candidate children, early layers, taps, attention, or what was remembered of accepted tokens.

    Args:
        rules: The chain; without one there is nothing to compose.
        alike: Whether a view differs from the target in its prompt alone: the same model, nothing changed inside.
    """
    if not rules or any(getattr(rule, what, None) for rule in rules for what in _BEYOND):
        return False
    return all(alike(view) for rule in rules for view in (TARGET, *rule.views))


def composed_views(request: Request) -> tuple[str, ...]:
    """The views that a look has to run for the rules of a request, the target first; none if it cannot."""
    target = request.views[TARGET]

    def alike(name: str) -> bool:
        view = request.views.get(name, target)  # one that a rule can do without is not there
        return view.model == target.model and view.intervention is None

    if not composed_by_looks(request.rules, alike):
        return ()
    read = dict.fromkeys([TARGET, *(view for rule in request.rules for view in rule.views)])
    return tuple(view for view in read if view in request.views)


def compose_looked(item: Active, tables: Mapping[str, torch.Tensor], drafted: Sequence[Sequence[int]]) -> torch.Tensor:
    """What the rules in force make of a look's log-probabilities.

    Args:
        item: The request.
        tables: Log-probabilities ``[n, V]`` of each view, the target's among them.
        drafted: For each of the n nodes the tokens from the last accepted one down to it.

    Returns:
        Composed log-probabilities ``[n, V]``.
    """
    from ragdecode.decoding.compose import fold
    from ragdecode.decoding.owners import path_of

    def path(node: int, last: int | None = None, /) -> list[int]:
        return path_of(item.tokens, list(drafted[node]), last)

    lengths = [len(item.tokens) + len(tokens) for tokens in drafted]
    return fold(item.rules, Nodes(composed=tables[TARGET], log_probs=tables, path=path, lengths=lengths))[0]
