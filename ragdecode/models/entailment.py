"""Natural-language inference: whether a text (premise) says that a statement (hypothesis) is true."""

from __future__ import annotations

import re
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

_NOT_ENTAILED = re.compile(r"contradict|\bno[nt]?[^a-z]*entail", re.IGNORECASE)


class EntailmentModel:
    """A sequence classifier whose labels are entailment and contradiction (or not entailment), perhaps neutral too.

    Attributes:
        path: Its folder.
        labels: Its labels, in the order of the logits.
        max_tokens: Longest pair; the longer side is cut.
    """

    def __init__(self, spec: ModelSpec, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._classifier = PairClassifier(spec, path, device, dtype)
        self.path = path
        self.labels = self._classifier.labels
        self.max_tokens = self._classifier.max_tokens
        self._entailed, self._refuted = _places(self.labels, path)

    def probability(
        self, pairs: Sequence[tuple[str, str]], batch_size: int = 32, progress: Progress | None = None
    ) -> np.ndarray:
        """How probable entailment is against contradiction, for pairs ``(premise, hypothesis)``; neutral is left out.

        Returns:
            float64 ``[n]``, 0 to 1.
        """
        import numpy as np

        logits = self._classifier.logits(pairs, batch_size, progress).astype(np.float64)
        # softmax of two is the logistic function of their difference
        return np.asarray(1.0 / (1.0 + np.exp(logits[:, self._refuted] - logits[:, self._entailed])))


def load_entailment(
    spec: ModelSpec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    store: ModelStore | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> EntailmentModel:
    """Open a cross-encoder that was trained for natural-language inference; weights are read with the first pair.

    Args:
        spec: The model, of kind ``cross_encoder``.
        device: ``auto``, ``cpu``, ``cuda``, ...
        dtype: ``auto``, ``float32``, ``bfloat16``, ...
        store: Cache of models; the user's own if left out.
        fetch: Fetch weights that are not on this machine.
        progress: Told what is done, if something is fetched.

    Raises:
        InputError: The weights are not there, or its labels are not those of natural-language inference.
        RunError: The weights are damaged, or fetching failed.
    """
    path, where, precision = locate(
        spec, "cross_encoder", device=device, dtype=dtype, store=store, fetch=fetch, progress=progress
    )
    check_weights(path)
    return EntailmentModel(spec, path, where, precision)


def _places(labels: Sequence[str], path: Path) -> tuple[int, int]:
    """Which logits are entailment and contradiction, by the names that the model's configuration gives them."""
    refuted = [at for at, label in enumerate(labels) if _NOT_ENTAILED.search(label)]
    entailed = [at for at, label in enumerate(labels) if "entail" in label.lower() and at not in refuted]
    rest = [label for at, label in enumerate(labels) if at not in (*refuted, *entailed)]
    if len(refuted) != 1 or len(entailed) != 1 or any("neutral" not in label.lower() for label in rest):
        raise InputError(
            f"{path} is no model of natural-language inference: its labels are {', '.join(labels) or 'none'}, "
            "expected entailment and contradiction, perhaps neutral",
            hint="if it is one, name its labels under 'id2label' in its config.json",
        )
    return entailed[0], refuted[0]
