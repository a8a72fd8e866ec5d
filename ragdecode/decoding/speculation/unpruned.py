"""The tree of a draft whose tokens were drawn: all of it or an error, because tests of draws need every draw."""

from __future__ import annotations

from collections.abc import Sequence

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.tree import MODEL, Tree
from ragdecode.errors import InputError


def unpruned(
    root: int,
    drafts: Sequence[tuple[str, Draft]],
    *,
    nodes: int,
    max_depth: int,
    vocab_size: int,
    end_tokens: frozenset[int],
    chain: bool = False,
) -> Tree:
    """The only draft as a tree, with siblings in the order of drawing.

    Left out are only whole groups of siblings, for reasons that were there before they were drawn: those below
    ``max_depth``, and those that would follow an end token, where no walk arrives.

    Raises:
        InputError: It has siblings, and ``chain`` says that the test knows one draw a node.
        ValueError: The draft is larger than the room, or its draws are not what a test can judge: the drafter's
            fault, for a tree that were cut to fit would break the law without a sign.
    """
    ((source, draft),) = drafts
    tokens, parents, depths, sources = [root], [-1], [0], [(MODEL,)]
    drawn, place = {}, {-1: 0}  # index in the draft -> node
    siblings: dict[int, set[int]] = {}
    names = draft.sources or (source,) * len(draft.tokens)
    for index, (token, parent, name) in enumerate(zip(draft.tokens, draft.parents, names, strict=True)):
        above = place.get(parent)
        if above is None or depths[above] >= max_depth or (above and tokens[above] in end_tokens):
            continue
        known = siblings.setdefault(above, set())
        if not 0 <= token < vocab_size or token in known:
            raise ValueError(f"drafter {source}: token {token} was drawn twice, or is outside the vocabulary")
        known.add(token)
        place[index] = len(tokens)
        tokens.append(token)
        parents.append(above)
        depths.append(depths[above] + 1)
        sources.append((name,))
    if chain and any(len(known) > 1 for known in siblings.values()):
        raise InputError(
            f"the drafter {source} draws several tokens a node, and the published test of a rule judges one",
            hint="let it draw a chain (branch: 1), or take another mode of the rule",
        )
    if len(tokens) > nodes:
        raise ValueError(
            f"drafter {source} drew {len(tokens) - 1} tokens where there is room for {nodes - 1}; none of them may be "
            "left out: raise decode.max_draft_nodes, or make its draft smaller"
        )
    for parent, log_probs in draft.drawn.items():
        if (node := place.get(parent)) in siblings:
            if log_probs.shape != (vocab_size,):
                raise ValueError(f"drafter {source}: {tuple(log_probs.shape)} is no distribution over {vocab_size}")
            drawn[node] = log_probs
    order = sorted(range(len(tokens)), key=lambda node: (depths[node], node))  # stable: siblings stay in order
    new = {node: index for index, node in enumerate(order)}
    return Tree(
        [tokens[node] for node in order],
        [new[parents[node]] if node else -1 for node in order],
        [depths[node] for node in order],
        [sources[node] for node in order],
        {new[node]: log_probs for node, log_probs in drawn.items()},
    )
