"""A grounding space: windows of true text as vectors, and what a model predicts behind each.

Shapes: E entries, D numbers of a vector, R tokens kept of a prediction, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: what the metadata of a file says that it is
FORMAT = "ragdecode-grounding-1"
_MAKE = "make it again: ragdecode memory ground"
#: Tensor of a file -> dtype and number of axes.
LAYOUT = {
    "keys": (np.float16, 2),
    "tokens": (np.int32, 2),
    "log_probs": (np.float16, 2),
    "rest": (np.float32, 1),
}
#: What the metadata tells.
FACTS = ("format", "model", "tokenizer", "encoder", "encoder_name", "window", "vocab_size", "description")


@dataclass(frozen=True)
class GroundingSpace:
    """Entries of one model under one encoder.

    Attributes:
        keys: Vector of each window of text, of length 1 ``[E, D]``, half precision.
        tokens: The most probable tokens of each prediction ``[E, R]``.
        log_probs: Their log-probabilities ``[E, R]``, half precision.
        rest: Log-probability of each of the other ``V - R`` tokens, which share what is left evenly ``[E]``; 0 where
            there are none.
        model: Fingerprint of the model, as `Backend.fingerprint` tells it.
        tokenizer: Fingerprint of its tokenizer.
        encoder: Fingerprint of the encoder.
        encoder_name: Its name, for messages.
        window: Tokens of text that a vector is of, at most.
        vocab_size: Tokens that a prediction covers (V).
        description: What it was made of.
    """

    keys: NDArray[np.float16]
    tokens: NDArray[np.int32]
    log_probs: NDArray[np.float16]
    rest: NDArray[np.float32]
    model: str
    tokenizer: str
    encoder: str
    encoder_name: str
    window: int
    vocab_size: int
    description: str = ""

    def to_bytes(self, path: Path) -> bytes:
        """The space as a safetensors file; ``path`` is not touched, it names the file in errors.

        Raises:
            InputError: It holds values that are not finite.
        """
        from safetensors.numpy import save

        check(self, path)
        facts = {name: str(getattr(self, name)) for name in FACTS if name != "format"}
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in LAYOUT}
        data: bytes = save(tensors, metadata={"format": FORMAT, **facts})
        return data

    @classmethod
    def load(cls, path: Path) -> GroundingSpace:
        """Read a file.

        Raises:
            InputError: It is missing, damaged, or no grounding space; the message says which.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                facts: Mapping[str, str] = file.metadata() or {}
                if facts.get("format") != FORMAT:
                    raise InputError(f"{path} is no grounding space", hint="make one: ragdecode memory ground")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(f"the grounding space {path} cannot be read: {error}", hint=_MAKE) from error
        missing = [*(LAYOUT.keys() - tensors.keys()), *(set(FACTS) - facts.keys())]
        if missing or not (facts["window"].isdecimal() and facts["vocab_size"].isdecimal()):
            raise InputError(
                f"the grounding space {path} lacks {', '.join(sorted(missing)) or 'its sizes'}", hint=_MAKE
            )
        space = cls(
            keys=tensors["keys"],
            tokens=tensors["tokens"],
            log_probs=tensors["log_probs"],
            rest=tensors["rest"],
            model=facts["model"],
            tokenizer=facts["tokenizer"],
            encoder=facts["encoder"],
            encoder_name=facts["encoder_name"],
            window=int(facts["window"]),
            vocab_size=int(facts["vocab_size"]),
            description=facts["description"],
        )
        check(space, path)
        return space

    def refuse_misfit(self, path: Path, model: str, vocab_size: int) -> None:
        """Refuse a space that another model has made.

        Args:
            path: Its file, for the message.
            model: Fingerprint of the model that asks; not compared if it is empty.
            vocab_size: Columns of its logits.

        Raises:
            InputError: It belongs to another model.
        """
        if self.model and model and self.model != model:
            raise InputError(
                f"the grounding space {path} was made by another model: its fingerprint is {self.model}, the model's "
                f"{model}",
                hint=_MAKE,
            )
        if self.vocab_size > vocab_size:
            raise InputError(
                f"the grounding space {path} predicts {self.vocab_size} tokens; the model knows {vocab_size}",
                hint=_MAKE,
            )


def check(space: GroundingSpace, path: Path) -> None:
    """Refuse tensors that do not fit each other, or that mean nothing.

    Raises:
        InputError: The message says what is wrong.
    """
    for name, (dtype, axes) in LAYOUT.items():
        tensor = getattr(space, name)
        if tensor.dtype != dtype or tensor.ndim != axes:
            raise InputError(
                f"the grounding space {path} is damaged: {name} is {tensor.dtype} with {tensor.ndim} axes, expected "
                f"{np.dtype(dtype)} with {axes}",
                hint=_MAKE,
            )
    entries = len(space.keys)
    fits = (
        entries > 0
        and len(space.tokens) == len(space.log_probs) == len(space.rest) == entries
        and space.tokens.shape == space.log_probs.shape
        and 0 < space.tokens.shape[1] <= space.vocab_size
        and space.window > 0
    )
    if not fits:
        raise InputError(f"the grounding space {path} is damaged: its tensors do not fit each other", hint=_MAKE)
    if int(space.tokens.min()) < 0 or int(space.tokens.max()) >= space.vocab_size:
        raise InputError(f"the grounding space {path} names tokens that there are not", hint=_MAKE)
    if not all(bool(np.isfinite(getattr(space, name)).all()) for name in ("keys", "log_probs", "rest")):
        raise InputError(f"the grounding space {path} holds values that are not finite", hint=_MAKE)


def compact(
    log_probs: NDArray[np.floating], most: int
) -> tuple[NDArray[np.int32], NDArray[np.float16], NDArray[np.float32]]:
    """The best tokens of predictions, their log-probabilities, and what each of the others has; see `GroundingSpace`.

    Args:
        log_probs: Normalised ``[E, V]``.
        most: Tokens kept; all if there are no more.
    """
    vocab = log_probs.shape[1]
    kept = min(most, vocab)
    tokens = np.argsort(-log_probs, axis=1, kind="stable")[:, :kept]
    best = np.take_along_axis(log_probs.astype(np.float64), tokens, axis=1)
    left = np.clip(1.0 - np.exp(best).sum(axis=1), np.finfo(np.float32).tiny, 1.0)
    rest = np.log(left / (vocab - kept)) if kept < vocab else np.zeros(len(log_probs))
    # none of the others may be thought more probable than the last of the best
    rest = np.minimum(rest, best[:, -1]) if kept < vocab else rest
    return tokens.astype(np.int32), best.astype(np.float16), rest.astype(np.float32)
