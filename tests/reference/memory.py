"""A memory in plain numpy, float64: every key of every text one by one, every distance by a sum of squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def entries(
    texts: Sequence[Sequence[int]],
    read: Callable[[Sequence[int]], np.ndarray],
    window: int,
    stride: int,
    context: int,
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Keys ``[N, W]``, the tokens that follow ``[N]``, and (text, place of that token) of each.

    The vector at place p comes from the first window, of those that begin at multiples of the stride, that holds it.

    Args:
        texts: Token ids.
        read: Vectors of a stretch of text, at all of its tokens.
        window: Tokens of a stretch.
        stride: From one stretch to the next.
        context: Least place of a token that follows.
    """
    keys, values, places = [], [], []
    for number, text in enumerate(texts):
        for place in range(context, len(text)):
            last, start = place - 1, 0
            while start + window <= last:
                start += stride
            stretch = text[start : min(start + window, len(text) - 1)]
            keys.append(read(stretch)[last - start])
            values.append(text[place])
            places.append((number, place))
    return np.array(keys), np.array(values), places


def nearest(keys: np.ndarray, query: np.ndarray, k: int, leave_out: range = range(0)) -> tuple[list[int], list[float]]:
    """The nearest k keys and their squared distances; equally far ones in their order."""
    far = [float(((key - query) ** 2).sum()) for key in keys.astype(np.float64)]
    order = sorted((at for at in range(len(keys)) if at not in leave_out), key=lambda at: (far[at], at))[:k]
    return order, [far[at] for at in order]
