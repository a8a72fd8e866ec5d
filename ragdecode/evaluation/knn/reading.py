"""Reads texts with the model and asks the memory at every token; what was read once is kept on disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.evaluation.knn.votes import TokenVotes
from ragdecode.indexing.memory.windows import Window

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.knn.asking import Asking

#: tokens of one pass and one search
_AT_ONCE = 256
#: Changes whenever what is kept changes its meaning.
_FORMAT = 1


class Reader:
    """Model and memory, asked at every token of texts.

    Args:
        backend: The model.
        asking: The memory, and how it is asked.
        starts: First entry of each of its documents, and one beyond the last ``[D + 1]``.
        key: The vector that is compared.
        vocab_size: Tokens of the tokenizer.
        identity: All that results depend on besides the tokens: model, memory and settings.
        folder: Where results are kept; nowhere if left out.
    """

    def __init__(
        self, backend: Backend, asking: Asking, starts: Any, key: str, vocab_size: int, identity: str,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        self._backend = backend
        self._asking = asking
        self._starts = starts
        self._key = key
        self._vocab_size = vocab_size
        self._identity = identity
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def read(self, ids: Sequence[int], wanted: Iterable[Window], text: int = 0) -> TokenVotes:
        """What model and memory give to the tokens of a text that windows want; see `indexing.memory.windows`."""
        parts = [self._window(ids, window, text) for window in wanted]
        return TokenVotes.joined(parts)

    def _window(self, ids: Sequence[int], window: Window, text: int) -> TokenVotes:
        own = list(ids[window.start : window.stop + 1])
        first = window.first - window.start
        file = None
        if self._folder is not None:
            told = f"{_FORMAT} {self._identity} {first} {own}".encode()
            file = self._folder / f"{hashlib.sha256(told).hexdigest()[:32]}.npz"
        found = _kept(file)
        if found is None:
            found = self._computed(own, first)
            if file is not None:
                _keep(file, found)
        count = len(own) - 1 - first
        return TokenVotes(
            gold=np.asarray(own[first + 1 :], np.int64), text=np.full(count, text, np.int64),
            place=np.arange(window.first + 1, window.first + 1 + count), **found,
        )  # fmt: skip

    def _computed(self, ids: Sequence[int], first: int) -> dict[str, Any]:
        """The figures of what follows the places from ``first`` on, but for the last token, which nothing follows."""
        parts = [
            self._asked(logits, tap, ids, places)
            for logits, tap, places in predictions(self._backend, ids, first, self._key)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _asked(self, logits: torch.Tensor, tap: torch.Tensor, ids: Sequence[int], places: range) -> dict[str, Any]:
        import torch

        from ragdecode.decoding.rule import Nodes

        wide = logits[:, : self._vocab_size]
        log_probs = torch.log_softmax(wide if wide.dtype is torch.float64 else wide.float(), dim=-1)
        gold = torch.tensor([ids[place + 1] for place in places], device=log_probs.device)
        voted = self._asking.everywhere(
            Nodes(
                log_probs,
                {},
                tokens=[ids[place] for place in places],
                parents=[-1] * len(places),
                taps={self._key: tap},
            )
        )
        told = voted.signals(self._vocab_size)
        share = voted.share.double()
        figures = {
            "lm": log_probs.gather(1, gold[:, None])[:, 0],
            "lm_entropy": -torch.xlogy(log_probs.exp(), log_probs.exp()).sum(dim=-1),
            "votes": torch.where(voted.values == gold[:, None], share, 0.0).sum(dim=-1),
            "entropy": told["entropy"],
            "spread": told["spread"],
            "nearest": voted.distances[:, 0],
            "weight": told["weight"],
        }
        found = {name: value.double().cpu().numpy() for name, value in figures.items()}
        found["sources"] = self._sources(voted.rows.cpu().numpy(), share.cpu().numpy())
        return found

    def _sources(self, rows: Any, share: Any) -> Any:
        """``exp`` of the entropy of the votes over documents ``[N]``."""
        documents = np.searchsorted(self._starts, rows, side="right") - 1
        sums = np.zeros((len(rows), len(self._starts)))
        np.add.at(sums, (np.arange(len(rows))[:, None], documents), np.where(rows >= 0, share, 0.0))
        logs = np.log(sums, where=sums > 0, out=np.zeros_like(sums))
        return np.exp(-(sums * logs).sum(axis=1))


def predictions(
    backend: Backend, ids: Sequence[int], first: int, key: str
) -> Iterator[tuple[torch.Tensor, torch.Tensor, range]]:
    """Read tokens, and tell what is predicted behind places, a few hundred at a time.

    Args:
        backend: The model.
        ids: The tokens; the last one is predicted, not read.
        first: First place that is told of.
        key: A vector inside the model.

    Yields:
        Logits ``[n, V]``, the vectors ``[n, W]``, and the n places that have read their token.
    """
    from ragdecode.decoding.backend import Segment

    row = backend.open_row(len(ids))
    try:
        for start in range(0, len(ids) - 1, _AT_ONCE):
            stop = min(start + _AT_ONCE, len(ids) - 1)
            outputs = range(max(0, first - start), stop - start)
            tokens = ids[start:stop]
            segment = Segment(row, start, tokens, range(len(tokens)), None, outputs)
            told = backend.forward([segment], taps=(key,), logits=bool(outputs))
            if outputs:
                yield told.logits, told.taps[key], range(start + outputs.start, stop)
    finally:
        backend.close_row(row)


def _kept(file: Path | None) -> dict[str, Any] | None:
    """What a file holds; None if it is not there, or not whole."""
    if file is None or not file.is_file():
        return None
    with suppress(Exception), np.load(file, allow_pickle=False) as held:  # damaged in whatever way: computed again
        names = {one.name for one in fields(TokenVotes)} - {"gold", "text", "place"}
        if set(held.files) == names:
            return {name: held[name] for name in names}
    return None


def _keep(file: Path, found: dict[str, Any]) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **found)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
