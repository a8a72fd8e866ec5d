"""Pruning what was retrieved by what a drafter with a distribution makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ragdecode.decoding.drafter import Draft

#: Upper ends of the bins of the judge's probability, by which acceptance of judged tokens is counted.
_BINS = (0.01, 0.1, 0.5)
#: Room for the retrieving drafter's own classes below those bins.
_OWN = 1000


def pruned(
    draft: Draft, told: Sequence[tuple[float, int] | None], *, top_k: int, floor: float, long_match: int
) -> Draft:
    """A retrieved draft without what its judge does not believe in.

    A node's weight is the product down its path of the judge's probability where it has one, else of the draft's
    own. Dropped are nodes whose first token is not among the judge's ``top_k``, and those whose weight is below
    ``floor``, with all that hangs below them. Where at least ``long_match`` of the last tokens were matched the
    judge is not asked: a long match is more reliable than a small model, and what it knows that the model does not
    is what retrieval is for.

    The score that remains is the product of the means of both probabilities (of the draft's own where there is but
    one): what is chosen for the tree should please both, and not be lost where one of them is blind.

    Args:
        draft: What was retrieved, N nodes.
        told: Judge's probability of each token, given its parent, and its rank there; None where it has none [N].
        top_k: How many of the judge's best first tokens are believed in.
        floor: Least weight.
        long_match: Length from which on a match is not judged.
    """
    exempt = draft.matched >= long_match
    place: dict[int, int] = {-1: -1}
    tokens: list[int] = []
    parents: list[int] = []
    scores: list[float] = []
    classes: list[int] = []
    weights: list[float] = []
    kept: list[int] = []
    for index, (token, parent, score) in enumerate(zip(draft.tokens, draft.parents, draft.scores, strict=True)):
        if parent not in place:
            continue
        above = place[parent]
        own = _share(score, draft.scores[parent] if parent >= 0 else 1.0)
        judged = None if exempt else told[index]
        if judged is not None and above < 0 and judged[1] >= top_k:
            continue
        weight = (weights[above] if above >= 0 else 1.0) * (own if judged is None else judged[0])
        if weight < floor:
            continue
        kind = draft.classes[index] if draft.classes else 0
        place[index] = len(tokens)
        kept.append(index)
        tokens.append(token)
        parents.append(above)
        weights.append(weight)
        scores.append((scores[above] if above >= 0 else 1.0) * (own if judged is None else (own + judged[0]) / 2))
        classes.append(kind if judged is None else kind + _OWN * (1 + sum(judged[0] > end for end in _BINS)))
    sources = [draft.sources[index] for index in kept] if draft.sources else ()
    return replace(draft, tokens=tokens, parents=parents, scores=scores, classes=classes, sources=sources)


def _share(score: float, above: float) -> float:
    """The draft's own probability of a node, given its parent."""
    return min(1.0, max(0.0, score / above)) if above > 0 else 0.0
