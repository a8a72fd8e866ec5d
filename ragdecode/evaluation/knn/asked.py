"""Held-out tokens with all that kNN-LM is tuned by: what the model gave them, and who voted for them.

Shapes: M tokens, k neighbours, W numbers of a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.knn.neighbours import Store
    from ragdecode.evaluation.knn.portions import Portions

#: tokens whose votes are counted at once
_AT_ONCE = 4096


@dataclass(frozen=True)
class Asked:
    """Tokens, one row each.

    Attributes:
        lm: Log-probability under the model, in nats ``[M]``.
        distances: Squared distances of the neighbours, nearest first; infinite where there is none ``[M, k]``.
        right: Whether each neighbour votes for the token that came ``[M, k]``.
        states: The vectors that the memory was asked with ``[M, W]``.
        entropy: Entropy of what the model predicted, in nats ``[M]``.
        top: Log-probability of its best token ``[M]``.
        last: The token before ``[M]``.
        text: Number of the text ``[M]``.
        place: Place of the token in it ``[M]``.
    """

    lm: NDArray[np.float64]
    distances: NDArray[np.float32]
    right: NDArray[np.bool_]
    states: NDArray[np.float32]
    entropy: NDArray[np.float64]
    top: NDArray[np.float64]
    last: NDArray[np.int64]
    text: NDArray[np.int64]
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lm)

    def where(self, rows: NDArray[np.bool_]) -> Asked:
        """Some of the tokens."""
        return Asked(*(getattr(self, one.name)[rows] for one in fields(self)))

    def votes(self, temperature: float) -> NDArray[np.float64]:
        """Log-probability of each token under the neighbours; minus infinity where none votes for it ``[M]``."""
        return log_votes(self.distances, self.right, temperature)


def log_votes(distances: NDArray[np.float32], right: NDArray[np.bool_], temperature: float) -> NDArray[np.float64]:
    """Log-probability under the neighbours; minus infinity where none votes for the token ``[M]``.

    Args:
        distances: Squared distances, nearest first; infinite where there is no neighbour ``[M, k]``.
        right: Whether each votes for the token ``[M, k]``.
        temperature: Of the votes.
    """
    found = np.zeros(len(distances))
    for first in range(0, len(distances), _AT_ONCE):
        far = distances[first : first + _AT_ONCE].astype(np.float64)
        nearest = np.where(np.isfinite(far[:, :1]), far[:, :1], 0.0)
        shares = np.exp(-(far - nearest) / temperature)
        own = (shares * right[first : first + _AT_ONCE]).sum(axis=1)
        found[first : first + _AT_ONCE] = own / np.maximum(shares.sum(axis=1), np.finfo(np.float64).tiny)
    with np.errstate(divide="ignore"):
        logs: NDArray[np.float64] = np.log(found)
    return logs


def ask(
    backend: Backend, store: Store, portions: Portions, key: str, k: int, vocab_size: int, progress: Progress = silent
) -> Asked:
    """Read the portions and ask the store at every token.

    Args:
        backend: The model.
        store: The memory.
        portions: What is read.
        key: The vector that is compared.
        k: Neighbours, not more than the store has.
        vocab_size: Tokens of the tokenizer.
        progress: Told what is done.
    """
    parts: list[dict[str, Any]] = []
    done = 0
    for window in portions.windows:
        progress("reading held-out text", done, portions.tokens)
        ids = portions.texts[window.document][window.start : window.stop + 1]
        for part in _window(backend, store, ids, window.first - window.start, key, k, vocab_size):
            rows = len(part["lm"])
            places = part.pop("place") + window.start
            parts.append({**part, "place": places, "text": np.full(rows, window.document, np.int64)})
            done += rows
    progress("reading held-out text", done, portions.tokens)
    return Asked(**{one.name: np.concatenate([part[one.name] for part in parts]) for one in fields(Asked)})


def _window(
    backend: Backend, store: Store, ids: Sequence[int], first: int, key: str, k: int, vocab_size: int
) -> list[dict[str, Any]]:
    import torch

    from ragdecode.evaluation.knn.reading import predictions

    found = []
    for logits, tap, places in predictions(backend, ids, first, key):
        log_probs = torch.log_softmax(logits[:, :vocab_size].double(), dim=-1)
        gold = torch.tensor([ids[place + 1] for place in places], device=log_probs.device)
        probs = log_probs.exp()
        near = store.search(tap, k)
        figures = {
            "lm": log_probs.gather(1, gold[:, None])[:, 0],
            "distances": near.distances.float(),
            "right": near.values == gold[:, None],
            "states": tap.float(),
            "entropy": -torch.xlogy(probs, probs).sum(dim=-1),
            "top": log_probs.amax(dim=-1),
        }
        told = {name: value.cpu().numpy() for name, value in figures.items()}
        found.append({
            **told,
            "last": np.asarray([ids[place] for place in places], np.int64),
            "place": np.asarray(places, np.int64) + 1,
        })  # fmt: skip
    return found
