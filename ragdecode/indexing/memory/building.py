"""Builds a memory: the language model reads the corpus, and what it computes at each token goes to disk at once."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.building.journal import Journal
from ragdecode.indexing.memory import corpus as corpora
from ragdecode.indexing.memory.corpus import Corpus
from ragdecode.indexing.memory.known import KEYS, Known, known_of
from ragdecode.indexing.memory.windows import Reading, Window, passes, windows
from ragdecode.indexing.vectors.embedding import JOURNAL, new_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.indexing.memory.key_model import Key, KeyModel
    from ragdecode.indexing.store import BuildContext, CorpusTokenizer

#: squared length of each key, which comparing with all keys at once needs
NORMS = "norms.npy"
#: keys copied, or measured, at once
_BLOCK = 8192


@dataclass(frozen=True)
class Totals:
    """What a memory holds, and what a build did.

    Attributes:
        width: Numbers of a key.
        documents: Documents that have entries.
        entries: Keys.
        fresh: Keys that the model computed now.
        resumed: Keys that an interrupted build had computed.
    """

    width: int
    documents: int
    entries: int
    fresh: int
    resumed: int


def build(
    documents: Iterable[tuple[str, str, str]],
    folder: Path,
    model: KeyModel,
    tokenizer: CorpusTokenizer,
    key: Key,
    reading: Reading,
    context: BuildContext,
) -> Totals:
    """Write keys, values and places of all documents into a folder.

    Keys of documents that an earlier build has read, finished or not, are taken over. A journal says which passes
    are done: if the build is killed, the next one goes on, with the same passes.

    Args:
        documents: File, record and text of each.
        folder: Empty but for what an interrupted build has left there.
        model: Reads the documents.
        tokenizer: Gives the ids.
        key: Which vector is kept.
        reading: Sizes of windows.
        context: The build.

    Raises:
        InputError: The windows are longer than the model can read, or no document is long enough for an entry.
        OSError: The disk is full.
        RunError: The model gave something that half precision cannot hold.
    """
    if reading.window > model.max_positions:
        raise InputError(
            f"memory.window is {reading.window}; the model reads {model.max_positions} tokens at most",
            component="store memory",
        )
    head = facts(model, tokenizer, key, reading)
    known = list(known_of(context, head))
    corpus = corpora.write(documents, folder, tokenizer, reading, lambda text: _known_ids(known, text))
    if corpus is None:
        raise InputError(
            f"no document is longer than memory.context ({reading.context} tokens): there is nothing to keep",
            hint="lower memory.context",
            component="store memory",
        )
    source = [_holder(known, text.tobytes()) for text in corpus.hashes]
    width = known[0].keys.shape[1] if known else model.width(key)
    plan = {**head, "width": width, "digest": _digest(corpus, source)}
    journal, keys, done = _begin(folder, plan, len(corpus.values))
    for document, held in enumerate(source):
        if held is not None:
            _copy(keys, int(corpus.starts[document]), held[0].entries(held[1]))
    fresh, resumed = _read(corpus, source, model, key, reading, context, journal, keys, done)
    _measure(folder, keys)
    return Totals(width, len(corpus.heads), len(keys), fresh, resumed)


def facts(model: KeyModel, tokenizer: CorpusTokenizer, key: Key, reading: Reading) -> dict[str, Any]:
    """What keys depend on: two memories that agree here hold the same keys for the same document."""
    return {
        "model": model.fingerprint,
        "tokenizer": tokenizer.fingerprint,
        "dtype": model.dtype,
        "key": key,
        "window": reading.window,
        "stride": reading.stride,
        "context": reading.context,
    }


def _known_ids(known: list[Known], text: bytes) -> list[int] | None:
    held = _holder(known, text)
    return held[0].corpus.ids(held[1]) if held else None


def _holder(known: list[Known], text: bytes) -> tuple[Known, int] | None:
    """Who has the keys of a text, and its number there."""
    return next(((one, one.rows[text]) for one in known if text in one.rows), None)


def _digest(corpus: Corpus, source: list[tuple[Known, int] | None]) -> str:
    """Changes with the documents, and with those that are read."""
    digest = hashlib.sha256(corpus.hashes.tobytes())
    digest.update(corpus.starts.tobytes())
    digest.update(bytes(held is None for held in source))
    return digest.hexdigest()


def _begin(folder: Path, plan: Mapping[str, Any], entries: int) -> tuple[Journal, np.memmap[Any, Any], dict[int, int]]:
    """The journal, the map of the keys, and checksums of the passes that are in it by number."""
    journal = Journal(folder / JOURNAL)
    records = journal.read()
    if records and records[0] == plan:
        with suppress(FileNotFoundError, ValueError):
            keys = np.lib.format.open_memmap(folder / KEYS, "r+")
            if keys.shape == (entries, plan["width"]) and keys.dtype == np.float16:
                return journal, keys, {record["pass"]: record["crc"] for record in records[1:]}
    (folder / JOURNAL).unlink(missing_ok=True)
    keys = new_array(folder / KEYS, "float16", (entries, plan["width"]))
    journal.add(dict(plan))
    return journal, keys, {}


def _copy(keys: NDArray[np.float16], first: int, own: NDArray[np.float16]) -> None:
    for start in range(0, len(own), _BLOCK):
        block = own[start : start + _BLOCK]
        keys[first + start : first + start + len(block)] = block


def _read(
    corpus: Corpus,
    source: list[tuple[Known, int] | None],
    model: KeyModel,
    key: Key,
    reading: Reading,
    context: BuildContext,
    journal: Journal,
    keys: np.memmap[Any, Any],
    done: Mapping[int, int],
) -> tuple[int, int]:
    """Let the model read what is not known; how many keys it computed, and how many were there already."""
    new = [document for document, held in enumerate(source) if held is None]
    total = int(np.diff(corpus.starts)[new].sum()) if new else 0
    fresh = resumed = 0
    for number, batch in enumerate(passes(_windows(corpus, new, reading))):
        ranges = [window.entries for window in batch]
        count = sum(stop - start for start, stop in ranges)
        if number in done and _crc(keys, ranges) == done[number]:
            resumed += count
            context.resumed(count)
            continue
        texts = [corpus.ids(window.document, window.start, window.stop) for window in batch]
        vectors = model.vectors(texts, [window.first - window.start for window in batch], key)
        _store(keys, ranges, vectors, key)
        journal.add({"pass": number, "ranges": ranges, "crc": _crc(keys, ranges)})
        fresh += count
        context.progress("memory", resumed + fresh, total)
    return fresh, resumed


def _windows(corpus: Corpus, documents: list[int], reading: Reading) -> Iterator[Window]:
    return chain.from_iterable(
        windows(document, corpus.length(document), int(corpus.starts[document]), reading) for document in documents
    )


def _store(keys: np.memmap[Any, Any], ranges: list[tuple[int, int]], vectors: NDArray[np.float32], key: Key) -> None:
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    if not np.isfinite(half).all():
        raise RunError(
            f"the model's {key} holds numbers beyond 65,504, which half precision cannot hold",
            hint="take another key, such as ffn_input",
            component="store memory",
        )
    first = 0
    for start, stop in ranges:
        keys[start:stop] = half[first : first + stop - start]
        first += stop - start


def _crc(keys: NDArray[np.float16], ranges: Iterable[tuple[int, int]]) -> int:
    crc = 0
    for start, stop in ranges:
        crc = zlib.crc32(np.ascontiguousarray(keys[start:stop]).tobytes(), crc)
    return crc


def _measure(folder: Path, keys: np.memmap[Any, Any]) -> None:
    """Write the squared length of each key."""
    norms = new_array(folder / NORMS, "float32", (len(keys),))
    for start in range(0, len(keys), _BLOCK):
        block = keys[start : start + _BLOCK].astype(np.float32)
        norms[start : start + len(block)] = np.einsum("nw,nw->n", block, block, dtype=np.float64)
    norms.flush()
    keys.flush()
