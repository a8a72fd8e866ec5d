"""How often drafted tokens of each class are accepted, learnt while a text is generated."""

from __future__ import annotations

from collections.abc import Sequence

from ragdecode.decoding.drafter import Draft, Verified

#: What a trial still counts after one more of its class.
_KEEP = 0.98


def fed_nodes(draft: Draft, verified: Verified) -> list[int]:
    """The fed node of each token of a draft, -1 where it was not fed; drafts are merged and cut before a pass."""
    children = {
        (parent, token): node
        for node, (parent, token) in enumerate(zip(verified.parents, verified.tokens, strict=True))
    }
    nodes: list[int] = []
    for token, parent in zip(draft.tokens, draft.parents, strict=True):
        above = 0 if parent < 0 else nodes[parent]
        nodes.append(children.get((above, token), -1) if above >= 0 else -1)
    return nodes


class Rates:
    """Per class: the probability that a token is accepted where its parent is.

    A prior estimate counts as ``weight`` trials; trials are forgotten exponentially.

    Args:
        priors: The estimate for each class before anything was seen.
        weight: How many trials it is worth.
    """

    def __init__(self, priors: Sequence[float], weight: float = 8.0) -> None:
        self._priors = list(priors)
        self._weight = weight
        self._trials = [0.0] * len(priors)
        self._hits = [0.0] * len(priors)
        self._rates = list(priors)

    def __getitem__(self, kind: int) -> float:
        """The estimate for a class."""
        return self._rates[kind]

    def observe(self, draft: Draft, verified: Verified) -> None:
        """Count the fed tokens of a draft whose parents are on the accepted path."""
        if not draft.tokens:
            return
        accepted = set(verified.accepted)
        nodes = fed_nodes(draft, verified)
        for kind, parent, node in zip(draft.classes, draft.parents, nodes, strict=True):
            if node >= 0 and (parent < 0 or nodes[parent] in accepted):
                self._trials[kind] = self._trials[kind] * _KEEP + 1
                self._hits[kind] = self._hits[kind] * _KEEP + (node in accepted)
                self._rates[kind] = (self._hits[kind] + self._weight * self._priors[kind]) / (
                    self._trials[kind] + self._weight
                )
