"""How several drafts become one tree: a trie of all their paths, and the best nodes of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypedDict

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.speculation.acceptance import (
    AGREED,
    ALONE,
    CONTESTED,
    AnswerAcceptance,
    Guess,
    kind_of,
)
from ragdecode.decoding.tree import MODEL, Tree


class Room(TypedDict):
    """What a tree may hold; see `fuse`."""

    nodes: int
    max_depth: int
    vocab_size: int
    end_tokens: frozenset[int]


class Trie:
    """Everything that the drafters of a request propose in one step, equal paths merged (longest common prefix).

    Left out are ids outside the vocabulary, nodes below ``max_depth``, and what would follow an end token. Node 0
    is the last accepted token.

    Attributes:
        tokens: Token of each node.
        parents: Parent of each node, -1 for node 0; parents come before children.
        scores: Estimated probability that the path down to each node is accepted; never above its parent's, so that
            the best nodes always form a tree. First the drafters' own, the best of them; after `judge` calibrated.
        sources: The drafters that proposed each node.
    """

    def __init__(self, root: int, *, max_depth: int, vocab_size: int, end_tokens: frozenset[int]) -> None:
        self._max_depth, self._vocab, self._ends = max_depth, vocab_size, end_tokens
        self.tokens, self.parents, self.scores = [root], [-1], [1.0]
        self.sources: list[tuple[str, ...]] = [(MODEL,)]
        self._depths = [0]
        self._guesses: list[list[Guess]] = [[]]
        self._children: dict[tuple[int, int], int] = {}
        self._under: dict[int, set[str]] = {}  # who guessed what follows a node
        self._whole: set[int] = set()

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, source: str, draft: Draft) -> None:
        """Insert a draft. Its cost is in proportion to its own nodes."""
        place = {-1: 0}  # index in the draft -> node of the trie
        names, kinds = draft.sources, draft.classes
        for index, (token, parent, score) in enumerate(zip(draft.tokens, draft.parents, draft.scores, strict=True)):
            above = place.get(parent)
            if above is None or self._depths[above] >= self._max_depth or not 0 <= token < self._vocab:
                continue
            if above and self.tokens[above] in self._ends:
                continue
            name = names[index] if names else source
            claim = _claim(score, 1.0 if parent < 0 else draft.scores[parent])
            guess = Guess(name, kinds[index] if kinds else kind_of(claim), claim)
            bounded = min(0.0 if math.isnan(score) else score, self.scores[above])
            node = self._children.get((above, token))
            if node is None:
                node = self._children[above, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(above)
                self._depths.append(self._depths[above] + 1)
                self.scores.append(bounded)
                self.sources.append((name,))
                self._guesses.append([guess])
            else:
                self.scores[node] = max(self.scores[node], bounded)
                if name not in self.sources[node]:
                    self.sources[node] += (name,)
                    self._guesses[node].append(guess)
            self._under.setdefault(above, set()).add(name)
            if draft.whole:
                self._whole.add(node)
            place[index] = node

    def judge(self, acceptance: AnswerAcceptance) -> None:
        """Score every node by what was accepted so far: the product of the estimates down its path.

        At most one sibling can be right: where their estimates sum to more than 1, they share it.
        """
        rates = [acceptance.rate(self._guesses[node], self._standing(node)) for node in range(1, len(self.tokens))]
        sums = [0.0] * len(self.tokens)
        for node, rate in enumerate(rates, start=1):
            sums[self.parents[node]] += rate
        for node, rate in enumerate(rates, start=1):
            above = self.parents[node]
            self.scores[node] = self.scores[above] * rate / max(1.0, sums[above])

    def order(self, *, whole: bool = True) -> list[int]:
        """All nodes but the root, best first; any first n of them form a tree with the root.

        By score, which makes the first n the tree of that size with the longest expected accepted path (OPT-Tree,
        arXiv 2406.17276). Drafts that are wanted as a whole come before all others, unless not ``whole``.
        """
        scores, depths, first = self.scores, self._depths, self._whole if whole else ()
        return sorted(
            range(1, len(self.tokens)), key=lambda node: (node not in first, -scores[node], depths[node], node)
        )

    @property
    def whole(self) -> int:
        """Nodes of drafts that are wanted as a whole."""
        return len(self._whole)

    def cut(self, nodes: Iterable[int]) -> Tree:
        """The tree of some nodes and the root; the parent of each is among them."""
        order = [0, *sorted(nodes, key=lambda node: (self._depths[node], node))]
        new = {node: index for index, node in enumerate(order)}
        return Tree(
            [self.tokens[node] for node in order],
            [new[self.parents[node]] if node else -1 for node in order],
            [self._depths[node] for node in order],
            [self.sources[node] for node in order],
        )

    def grows(self, kept: Iterable[int]) -> list[int]:
        """The nodes that could be added to a tree of some nodes and the root, one at a time."""
        have = {0, *kept}
        return [node for node in range(1, len(self.tokens)) if node not in have and self.parents[node] in have]

    def promise(self, node: int, acceptance: AnswerAcceptance) -> float:
        """How probable a node may be at best, for what is known of it: much where its class was hardly tried."""
        guesses = self._guesses[node]
        width = 1 / math.sqrt(1 + acceptance.trials(guesses))
        return self.scores[self.parents[node]] * min(1.0, acceptance.rate(guesses, self._standing(node)) + width)

    def observe(self, tree: Tree, path: Sequence[int], acceptance: AnswerAcceptance) -> list[int]:
        """Count what verification told of a tree that was cut from here, perhaps without some of its nodes.

        Args:
            tree: The fed tree.
            path: Its nodes on the accepted path, node 0 first.
            acceptance: Takes the trials.

        Returns:
            The accepted nodes, as they are numbered here, without the root.
        """
        own, accepted, hits = [0], set(path), []
        for node in range(1, tree.size):
            mine = self._children[own[tree.parents[node]], tree.tokens[node]]
            own.append(mine)
            if tree.parents[node] in accepted:
                hit = node in accepted
                acceptance.count(self._guesses[mine], self._standing(mine), hit)
                if hit:
                    hits.append(mine)
        return hits

    def _standing(self, node: int) -> int:
        if len(self.sources[node]) > 1:
            return AGREED
        return CONTESTED if len(self._under[self.parents[node]]) > 1 else ALONE


def _claim(score: float, above: float) -> float:
    """The probability of a node given its parent, from the scores of both paths."""
    share = score / above if above > 0 else 0.0
    return min(1.0, max(0.0, share)) if not math.isnan(share) else 0.0  # what is not a number claims nothing


def fuse(
    root: int,
    drafts: Iterable[tuple[str, Draft]],
    *,
    nodes: int,
    max_depth: int,
    vocab_size: int,
    end_tokens: frozenset[int],
    acceptance: AnswerAcceptance | None = None,
) -> Tree:
    """Merge drafts into one tree of at most ``nodes`` nodes, the root included; by their own scores if uncalibrated."""
    trie = Trie(root, max_depth=max_depth, vocab_size=vocab_size, end_tokens=end_tokens)
    for source, draft in drafts:
        trie.add(source, draft)
    if acceptance is not None:
        trie.judge(acceptance)
    return trie.cut(trie.order()[: nodes - 1])
