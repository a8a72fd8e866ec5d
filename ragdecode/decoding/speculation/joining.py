"""Several drafts side by side, of which only the best paths are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ragdecode.decoding.drafter import Draft
from ragdecode.decoding.speculation.candidates import Candidates


def merged(drafts: Sequence[tuple[str, Draft]], nodes: int, vocab_size: int | None = None) -> Draft:
    """The ``nodes`` best paths of all drafts as one tree, for another drafter to look at: of no value until then.

    Ids outside the vocabulary, which no model could read, are left out with what follows them.
    """
    trie = Candidates()
    for _, draft in drafts:
        trie.take_in(_readable(draft, vocab_size))
    draft = trie.draft(trie.best(nodes))
    return replace(draft, scores=[0.0] * len(draft.tokens), sources=())


def _readable(draft: Draft, vocab_size: int | None) -> Draft:
    kept: dict[int, None] = {-1: None}
    for index, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
        if parent in kept and token >= 0 and (vocab_size is None or token < vocab_size):
            kept[index] = None
    return part_of(draft, [index for index in kept if index >= 0])


def best_of(drafts: Sequence[tuple[str, Draft]], nodes: int) -> list[tuple[str, Draft]]:
    """Of all drafts together the ``nodes`` best paths by score, whoever proposes them."""
    trie = Candidates()
    numbers = [trie.take_in(draft) for _, draft in drafts]
    best = set(trie.best(nodes))
    return [
        (name, part_of(draft, [index for index, number in enumerate(places) if number in best]))
        for (name, draft), places in zip(drafts, numbers, strict=True)
    ]


def part_of(draft: Draft, kept: Sequence[int]) -> Draft:
    """Some nodes of a draft, with the parent of each."""
    place = {-1: -1, **{index: new for new, index in enumerate(kept)}}
    return replace(
        draft,
        tokens=[draft.tokens[index] for index in kept],
        parents=[place[draft.parents[index]] for index in kept],
        scores=[draft.scores[index] for index in kept],
        sources=[draft.sources[index] for index in kept] if draft.sources else (),
        classes=[draft.classes[index] for index in kept] if draft.classes else (),
    )


def joined(drafts: Sequence[tuple[str, Draft]]) -> Draft:
    """All drafts side by side, each node under the name of its drafter; whoever fuses them merges equal paths."""
    tokens: list[int] = []
    parents: list[int] = []
    scores: list[float] = []
    sources: list[str] = []
    classes: list[int] = []
    for name, draft in drafts:
        first = len(tokens)
        tokens += draft.tokens
        parents += [parent if parent < 0 else first + parent for parent in draft.parents]
        scores += draft.scores
        sources += draft.sources or [name] * len(draft.tokens)
        classes += draft.classes or [0] * len(draft.tokens)
    return Draft(tokens, parents, scores, sources=sources, classes=classes)
