"""Drafts of a model with another vocabulary, written again in the target's tokens (string-level exact match, SLEM)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.vocabulary.utf8 import complete, leading_rest
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

#: What a token counts that more text might still change: about half of them are right.
UNSETTLED = 0.5
#: Added to the class of such a token, so that its acceptance is counted apart.
UNSETTLED_CLASS = 100


def continue_in(vocabulary: Vocabulary, behind: Sequence[int], before: bytes, text: bytes) -> list[int]:
    """Tokens that write the beginning of ``text`` after the tokens ``behind``, as the tokenizer would.

    The last tokens are read again together with the new text, for a tokenizer sees across their border; if it would
    draw no border there, the new text is read alone. A character of which bytes are missing at the end is left out.

    Args:
        vocabulary: The target's.
        behind: Last tokens of the answer, from a character's beginning.
        before: Their bytes.
        text: What follows, as bytes.

    Returns:
        Tokens whose bytes are a prefix of ``text``; none if the vocabulary cannot write it.
    """
    joined = before + text
    joined = joined[: complete(joined)]
    if len(joined) <= len(before):
        return []
    ids = vocabulary.read(joined)
    if ids is not None:
        ends = list(accumulate(len(vocabulary.writes(id_) or b"") for id_ in ids))
        if len(before) in ends:
            return ids[ends.index(len(before)) + 1 :]
        if not before:
            return ids
    text = joined[len(before) :]
    split = leading_rest(text)  # the rest of a character that the answer has begun
    head, tail = vocabulary.read(text[:split]), vocabulary.read(text[split:])
    return [] if head is None or tail is None else [*head, *tail]


def rewrite(draft: Draft, source: Vocabulary, target: Vocabulary, behind: Sequence[int], before: bytes) -> Draft:
    """A draft tree in the target's tokens.

    Every path is written again as a whole, and the paths are merged. A token has the score and the class of the
    draft's token that completes it; what more text might change counts half. A path ends before a control token.

    Args:
        draft: The tree in the source's tokens.
        source: The draft model's vocabulary.
        target: The vocabulary to write in.
        behind: Last tokens of the answer in the target's vocabulary, from a character's beginning.
        before: Their bytes.
    """
    merged = _Merged()
    dead: set[int] = set()
    for node, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
        if parent in dead or not source.writes(token):
            dead.add(node)
    alive = [node for node in range(len(draft.tokens)) if node not in dead]
    above = {draft.parents[node] for node in alive}
    for leaf in alive:
        if leaf in above:
            continue
        path = [leaf]
        while (parent := draft.parents[path[-1]]) >= 0:
            path.append(parent)
        path.reverse()
        text = source.write(draft.tokens[node] for node in path)
        reach = list(accumulate(len(source.writes(draft.tokens[node]) or b"") for node in path))
        kinds = [draft.classes[node] if draft.classes else 0 for node in path]
        steps = list(zip(reach, [draft.scores[node] for node in path], kinds, strict=True))
        merged.add(continue_in(target, behind, before, text), target, steps)
    return Draft(merged.tokens, merged.parents, merged.scores, classes=merged.classes)


class _Merged:
    """Paths in one tree."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.scores: list[float] = []
        self.classes: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def add(self, ids: Sequence[int], vocabulary: Vocabulary, steps: Sequence[tuple[int, float, int]]) -> None:
        """Add a path; ``steps`` are the byte that each of the draft's own tokens ends at, its score and its class."""
        node, end, step = -1, 0, 0
        for place, id_ in enumerate(ids):
            end += len(vocabulary.writes(id_) or b"")
            while steps[step][0] < end:
                step += 1
            _, score, kind = steps[step]
            if place == len(ids) - 1 and vocabulary.may_grow(id_):
                score, kind = score * UNSETTLED, kind + UNSETTLED_CLASS
            child = self._children.get((node, id_))
            if child is None:
                child = len(self.tokens)
                self._children[node, id_] = child
                self.tokens.append(id_)
                self.parents.append(node)
                self.scores.append(score)
                self.classes.append(kind)
            elif score > self.scores[child]:
                self.scores[child], self.classes[child] = score, kind
            node = child
