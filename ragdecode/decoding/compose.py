"""From what the views predict to the token picked after every node: rules here, then constraints and sampling.

All nodes of all requests that share a rule chain are composed together; a rule cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from ragdecode.decoding.early import EarlyStates
from ragdecode.decoding.guard import Guarded
from ragdecode.decoding.owners import Owners, ancestry
from ragdecode.decoding.picking import pick
from ragdecode.decoding.request import TARGET
from ragdecode.decoding.rule import Explain, Nodes, Rule
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
        states: Residual stream of the target after the blocks that rules read ``[N, H]``.
        view_states: The same of other views, by view.
        attention: Attention weights ``[N, K, S]`` of the heads that rules read, over the target's prompt.
        taps: Vectors of the target's last block that rules read ``[N, W]``.
    """

    active: Active
    guarded: Guarded
    logits: Mapping[str, torch.Tensor]
    hidden: Mapping[str, torch.Tensor]
    states: Mapping[int, torch.Tensor] = field(default_factory=dict)
    attention: torch.Tensor | None = None
    view_states: Mapping[str, Mapping[int, torch.Tensor]] = field(default_factory=dict)
    taps: Mapping[str, torch.Tensor] = field(default_factory=dict)

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
        remembered: By rule (its place in the chain), what it remembers of each node ``[N, X]``.
        told: What rules tell of each node ``[N]``, as ``rule.name``, if a monitor asked.
        explained: By rule, what it can tell of tokens picked after nodes, if the request asked.
        beyond: Nodes after which another view predicts than those that ran: what is predicted there means nothing.
    """

    predicted: Predicted
    log_probs: torch.Tensor
    views: Mapping[str, torch.Tensor]
    picked: torch.Tensor
    dead: torch.Tensor
    remembered: Mapping[int, torch.Tensor] = field(default_factory=dict)
    told: Mapping[str, torch.Tensor] = field(default_factory=dict)
    explained: Mapping[str, Explain] = field(default_factory=dict)
    beyond: frozenset[int] = frozenset()


#: Runs candidate children ``[N, K]`` of the nodes of each request; answers their hidden states ``[N, K, H]``.
Expand = Callable[[Sequence[Predicted], Sequence[torch.Tensor]], Sequence[torch.Tensor]]


def compose(batch: Sequence[Predicted], expand: Expand, failed: dict[str, Exception] | None = None) -> list[Composed]:
    """Compose and pick for every request of a step.

    Args:
        batch: What the views of the requests predict.
        expand: Runs candidate children, for rules that ask for them.
        failed: Takes the requests whose own rules failed; without it, a failure is raised.
    """
    groups: dict[tuple[object, ...], list[Predicted]] = {}
    for item in batch:
        key = (*(id(rule) for rule in item.active.rules), *item.logits)
        groups.setdefault(key, []).append(item)
    results: dict[str, Composed] = {}
    for group in groups.values():
        for found in _apart(group, expand, failed):
            results[found.predicted.active.request.id] = found
    return [results[item.active.request.id] for item in batch if item.active.request.id in results]


def _apart(group: list[Predicted], expand: Expand, failed: dict[str, Exception] | None) -> list[Composed]:
    """A group composed; where a rule fails, each of its requests alone, so that it ends those that it fails for."""
    try:
        return _group(group, expand)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if failed is None:
            raise
        if len(group) == 1:
            failed[group[0].active.request.id] = error
            return []
    return [found for item in group for found in _apart([item], expand, failed)]


def _group(group: Sequence[Predicted], expand: Expand) -> list[Composed]:
    """Compose and pick for requests with the same rules."""
    views = {
        view: torch.log_softmax(_wide(torch.cat([item.logits[view] for item in group])), dim=-1)
        for view in group[0].logits
    }
    ruled = apply_rules(group, views, expand)
    results = []
    start = 0
    for item in group:
        span = slice(start, start + item.tree.size)
        start += item.tree.size
        own = {view: table[span] for view, table in views.items()}
        tested = None if ruled.accepting is None else ruled.accepting[span]
        log_probs = ruled.log_probs[span]
        picked, dead = pick(item.active, item.guarded, log_probs, own[item.active.ruling.lead], tested)
        remembered = {index: table[span] for index, table in ruled.remembered.items()}
        told = {name: table[span] for name, table in ruled.told.items()} if item.active.wants_rules else {}
        beyond = _beyond(item, remembered)
        _count(item.active, ruled.tallies, span)
        explained = _shifted(ruled.explained, span.start) if item.active.request.explain else {}
        results.append(Composed(item, log_probs, own, picked, dead, remembered, told, explained, beyond))
    return results


def _count(active: Active, tallies: Mapping[str, Mapping[str, Sequence[int]]], span: slice) -> None:
    """Add up what rules count at the nodes of one request."""
    for name, counts in tallies.items():
        own = active.stats.rules.setdefault(name, {})
        for what, values in counts.items():
            own[what] = own.get(what, 0) + sum(values[span])


def _shifted(explained: Mapping[str, Explain], start: int) -> dict[str, Explain]:
    """The same for nodes that are counted from ``start`` on."""

    def from_start(explain: Explain) -> Explain:
        return lambda node, token: explain(start + node, token)

    return {name: from_start(explain) for name, explain in explained.items()}


def _beyond(item: Predicted, remembered: Mapping[int, torch.Tensor]) -> frozenset[int]:
    """Nodes after which another view would predict than the one that ran."""
    switching = [index for index, rule in enumerate(item.active.rules) if rule.switches]
    if not switching or item.tree.size == 1:
        return frozenset()
    index, tree, ruling = switching[0], item.tree, item.active.ruling
    accepted, found = ruling.past(index), set()
    for node in range(1, tree.size):
        if tree.parents[node] in found:
            found.add(node)
            continue
        above = remembered[index][ancestry(tree, tree.parents[node])]
        past = torch.cat([accepted, above]) if len(accepted) else above
        if ruling.rules[index].running(past) != ruling.lead:
            found.add(node)
    return frozenset(found)


def _wide(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype is torch.float64 else logits.float()


@dataclass(frozen=True)
class Ruled:
    """What a rule chain makes of the N nodes of a group of requests.

    Attributes:
        log_probs: Composed log-probabilities ``[N, V]``.
        accepting: Those that draws are tested by, where a rule asks for others.
        remembered: By rule, what it remembers of each node ``[N, X]``.
        told: What rules tell of each node ``[N]``, as ``rule.name``, if a monitor asked.
        tallies: By rule, what it counts at each node ``[N]``.
        explained: By rule, what it can tell of tokens picked after nodes, if a request asked.
    """

    log_probs: torch.Tensor
    accepting: torch.Tensor | None = None
    remembered: Mapping[int, torch.Tensor] = field(default_factory=dict)
    told: Mapping[str, torch.Tensor] = field(default_factory=dict)
    tallies: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    explained: Mapping[str, Explain] = field(default_factory=dict)


def apply_rules(group: Sequence[Predicted], views: Mapping[str, torch.Tensor], expand: Expand) -> Ruled:
    """Run the rule chain over all nodes of a group, whose views predict log-probabilities ``[N, V]``."""
    rules: Sequence[Rule] = group[0].active.rules
    composed = views[group[0].active.ruling.lead]
    if not rules:
        return Ruled(composed)
    owners = Owners(group)
    hidden: dict[str, torch.Tensor] = {}
    if any(rule.hidden for rule in rules):  # else some may lack them: a monitor of one request can ask for them too
        hidden = {view: torch.cat([item.hidden[view] for item in group]) for view in group[0].hidden}
    nodes = Nodes(
        composed=composed,
        # where one model runs at a time, the one that does stands for the target
        log_probs=views if TARGET in views else {TARGET: composed, **views},
        hidden=hidden,
        path=owners.path,
        lengths=owners.lengths(),
        tokens=owners.tokens(),
        parents=owners.parents(),
        early=_early(group, rules, composed.shape[-1]),
        view_early=_view_early(group, rules, composed.shape[-1]),
        taps={name: torch.cat([item.taps[name] for item in group]) for rule in rules for name in rule.taps},
    )
    sizes = [item.tree.size for item in group]
    remembered: dict[int, torch.Tensor] = {}
    told: dict[str, torch.Tensor] = {}
    asked = any(item.active.wants_rules for item in group)
    pieces = max(item.active.request.explain for item in group)
    tallies: dict[str, Mapping[str, Sequence[int]]] = {}
    explained: dict[str, Explain] = {}

    def prepare(index: int, rule: Rule, nodes: Nodes) -> Nodes:
        nodes = replace(nodes, attention=_attention(group, rule))
        if rule.expand:
            candidates = nodes.composed.topk(min(rule.expand, nodes.composed.shape[-1]), dim=-1).indices  # [N, K]
            seen = torch.cat([*expand(group, candidates.split(sizes))])
            nodes = replace(nodes, candidates=candidates, candidate_hidden=seen)
        if rule.remembers:
            remembered[index] = rule.remember(replace(nodes, past=owners.accepted(index)))
            nodes = replace(nodes, past=owners.past(index, remembered[index]))
        if asked:
            told.update({f"{rule.part_name}.{name}": value for name, value in rule.signals(nodes).items()})
        if counts := rule.tally(nodes):
            tallies[rule.part_name] = counts
        if pieces and (told_of := rule.explain(nodes, pieces)) is not None:
            explained[rule.part_name] = told_of
        return nodes

    log_probs, accepting = fold(rules, nodes, prepare)
    return Ruled(log_probs, accepting, remembered, told, tallies, explained)


#: Adds to the nodes what one rule of a chain asks for.
Prepare = Callable[[int, Rule, Nodes], Nodes]


def fold(
    rules: Sequence[Rule], nodes: Nodes, prepare: Prepare | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a rule chain over nodes.

    Returns:
        Log-probabilities ``[N, V]``, and those that draws are tested by, where a rule asks for others.
    """
    accepting = None
    for index, rule in enumerate(rules):
        if prepare is not None:
            nodes = prepare(index, rule, nodes)
        if rule.verification:
            accepting = torch.log_softmax(rule.accepting(nodes), dim=-1)
        nodes = replace(nodes, composed=torch.log_softmax(rule.compose(nodes), dim=-1))
    return nodes.composed, accepting


def _early(group: Sequence[Predicted], rules: Sequence[Rule], vocab_size: int) -> dict[int, EarlyStates]:
    """The target after the blocks that the rules read."""
    layers = {layer for rule in rules for layer in rule.layers}
    backend = group[0].active.rows[TARGET].backend if layers else None
    return {
        layer: EarlyStates(backend, torch.cat([item.states[layer] for item in group]), vocab_size)
        for layer in sorted(layers)
        if backend is not None
    }


def _view_early(
    group: Sequence[Predicted], rules: Sequence[Rule], vocab_size: int
) -> dict[str, dict[int, EarlyStates]]:
    """Other views after the blocks that the rules read."""
    found: dict[str, dict[int, EarlyStates]] = {}
    for view, layer in {
        (view, layer) for rule in rules for view, blocks in rule.view_layers.items() for layer in blocks
    }:
        states = torch.cat([item.view_states[view][layer] for item in group])
        found.setdefault(view, {})[layer] = EarlyStates(group[0].active.rows[view].backend, states, vocab_size)
    return found


def _attention(group: Sequence[Predicted], rule: Rule) -> list[torch.Tensor]:
    """Attention of the heads that a rule reads, ``[K, S]`` by node."""
    if not rule.attends:
        return []
    tables = []
    for item in group:
        assert item.attention is not None
        places = [item.active.ruling.attends.index(head) for head in rule.attends]
        tables += list(item.attention[:, places])
    return tables
