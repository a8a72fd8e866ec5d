"""How several drafts become one tree."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.tree import MODEL, Tree


def fuse(
    root: int,
    drafts: Iterable[tuple[str, Draft]],
    *,
    nodes: int,
    max_depth: int,
    vocab_size: int,
    end_tokens: frozenset[int],
) -> Tree:
    """Merge drafts into one tree of at most ``nodes`` nodes, by longest common prefix (one trie).

    A merged node keeps the best of its scores, which is never above its parent's, so that the best nodes by score
    always form a tree. Left out are ids outside the vocabulary, nodes below ``max_depth``, and what would follow
    an end token.
    """
    tokens, parents, depths, scores = [root], [-1], [0], [float("inf")]
    sources: list[tuple[str, ...]] = [(MODEL,)]
    children: dict[tuple[int, int], int] = {}
    for source, draft in drafts:
        place = {-1: 0}  # index in the draft -> node of the trie
        names = draft.sources or (source,) * len(draft.tokens)
        for index, (token, parent, score, name) in enumerate(
            zip(draft.tokens, draft.parents, draft.scores, names, strict=True)
        ):
            above = place.get(parent)
            if above is None or depths[above] >= max_depth or not 0 <= token < vocab_size:
                continue
            if above and tokens[above] in end_tokens:
                continue
            node = children.get((above, token))
            bounded = min(0.0 if math.isnan(score) else score, scores[above])
            if node is None:
                node = len(tokens)
                children[above, token] = node
                tokens.append(token)
                parents.append(above)
                depths.append(depths[above] + 1)
                scores.append(bounded)
                sources.append((name,))
            else:
                scores[node] = max(scores[node], bounded)
                if name not in sources[node]:
                    sources[node] += (name,)
            place[index] = node
    order = sorted(range(len(tokens)), key=lambda node: (-scores[node], depths[node], node))[:nodes]
    order.sort(key=lambda node: (depths[node], node))
    new = {node: index for index, node in enumerate(order)}
    return Tree(
        [tokens[node] for node in order],
        [new[parents[node]] if node else -1 for node in order],
        [depths[node] for node in order],
        [sources[node] for node in order],
    )
