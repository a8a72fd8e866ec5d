"""Asks a store at all nodes of a step: who the neighbours are, by search or by pointers, and how much they count.

Shapes: N nodes, k neighbours, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ragdecode.decoding.knn.neighbours import Neighbours, Store
from ragdecode.decoding.knn.tuning import temperature
from ragdecode.decoding.knn.voting import entropy_gate, shares, votes

if TYPE_CHECKING:
    from ragdecode.decoding.knn.gate import Gate
    from ragdecode.decoding.rule import Explain, Nodes
    from ragdecode.decoding.rules.knn_lm import KnnLmSettings

#: keys of the store that a temperature is found by
_SAMPLE = 64
#: other tokens that are told beside the one that was picked
_OTHERS = 3


@dataclass(frozen=True)
class Voted:
    """What neighbours make of nodes.

    Attributes:
        rows: Entries that are remembered of each node ``[N, k]``, -1 where there is none.
        distances: Squared distances of the neighbours ``[N, k]``, nearest first.
        values: The tokens that they vote for ``[N, k]``, -1 where there is none.
        share: Their shares of the vote ``[N, k]``.
        weight: Weight of the votes ``[N]``.
        tally: ``searched``, ``followed`` and ``spared``: how the neighbours of each node were found ``[N]``.
    """

    rows: torch.Tensor
    distances: torch.Tensor
    values: torch.Tensor
    share: torch.Tensor
    weight: torch.Tensor
    tally: Mapping[str, Sequence[int]]

    def signals(self, vocab_size: int) -> dict[str, torch.Tensor]:
        """Weight, distance of the nearest, entropies in nats of the votes and of the shares ``[N]``."""
        table = votes(self.share, self.values, vocab_size)
        return {
            "weight": self.weight,
            "nearest": self.distances[:, 0],
            "entropy": -torch.xlogy(table, table).sum(dim=-1),
            "spread": -torch.xlogy(self.share, self.share).sum(dim=-1),
        }

    def explain(self, store: Store, count: int) -> Explain:
        """What is told of a token that was picked after a node: plain data.

        ``lambda``, the weight; ``votes``, the probability of the token under the neighbours; ``neighbours``, the
        ``count`` that voted most for it, each with its place, ``distance`` and ``mass``, its share of the vote;
        ``others``, the tokens with most votes besides.
        """

        def told(node: int, token: int) -> dict[str, Any]:
            values, share = self.values[node].tolist(), self.share[node].tolist()
            distances, rows = self.distances[node].tolist(), self.rows[node].tolist()
            mass: dict[int, float] = {}
            for value, own in zip(values, share, strict=True):
                if own > 0:
                    mass[value] = mass.get(value, 0.0) + own
            mine = [at for at, value in enumerate(values) if value == token and share[at] > 0][:count]
            places = store.places([rows[at] for at in mine])
            others = sorted((-own, value) for value, own in mass.items() if value != token)[:_OTHERS]
            return {
                "lambda": float(self.weight[node]),
                "votes": mass.get(token, 0.0),
                "neighbours": [
                    {**place, "distance": distances[at], "mass": share[at]}
                    for at, place in zip(mine, places, strict=True)
                ],
                "others": [{"token": value, "votes": -own} for own, value in others],
            }

        return told


class Asking:
    """A store and how it is asked.

    Args:
        store: The store, of at least one entry.
        settings: The rule's.
        key: Which vector its keys are.

    Attributes:
        store: The store.
        k: Neighbours that vote.
    """

    def __init__(self, store: Store, settings: KnnLmSettings, key: str) -> None:
        self.store = store
        self.k = min(settings.count, len(store))
        self._settings = settings
        self._key = key
        self._last: tuple[torch.Tensor, torch.Tensor, Voted] | None = None

    @cached_property
    def temperature(self) -> float:
        """Temperature of the votes."""
        settings = self._settings
        if settings.temperature is not None:
            return float(settings.temperature)
        if settings.tuning is not None:
            return float(settings.tuning.temperature)
        try:
            return temperature(self.store.apart(_SAMPLE, self.k), settings.listen)
        except ValueError:  # one entry, or all alike: any temperature gives the same votes
            return 1.0

    @cached_property
    def _gate(self) -> Gate:
        from ragdecode.decoding.knn.gate import load_gate

        assert self._settings.tuning is not None
        assert self._settings.tuning.gate is not None
        return load_gate(Path(self._settings.tuning.gate))[0]

    def of(self, nodes: Nodes) -> Voted:
        """The neighbours of all nodes, found by one search, or by one a level of the trees where pointers are followed.

        Once a step, however often it is asked for the same nodes.
        """
        queries = nodes.taps[self._key]
        if self._last is None or self._last[0] is not queries or self._last[1] is not nodes.composed:
            self._last = queries, nodes.composed, self._found(nodes, queries)
        return self._last[2]

    def everywhere(self, nodes: Nodes) -> Voted:
        """The neighbours of all nodes by one search, also where the weight is 0 beforehand: for diagnoses."""
        queries = nodes.taps[self._key]
        near = self.store.search(queries, self.k)
        return self._voted(nodes, queries, near.rows, near, {})

    def _found(self, nodes: Nodes, queries: torch.Tensor) -> Voted:
        before = self._before(nodes, queries)
        wanted = [True] * len(queries) if before is None else before.tolist()
        if self._settings.pointers:
            rows, near, tally = self._follow(nodes, queries, wanted)
        else:
            near = Neighbours.none(queries, self.k)
            asked = [node for node, yes in enumerate(wanted) if yes]
            if asked:
                near.put(asked, self.store.search(queries[asked], self.k))
            rows = near.rows
            tally = {"searched": [int(yes) for yes in wanted], "spared": [int(not yes) for yes in wanted]}
        return self._voted(nodes, queries, rows, near, tally)

    def _voted(
        self, nodes: Nodes, queries: torch.Tensor, rows: torch.Tensor, near: Neighbours, tally: dict[str, list[int]]
    ) -> Voted:
        share = shares(near.distances, near.values, self.temperature)
        weight = self._weight(nodes, queries, near, share)
        return Voted(rows, near.distances, near.values, share, weight, tally)

    def _before(self, nodes: Nodes, queries: torch.Tensor) -> torch.Tensor | None:
        """Which nodes want neighbours, as far as that is known without any ``[N]``; None if all do."""
        settings = self._settings
        if settings.by == "gate":
            return self._gated(nodes, queries) > 0
        if settings.by == "entropy":
            probs = nodes.composed.exp()
            return -torch.where(probs > 0, probs * nodes.composed, 0.0).sum(dim=-1) > settings.above
        return None if settings.by == "distance" or settings.most > 0 else torch.zeros(len(queries), dtype=torch.bool)

    def _gated(self, nodes: Nodes, queries: torch.Tensor) -> torch.Tensor:
        gate = self._gate.to(queries.device)
        last = torch.tensor(list(nodes.tokens), device=queries.device)
        return gate.weight(queries, nodes.composed, last)

    def _weight(self, nodes: Nodes, queries: torch.Tensor, near: Neighbours, share: torch.Tensor) -> torch.Tensor:
        """Weight of the votes at each node ``[N]``."""
        settings = self._settings
        if settings.by == "gate":
            return self._gated(nodes, queries).to(share.dtype)
        if settings.by == "entropy":
            return entropy_gate(
                nodes.composed, share.to(nodes.composed.dtype), near.values, settings.most, settings.above
            )
        nearest = near.distances[:, 0]
        if settings.by == "distance":
            assert settings.tuning is not None
            assert settings.tuning.buckets is not None
            edges = nearest.new_tensor(settings.tuning.buckets.edges)
            weights = nearest.new_tensor(settings.tuning.buckets.weights)
            found = weights[torch.searchsorted(edges, nearest.contiguous(), right=True)]
        else:
            found = torch.full_like(nearest, settings.most)
        return torch.where(torch.isfinite(nearest), found, 0.0)

    def _follow(
        self, nodes: Nodes, queries: torch.Tensor, wanted: Sequence[bool]
    ) -> tuple[torch.Tensor, Neighbours, dict[str, list[int]]]:
        """Neighbours by pointers where enough of them remain, else by search, level by level of the trees.

        RetoMaton, arXiv 2201.12431, algorithm 1, without clusters.

        Returns:
            What each node leaves to those below it ``[N, k]``, the neighbours that vote, and how they were found.
        """
        from ragdecode.decoding.knn.corpus_store import CorpusStore

        assert isinstance(self.store, CorpusStore)
        near = Neighbours.none(queries, self.k)
        left = near.rows.clone()
        tally = {name: [0] * len(queries) for name in ("searched", "followed", "spared")}
        for level in _levels(nodes.parents):
            above = torch.stack([self._above(nodes, left, node) for node in level])  # [L, k]
            tokens = torch.tensor([nodes.tokens[node] for node in level], device=queries.device)
            pointers = self.store.follow(above, tokens)
            enough = ((pointers >= 0).sum(dim=1) >= self._settings.pointers).tolist()
            followed = [at for at, node in enumerate(level) if enough[at] and wanted[node]]
            searched = [at for at, node in enumerate(level) if not enough[at] and wanted[node]]
            left[level] = pointers
            for name, places in (("followed", followed), ("searched", searched)):
                own = [level[at] for at in places]
                if not own:
                    continue
                if name == "followed":
                    near.put(own, self.store.measure(queries[own], pointers[places]))
                else:
                    near.put(own, self.store.search(queries[own], self.k))
                left[own] = near.rows[own]
                for node in own:
                    tally[name][node] = 1
            for node in level:
                tally["spared"][node] = int(not wanted[node])
        return left, near, tally

    def _above(self, nodes: Nodes, left: torch.Tensor, node: int) -> torch.Tensor:
        """What the node above leaves to a node ``[k]``."""
        parent = nodes.parents[node]
        if parent >= 0:
            return left[parent]
        before = nodes.past(node, 1)
        return before[0] if len(before) else torch.full_like(left[node], -1)


def _levels(parents: Sequence[int]) -> list[list[int]]:
    """Nodes by depth; parents come before children."""
    depths: list[int] = []
    levels: list[list[int]] = []
    for node, parent in enumerate(parents):
        depths.append(depths[parent] + 1 if parent >= 0 else 0)
        if depths[node] == len(levels):
            levels.append([])
        levels[depths[node]].append(node)
    return levels
