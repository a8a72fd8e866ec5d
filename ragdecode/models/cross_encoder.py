"""Cross-encoders: how well a passage answers a query, read together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.errors import InputError
from ragdecode.models.opening import locate
from ragdecode.models.pair_classifier import PairClassifier
from ragdecode.models.progress import Progress, silent
from ragdecode.models.store import ModelStore
from ragdecode.models.weights import check_weights
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import torch


class CrossEncoder:
    """A sequence classifier with one label, or two of which the second means relevant.

    Attributes:
        spec: What YAML says of it.
        path: Its folder.
        max_tokens: Longest pair; the longer side is cut.
    """

    def __init__(self, spec: ModelSpec, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._classifier = PairClassifier(spec, path, device, dtype)
        self._labels = len(self._classifier.labels)
        if self._labels not in (1, 2):
            raise InputError(f"{path} is no cross-encoder: it has {self._labels} labels, expected 1 or 2")
        self.spec = spec
        self.path = path
        self.max_tokens = self._classifier.max_tokens

    def score(
        self, pairs: Sequence[tuple[str, str]], batch_size: int = 32, progress: Progress | None = None
    ) -> np.ndarray:
        """Relevance of the passage to the query, for pairs ``(query, passage)``.

        Returns:
            float32 ``[n]``: the logit; with two labels the log-odds of the second.
        """
        logits = self._classifier.logits(pairs, batch_size, progress)
        return logits[:, 0] if self._labels == 1 else logits[:, 1] - logits[:, 0]


def load_cross_encoder(
    spec: ModelSpec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    store: ModelStore | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> CrossEncoder:
    """Open a cross-encoder; its weights are read when the first pair is scored.

    Args:
        spec: The model.
        device: ``auto``, ``cpu``, ``cuda``, ...
        dtype: ``auto``, ``float32``, ``bfloat16``, ...
        store: Cache of models; the user's own if left out.
        fetch: Fetch weights that are not on this machine.
        progress: Told what is done, if something is fetched.

    Raises:
        InputError: The weights are not there, or are not a cross-encoder's; no such device or dtype.
        RunError: The weights are damaged, or fetching failed.
    """
    path, where, precision = locate(
        spec, "cross_encoder", device=device, dtype=dtype, store=store, fetch=fetch, progress=progress
    )
    check_weights(path)
    return CrossEncoder(spec, path, where, precision)
