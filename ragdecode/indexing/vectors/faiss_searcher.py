"""An open FAISS store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ragdecode.errors import InputError
from ragdecode.indexing.store import Encoder, Encoders, Probe
from ragdecode.indexing.vectors.embedding import unit
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.vectors.faiss_kinds import Candidates


class FaissSearcher:
    """Vectors that are searched by cosine; a searcher of the `Vectors` protocol.

    Args:
        vectors: Memory map, of length 1 ``[n, d]``.
        candidates: Proposes rows; None to compare with all.
        model: The encoder's model.
        fingerprint: The encoder that made the vectors.
        encoders: Gives encoders.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        candidates: Candidates | None,
        model: ModelSpec,
        fingerprint: str,
        encoders: Encoders,
    ) -> None:
        self._vectors = vectors
        self._candidates = candidates
        self._model = model
        self._fingerprint = fingerprint
        self._encoders = encoders
        self._encoder: Encoder | None = None

    def search(self, probes: Sequence[Probe], k: int) -> list[list[tuple[int, float]]]:
        """Rows with the largest cosine, best first; ties with the k-th included.

        Kinds other than flat look among their candidates only, and may find fewer than k.
        """
        if not probes or k < 1:
            return [[] for _ in probes]
        asked = self._asked(probes)
        rows = self._all(asked, k) if self._candidates is None else self._candidates(asked, k)
        return [self._best(query, found, k) for query, found in zip(asked, rows, strict=True)]

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Vectors of rows, of length 1 ``[len(rows), d]``."""
        import numpy as np

        return np.array(self._vectors[np.asarray(rows, np.int64)], np.float32)

    def encode(self, texts: Sequence[str], role: Literal["query", "document"]) -> NDArray[np.float32]:
        """Vectors of texts, of length 1 ``[len(texts), d]``."""
        return unit(self.encoder().encode(list(texts), role=role))

    def encoder(self) -> Encoder:
        """The encoder, checked against the one that made the vectors.

        Raises:
            InputError: It is another one.
        """
        if self._encoder is None:
            encoder = self._encoders(self._model)
            if encoder.fingerprint != self._fingerprint:
                raise InputError(
                    f"the index was built with another encoder: fingerprint {self._fingerprint}, "
                    f"now {encoder.fingerprint}",
                    hint="rebuild it with 'ragdecode index build'",
                    component="store faiss",
                )
            self._encoder = encoder
        return self._encoder

    def _asked(self, probes: Sequence[Probe]) -> NDArray[np.float32]:
        """A vector of length 1 for each probe: its text's, or the mean of that and its likenesses'."""
        import numpy as np

        asked = self.encode([probe.text for probe in probes], "query")
        if not (likenesses := [text for probe in probes for text in probe.likenesses]):
            return asked
        owners = [at for at, probe in enumerate(probes) for _ in probe.likenesses]
        sums = asked.astype(np.float64)
        np.add.at(sums, owners, self.encode(likenesses, "document"))
        alike = sorted(set(owners))
        asked[alike] = unit(sums[alike].astype(np.float32))
        return asked

    def _all(self, asked: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The best rows among all, deep enough to hold all that tie with the k-th."""
        import faiss

        total = len(self._vectors)
        depth = min(k + 1, total)
        while True:
            scores, rows = faiss.knn(asked, self._vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
            if depth == total or bool((scores[:, -1] < scores[:, k - 1]).all()):
                found: NDArray[np.int64] = rows
                return found
            depth = min(2 * depth, total)

    def _best(self, query: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> list[tuple[int, float]]:
        """The best k of the rows by their exact cosines, one by one: FAISS sums in another order in batches."""
        import numpy as np

        rows = np.sort(rows[rows >= 0])
        if not len(rows):
            return []
        exact = np.sum(self._vectors[rows].astype(np.float64) * query, axis=1).astype(np.float32)
        order = np.argsort(-exact, kind="stable")
        limit = exact[order[min(k, len(rows)) - 1]]
        return [(int(rows[at]), float(exact[at])) for at in order if exact[at] >= limit]
