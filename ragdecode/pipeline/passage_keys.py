"""The passages of a request for rules that compare states of the model: who they are, and their keys."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from ragdecode.indexing.memory.windows import Reading, passes, windows
from ragdecode.pipeline.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ragdecode.indexing.memory.key_model import Key, KeyModel
    from ragdecode.models.tokenizer import Tokenizer

#: longest stretch of a passage that is read together; a longer one is read in windows that overlap by half
_WINDOW = 1024
#: bytes of keys that are kept
_KEPT = 256 << 20


class PassageEncoder:
    """Reads passages one by one with the model that decodes, and keeps what it computed.

    Keys are kept by the text, the model, its precision and the vector; the oldest go first. Threads may share it.

    Args:
        model: Tells vectors.
        tokenizer: Gives the ids.
        kept: Bytes of keys that are kept.
    """

    def __init__(self, model: KeyModel, tokenizer: Callable[[], Tokenizer], kept: int = _KEPT) -> None:
        self._model, self._tokenizer, self._most = model, tokenizer, kept
        self._kept: OrderedDict[tuple[str, ...], tuple[list[int], NDArray[np.float32]]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def facts(self) -> dict[str, str]:
        """What keys are made with: ``model``, ``tokenizer`` and ``dtype``."""
        model = self._model
        return {"model": model.fingerprint, "tokenizer": self._tokenizer().fingerprint, "dtype": model.dtype}

    def of(self, passages: Sequence[Passage]) -> RequestPassages:
        """The passages of a request; nothing is read before it is asked for."""
        return RequestPassages(self, passages)

    def keys(self, texts: Sequence[str], key: Key) -> list[tuple[list[int], NDArray[np.float32]]]:
        """Token ids of each text, and the vectors at all of them but the last ``[n - 1, W]``."""
        names = [self._name(text, key) for text in texts]
        with self._lock:
            found = {name: self._kept[name] for name in names if name in self._kept}
            for name in found:
                self._kept.move_to_end(name)
        new = {name: text for name, text in zip(names, texts, strict=True) if name not in found}
        ids = {name: self._tokenizer().encode(text, special=False) for name, text in new.items()}
        fresh = dict(zip(ids, self._read(list(ids.values()), key), strict=True))
        found |= {name: (ids[name], fresh[name]) for name in ids}
        with self._lock:
            for name in ids:
                self._keep(name, found[name])
        return [found[name] for name in names]

    def _name(self, text: str, key: Key) -> tuple[str, ...]:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return digest, self._model.fingerprint, self._model.dtype, key

    def _keep(self, name: tuple[str, ...], made: tuple[list[int], NDArray[np.float32]]) -> None:
        if name not in self._kept:
            self._kept[name] = made
            self._bytes += made[1].nbytes
        while self._bytes > self._most and len(self._kept) > 1:
            _, (_, old) = self._kept.popitem(last=False)
            self._bytes -= old.nbytes

    def _read(self, texts: Sequence[Sequence[int]], key: Key) -> list[NDArray[np.float32]]:
        """Vectors at all tokens of each text but the last ``[n - 1, W]``."""
        import numpy as np

        window = min(_WINDOW, self._model.max_positions)
        reading = Reading(window, max(1, window // 2), 1)
        parts: list[list[NDArray[np.float32]]] = [[] for _ in texts]
        stretches = chain.from_iterable(windows(at, len(text), 0, reading) for at, text in enumerate(texts))
        for batch in passes(stretches):
            wanted = [one.first - one.start for one in batch]
            told = self._model.vectors([texts[one.document][one.start : one.stop] for one in batch], wanted, key)
            first = 0
            for one in batch:
                count = one.stop - one.first
                parts[one.document].append(told[first : first + count])
                first += count
        empty = np.empty((0, self._model.hidden_size), np.float32)
        return [np.concatenate(own) if own else empty for own in parts]


class RequestPassages:
    """The passages of one request: what `Request.resources` holds under ``passages``.

    Attributes:
        passages: As the target's prompt shows them; others when a monitor has retrieved again.
    """

    def __init__(self, encoder: PassageEncoder, passages: Sequence[Passage]) -> None:
        self._encoder = encoder
        self.passages = list(passages)

    @property
    def facts(self) -> dict[str, str]:
        """What keys are made with."""
        return self._encoder.facts

    def names(self) -> dict[int, dict[str, Any]]:
        """Who each passage is, by its place."""
        return {at: {"id": one.id, "source": one.source, "rank": one.rank} for at, one in enumerate(self.passages)}

    def keys(self, key: Key, context: int) -> list[tuple[list[int], torch.Tensor, dict[str, Any]]]:
        """Token ids, keys from place ``context - 1`` to the last but one ``[m, W]``, and who it is, of each passage.

        Passages that are too short for a key are left out.
        """
        import torch

        names = self.names()
        found = self._encoder.keys([one.text for one in self.passages], key)
        return [
            (ids, torch.from_numpy(vectors[context - 1 :]), {"passage": at, **names[at]})
            for at, (ids, vectors) in enumerate(found)
            if len(vectors) >= context
        ]
