"""What models said of answers, kept on disk, so that a run that was broken off goes on where it was."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Changes whenever what is kept changes its meaning.
_FORMAT = 1


@dataclass(frozen=True)
class Watched:
    """A watched answer.

    Attributes:
        ends: Length of the text after each token ``[m]``.
        probability, entropy, kl: See `AnswerSignals` ``[m]``.
        sentences: First and one beyond the last character of each sentence, and of its tokens ``[S, 4]``.
        states: Of each sentence's last token ``[S, 3, H]``; None if the model does not tell them.
        shown: Passages that the prompt had room for.
    """

    ends: NDArray[np.int64]
    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    kl: NDArray[np.float32]
    sentences: NDArray[np.int64]
    states: NDArray[np.float16] | None
    shown: int


class Journal:
    """An append-only file of watched answers by key; what is in it is never computed again.

    A last line that was not written whole is cut off.

    Args:
        file: Made if it is not there.

    Raises:
        InputError: It cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = file.open("a+b")
        except OSError as error:
            raise InputError(
                f"cannot write {file}: {error.strerror}", hint="name another place with --cache"
            ) from error
        self._stream.seek(0)
        whole = 0
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            with suppress(ValueError, KeyError):
                self._places[json.loads(line)["key"]] = whole, len(line)
            whole += len(line)
        self._stream.truncate(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def find(self, key: str) -> Watched | None:
        """What is kept under a key, if anything is."""
        if key not in self._places:
            return None
        start, length = self._places[key]
        self._stream.seek(start)
        data = json.loads(self._stream.read(length))
        arrays = {name: _array(data[name]) for name in ("ends", "probability", "entropy", "kl", "sentences")}
        states = None if data["states"] is None else _array(data["states"])
        return Watched(**arrays, states=states, shown=data["shown"])

    def add(self, key: str, watched: Watched) -> None:
        """Append an answer; it is on disk when this returns."""
        data: dict[str, Any] = {"key": key, "shown": watched.shown, "states": None}
        for name in ("ends", "probability", "entropy", "kl", "sentences", "states"):
            value = getattr(watched, name)
            if value is not None:
                data[name] = _plain(value)
        line = json.dumps(data).encode() + b"\n"
        self._stream.seek(0, 2)
        self._places[key] = self._stream.tell(), len(line)
        self._stream.write(line)
        self._stream.flush()


def key_of(**facts: Any) -> str:
    """Identity of an answer under all that its signals depend on."""
    text = json.dumps({"format": _FORMAT, **facts}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(values: NDArray[Any]) -> Mapping[str, Any]:
    return {
        "type": values.dtype.str,
        "shape": values.shape,
        "data": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode(),
    }


def _array(data: Mapping[str, Any]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(data["data"]), np.dtype(data["type"])).reshape(data["shape"])
