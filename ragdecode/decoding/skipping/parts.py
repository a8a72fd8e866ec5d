"""The sub-layers that may be left out, and sets of them to begin with."""

from __future__ import annotations

from collections.abc import Collection

from ragdecode.errors import InputError


def inner_parts(layers: int) -> list[int]:
    """The sub-layers of all layers but the first and the last: 2 l the attention, 2 l + 1 the feed-forward part."""
    return list(range(2, 2 * layers - 2))


def skip_count(layers: int, ratio: float) -> int:
    """How many inner sub-layers a ratio leaves out; at least one, and never all."""
    inner = len(inner_parts(layers))
    return min(max(round(ratio * inner), 1), inner - 1)


def alternate(layers: int, count: int) -> frozenset[int]:
    """``count`` inner sub-layers in whole layers that lie evenly apart; an odd one is an attention.

    This is what SWIFT begins with (arXiv 2410.06916): every other layer, where the count allows.
    """
    inner, pairs = layers - 2, (count + 1) // 2
    chosen = [1 + (2 * index + 1) * inner // (2 * pairs) for index in range(pairs)]
    parts = [part for layer in chosen for part in (2 * layer, 2 * layer + 1)]
    return frozenset(parts[:count])


def check_skip(skip: Collection[int], layers: int) -> None:
    """Refuse a list of sub-layers that the model does not have, or that leaves nothing.

    Raises:
        InputError: Why it cannot be.
    """
    last = 2 * layers - 1
    wrong = sorted(part for part in skip if part > last)
    if wrong:
        raise InputError(
            f"the drafter 'self' cannot skip {', '.join(map(str, wrong))}: the model has {layers} layers, so "
            f"sub-layers 0 to {last}",
            hint="2 l is the attention of layer l, 2 l + 1 its feed-forward part",
        )
    if len(set(skip)) == 2 * layers:
        raise InputError("the drafter 'self' cannot skip all sub-layers", hint="keep at least the first and last layer")
