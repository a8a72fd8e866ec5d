"""Whether a reranker looks at the order in which it gets its passages rather than at what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from ragdecode.documents.passage import Passage
from ragdecode.errors import InputError
from ragdecode.indexing.hit import Hit

#: lists of hits -> the same, reordered; the lists are independent of one another
Reorder = Callable[[Sequence[list[Hit]]], list[list[Hit]]]


def position_bias(reorder: Reorder, text: str, *, passages: int = 8, trials: int = 64, seed: int = 0) -> float:
    """Mean rank correlation (Spearman's rho) of input order and output order over identical passages.

    All passages of a trial have the same text, so nothing but their order (and their ids, which are random) tells
    them apart. Scoring passages one by one gives a value near 0: the larger of chance alone is about
    ``2 / sqrt(trials * (passages - 1))``. 1 means that the order stays, -1 that it is turned round.

    Args:
        reorder: The reranker, such as ``lambda hits: stage.refine([query] * len(hits), hits, context)``; it must
            keep all passages.
        text: What all passages say.
        passages: Passages in a trial; at least 2.
        trials: Lists to reorder.
        seed: Of the ids.

    Raises:
        InputError: There are too few passages or trials, or passages were lost or added.
    """
    if passages < 2 or trials < 1:
        raise InputError(f"expected at least 2 passages and 1 trial; found {passages} and {trials}")
    given = [[_copy(text, f"{seed} {trial} {at}") for at in range(passages)] for trial in range(trials)]
    total = 0.0
    for before, after in zip(given, reorder(given), strict=True):
        place = {hit.passage.id: at for at, hit in enumerate(before)}
        if sorted(hit.passage.id for hit in after) != sorted(place):
            raise InputError("the reranker must keep all passages and add none", hint=f"set its top_k to {passages}")
        squares = sum((at - place[hit.passage.id]) ** 2 for at, hit in enumerate(after))
        total += 1 - 6 * squares / (passages * (passages**2 - 1))
    return total / trials


def _copy(text: str, place: str) -> Hit:
    name = blake2b(place.encode(), digest_size=8).hexdigest()
    return Hit(Passage(name, text, "copy", None, "", 0, len(text), len(text.split())), 0.0)
