"""From what the views predict to the token picked after every node: rules here, then constraints and sampling.

All nodes of all requests that share a rule chain are composed together; a rule cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ragdecode.decoding.guard import Guarded
from ragdecode.decoding.picking import pick
from ragdecode.decoding.request import TARGET
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.decoding.tree import Tree

if TYPE_CHECKING:
    from ragdecode.decoding.active import Active


@dataclass(frozen=True)
class Predicted:
    """What the verified views of a request predict at the N nodes of its tree.

    Attributes:
        active: The request.
        guarded: Its tree, and what is forbidden after each node.
        logits: Raw logits of each view ``[N, V]``.
        hidden: Last hidden states of each view ``[N, H]``, where asked for.
    """

    active: Active
    guarded: Guarded
    logits: Mapping[str, torch.Tensor]
    hidden: Mapping[str, torch.Tensor]

    @property
    def tree(self) -> Tree:
        """Its tree."""
        return self.guarded.tree


@dataclass(frozen=True)
class Composed:
    """A request's tree with its composed distribution.

    Attributes:
        predicted: What the views predict.
        log_probs: Composed log-probabilities ``[N, V]``, before constraints and sampling.
        views: Each view's log-probabilities ``[N, V]``.
        picked: Token picked after each node ``[N]``, on the device.
        dead: Whether everything is forbidden there, bool ``[N]``, on the device.
    """

    predicted: Predicted
    log_probs: torch.Tensor
    views: Mapping[str, torch.Tensor]
    picked: torch.Tensor
    dead: torch.Tensor


#: Runs candidate children ``[N, K]`` of the nodes of each request; answers their hidden states ``[N, K, H]``.
Expand = Callable[[Sequence[Predicted], Sequence[torch.Tensor]], Sequence[torch.Tensor]]


def compose(batch: Sequence[Predicted], expand: Expand) -> list[Composed]:
    """Compose and pick for every request of a step."""
    groups: dict[tuple[object, ...], list[Predicted]] = {}
    for item in batch:
        key = (*(id(rule) for rule in item.active.rules), *item.logits)
        groups.setdefault(key, []).append(item)
    results: dict[str, Composed] = {}
    for group in groups.values():
        views = {
            view: torch.log_softmax(_wide(torch.cat([item.logits[view] for item in group])), dim=-1)
            for view in group[0].logits
        }
        log_probs, accepting = _apply_rules(group, views, expand)
        start = 0
        for item in group:
            span = slice(start, start + item.tree.size)
            start += item.tree.size
            own = {view: table[span] for view, table in views.items()}
            tested = None if accepting is None else accepting[span]
            picked, dead = pick(item.active, item.guarded, log_probs[span], own[TARGET], tested)
            results[item.active.request.id] = Composed(item, log_probs[span], own, picked, dead)
    return [results[item.active.request.id] for item in batch]


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype is torch.float64 else logits.float()


def _apply_rules(
    group: Sequence[Predicted], views: Mapping[str, torch.Tensor], expand: Expand
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run the rule chain over all nodes of a group.

    Returns:
        Log-probabilities ``[N, V]``, and those that draws are tested by, where a rule asks for others.
    """
    rules: Sequence[Rule] = group[0].active.rules
    composed = views[TARGET]
    if not rules:
        return composed, None
    owner = [(item, node) for item in group for node in range(item.tree.size)]

    def path(node: int, last: int | None = None, /) -> list[int]:
        item, local = owner[node]
        return path_of(item.active.tokens, item.tree.path(local), last)

    hidden: dict[str, torch.Tensor] = {}
    if any(rule.hidden for rule in rules):  # else some may lack them: a monitor of one request can ask for them too
        hidden = {view: torch.cat([item.hidden[view] for item in group]) for view in group[0].hidden}
    nodes = Nodes(composed=composed, log_probs=views, hidden=hidden, path=path)
    sizes = [item.tree.size for item in group]
    return fold(rules, nodes, lambda candidates: torch.cat([*expand(group, candidates.split(sizes))]))


def fold(
    rules: Sequence[Rule], nodes: Nodes, expand: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a rule chain over nodes; ``expand`` gives the states of their candidate children to rules that ask for them.

    Returns:
        Log-probabilities ``[N, V]``, and those that draws are tested by, where a rule asks for others.
    """
    accepting = None
    for rule in rules:
        if rule.expand:
            assert expand is not None
            candidates = nodes.composed.topk(min(rule.expand, nodes.composed.shape[-1]), dim=-1).indices  # [N, K]
            nodes = replace(nodes, candidates=candidates, candidate_hidden=expand(candidates))
        if rule.verification:
            accepting = torch.log_softmax(rule.accepting(nodes), dim=-1)
        nodes = replace(nodes, composed=torch.log_softmax(rule.compose(nodes), dim=-1))
    return nodes.composed, accepting


def path_of(accepted: list[int], drafted: list[int], last: int | None = None) -> list[int]:
    """The tokens of an answer and of a draft below it, or the last few of them."""
    if last is None:
        return [*accepted, *drafted]
    start = max(len(accepted) + len(drafted) - last, 0)
    return [*accepted[start:], *drafted[max(start - len(accepted), 0) :]]
