"""Rules inside a rule: those that need nothing but the log-probabilities of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ragdecode.decoding.constraint import Constraint
from ragdecode.decoding.drafter import Drafter
from ragdecode.decoding.monitor import Monitor
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rule import Rule
from ragdecode.decoding.speculation.preconditions import check_deciders
from ragdecode.errors import InputError

#: What the engine does for the rules of a request's own chain alone.
_ASKED = ("hidden", "evidence", "expand", "layers", "view_layers", "taps", "attends", "remembers", "reads_hidden")
_ACTS = ("switches", "verification")
_CALLED = ("meet", "start", "reads", "read", "remember", "running")


@dataclass(frozen=True)
class _Inside:
    """What acts beside a nested rule: the rule that holds it stands before it."""

    rules: Sequence[Rule]
    drafters: Sequence[Drafter] = ()
    constraints: Sequence[Constraint] = ()
    monitors: Sequence[Monitor] = ()
    sampling: Sampling = field(default_factory=Sampling)
    max_draft_nodes: int = 1


def check_nested(holder: Rule, rules: Sequence[Rule]) -> None:
    """Refuse rules that cannot act inside another one.

    Args:
        holder: The rule that holds them.
        rules: The chain that it holds.

    Raises:
        InputError: One of them asks for more than log-probabilities, refuses its company, or two decide the same thing.
    """
    outer = holder.part_name
    for rule in rules:
        name = rule.part_name
        asks = any(getattr(rule, what) for what in (*_ASKED, *_ACTS)) or not rule.on_trees
        if asks or any(getattr(type(rule), what) is not getattr(Rule, what) for what in _CALLED):
            raise InputError(
                f"'{name}' cannot act inside '{outer}': it reads more than what views predict",
                hint=f"put it behind '{outer}' in the chain, or leave it out",
            )
        rule.check(_Inside((holder, *rules)))
        if any(other is not rule and other.part_name == name for other in rules):
            raise InputError(f"'{name}' stands twice inside '{outer}'", hint="keep one of them")
    check_deciders(rules)
