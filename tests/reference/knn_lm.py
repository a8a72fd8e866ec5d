"""kNN-LM in plain numpy, float64, from the paper: every neighbour, every token and every weight by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def neighbours(keys: np.ndarray, query: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """The nearest k keys and their squared distances; equally far ones in their order."""
    far = [float(np.sum((key.astype(np.float64) - query) ** 2)) for key in keys]
    order = sorted(range(len(keys)), key=lambda at: (far[at], at))[:k]
    return order, [far[at] for at in order]


def votes(values: Sequence[int], far: Sequence[float], heat: float, vocab: int) -> list[float]:
    """p_knn: softmax(-d / T) over the neighbours, summed by token."""
    weights = [math.exp(-(d - min(far)) / heat) for d in far]
    table = [0.0] * vocab
    for value, weight in zip(values, weights, strict=True):
        table[value] += weight / sum(weights)
    return table


def mixed(model: Sequence[float], table: Sequence[float], weight: float) -> list[float]:
    """(1 - lambda) p_lm + lambda p_knn."""
    return [(1 - weight) * p + weight * q for p, q in zip(model, table, strict=True)]


def entropy(table: Sequence[float]) -> float:
    """In nats."""
    return -sum(p * math.log(p) for p in table if p > 0)


def by_entropy(model: Sequence[float], table: Sequence[float], k: int, most: float, above: float) -> float:
    """lambda0 [H_lm > tau] (1 - H_knn / log k)."""
    return most * (1 - entropy(table) / math.log(k)) if entropy(model) > above else 0.0


def by_distance(nearest: float, edges: Sequence[float], weights: Sequence[float]) -> float:
    """The weight of the bucket that a distance is in."""
    return weights[sum(nearest >= edge for edge in edges)]


def heat(keys: np.ndarray, sample: int, k: int, listen: float) -> float:
    """The temperature at which the median of exp(H) over evenly spread keys, each without itself, is ``listen``."""
    count = min(sample, len(keys))
    tables = []
    for number in range(count):
        own = number * len(keys) // count
        _, far = neighbours(np.delete(keys, own, axis=0), keys[own].astype(np.float64), min(k, len(keys) - 1))
        tables.append(far)
    wanted = min(listen, len(tables[0]) / 2)

    def median(temperature: float) -> float:
        found = []
        for far in tables:
            weights = np.exp(-(np.array(far) - min(far)) / temperature)
            found.append(math.exp(entropy((weights / weights.sum()).tolist())))
        return float(np.median(found))

    low, high = 1e-12, 1e12
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if median(middle) < wanted else (low, middle)
    return low


class Pointers:
    """RetoMaton: neighbours that were right lead to the next ones; a search only where fewer than ``fewest`` remain."""

    def __init__(self, keys: np.ndarray, values: Sequence[int], ends: Sequence[int], k: int, fewest: int) -> None:
        self.keys, self.values, self.ends, self.k, self.fewest = keys, list(values), set(ends), k, fewest
        self.rows: list[int] = []
        self.searches = 0

    def step(self, query: np.ndarray, token: int | None) -> tuple[list[int], list[float]]:
        """Neighbours of a query, after ``token`` came (None at the beginning)."""
        led = [row + 1 for row in self.rows if self.values[row] == token and row not in self.ends]
        if token is not None and len(led) >= self.fewest:
            far = {row: float(np.sum((self.keys[row].astype(np.float64) - query) ** 2)) for row in led}
            self.rows = sorted(led, key=lambda row: (far[row], row))
            return self.rows, [far[row] for row in self.rows]
        self.searches += 1
        self.rows, found = neighbours(self.keys, query, self.k)
        return self.rows, found
