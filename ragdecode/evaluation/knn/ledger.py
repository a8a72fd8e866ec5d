"""The help and hurt ledger: which tokens win by the votes, which lose, and where the total comes from.

Two identities hold for every weight above 0, and are tested: a token wins exactly if the neighbours give it more than
the model does, and no token loses more than ``-log(1 - weight)``, while what one can win has no bound. So a mean can
rise while most tokens lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.evaluation.knn.resampling import mean, stretches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.evaluation.knn.votes import TokenVotes

#: shares of the tokens that win most
_TOP = (0.01, 0.05, 0.1)
#: groups of equal numbers of tokens by distance of the nearest neighbour
_FIFTHS = 5
_PROBABILITY = (0.001, 0.01, 0.1, 0.5, 0.9)
_FREQUENCY = (1, 10, 100, 1000, 10_000)
_POSITION = (64, 256, 1024, 4096)


def ledger(votes: TokenVotes, classes: Sequence[str], frequency: NDArray[np.int64]) -> dict[str, Any]:
    """The ledger as plain data; gains in nats a token.

    Args:
        votes: The tokens.
        classes: The class of each ``[M]``, see `token_class`.
        frequency: How often each stands in the memory ``[M]``.
    """
    gain, groups = votes.gain, stretches(votes.text, votes.place)
    wins, loses = gain > 0, gain < 0
    heaviest = float(votes.weight.max(initial=0.0))
    return {
        "helped": mean(wins.astype(np.float64), groups),
        "hurt": mean(loses.astype(np.float64), groups),
        "mean_helped": _mean(gain[wins]),
        "mean_hurt": _mean(gain[loses]),
        "largest_loss": float(gain.min(initial=0.0)),
        "bound": float(np.log1p(-heaviest)),
        "top": [_top(gain, groups, share) for share in _TOP],
        "groups": {
            "class": _by_name(votes, groups, classes),
            "distance": _by_edge(votes, groups, votes.nearest, _fifths(votes.nearest), _distance),
            "probability": _by_edge(votes, groups, np.exp(votes.lm), _PROBABILITY, _probability),
            "frequency": _by_edge(votes, groups, frequency, _FREQUENCY, _times),
            "position": _by_edge(votes, groups, votes.place, _POSITION, _place),
        },
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _top(gain: NDArray[np.float64], groups: NDArray[np.int64], share: float) -> dict[str, Any]:
    """What the share of tokens that win most has of the total, and the mean of the rest."""
    order = np.argsort(-gain, kind="stable")
    count = max(1, round(share * len(gain)))
    total, rest = float(gain.sum()), np.sort(order[count:])
    return {
        "share": share,
        "tokens": count,
        "of_gain": float(gain[order[:count]].sum() / total) if total > 0 else None,
        "rest": mean(gain[rest], groups[rest]),
    }


def _row(votes: TokenVotes, groups: NDArray[np.int64], name: str, inside: NDArray[np.bool_]) -> dict[str, Any]:
    gain, total = votes.gain[inside], float(votes.gain.sum())
    return {
        "name": name,
        "tokens": int(inside.sum()),
        "helped": float((gain > 0).mean()),
        "gain": mean(gain, groups[inside]),
        "total": float(gain.sum()),
        "of_gain": float(gain.sum() / total) if total > 0 else None,
    }


def _by_name(votes: TokenVotes, groups: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    known = np.asarray(names)
    found = [_row(votes, groups, str(name), known == name) for name in np.unique(known)]
    return sorted(found, key=lambda row: -row["tokens"])


def _by_edge(
    votes: TokenVotes,
    groups: NDArray[np.int64],
    values: NDArray[Any],
    edges: Sequence[float],
    name: Callable[[float | None, float | None], str],
) -> list[dict[str, Any]]:
    """Groups between edges; a value that is equal to one belongs to what is above it."""
    place = np.searchsorted(np.asarray(edges, np.float64), values, side="right")
    ends = [None, *edges, None]
    return [
        _row(votes, groups, name(ends[at], ends[at + 1]), place == at)
        for at in range(len(edges) + 1)
        if (place == at).any()
    ]


def _fifths(values: NDArray[np.float64]) -> list[float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    edges: list[float] = np.unique(np.quantile(known, np.arange(1, _FIFTHS) / _FIFTHS)).tolist()
    return edges


def _between(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    if low is None:
        return "all" if high is None else f"below {write(high)}"
    return f"{write(low)} and more" if high is None else f"{write(low)} to {write(high)}"


def _distance(low: float | None, high: float | None) -> str:
    return _between(low, high, lambda value: f"{value:.3g}")


def _probability(low: float | None, high: float | None) -> str:
    return _between(low, high, lambda value: f"{value:g}")


def _times(low: float | None, high: float | None) -> str:
    return "never" if low is None else _between(low, high, lambda value: f"{value:,.0f}") + " times"


def _place(low: float | None, high: float | None) -> str:
    return _between(low, high, lambda value: f"{value:,.0f}")


def token_class(text: str) -> str:
    """What kind of token a text is, as a tokenizer writes it alone, with the blank before it."""
    bare = text.strip()
    if not bare:
        return "blank"
    if any(one.isdigit() for one in bare):
        return "number"
    if not any(one.isalpha() for one in bare):
        return "punctuation"
    if not text[0].isspace():
        return "rest of a word"
    return "capitalised word" if bare[0].isupper() else "word"


def examples(votes: TokenVotes, count: int) -> Mapping[str, list[int]]:
    """Rows of the tokens that won most and lost most, one a stretch of text."""
    groups = stretches(votes.text, votes.place)
    found: dict[str, list[int]] = {}
    for name, order in (("helped", np.argsort(-votes.gain)), ("hurt", np.argsort(votes.gain))):
        sign = 1 if name == "helped" else -1
        seen: set[int] = set()
        rows: list[int] = []
        for row in order.tolist():
            if len(rows) == count or sign * votes.gain[row] <= 0:
                break
            if int(groups[row]) not in seen:
                seen.add(int(groups[row]))
                rows.append(row)
        found[name] = rows
    return found
