"""What a build is going to take, told from file sizes before anything is read."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ragdecode.documents.inventory import Inventory
from ragdecode.indexing.file_table import FileTable
from ragdecode.indexing.manifest import Manifest
from ragdecode.indexing.report import counted, in_bytes
from ragdecode.indexing.store import Encoder, Encoders, Need, ReadByModel, Store
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    from ragdecode.indexing.memory.key_model import KeyModel

#: Characters of text in a byte of a file. Measured over 335 files (112 Markdown, 97 MDX, 20 books in HTML, 4 PDF, 2
#: DOCX; 4.9 MB): 0.99 for Markdown, 0.90 for HTML, 0.10 for PDF (0.01 to 0.21: figures and fonts), 0.51 for DOCX.
_CHARACTERS = {".pdf": 0.1, ".docx": 0.5, ".html": 0.9, ".htm": 0.9, ".xhtml": 0.9}
#: Characters in a token and share of a passage's limit that is used, since passages end where sentences and
#: paragraphs do; both measured on the same files with the tokenizer of SmolLM2 and limits of 100, 200 and 400 tokens.
_TOKEN, _FILLED = 3.5, 0.83
#: bytes of a passage on disk beside its text; of a file in the list of files; of a file in memory while it is built
#: (305 with names of 23 characters, each kept three times: as found, as it was, as it becomes)
_PASSAGE_BYTES, _FILE_BYTES, _FILE_MEMORY = 200, 240, 400
#: bytes of a file in the journal of what has been read
_JOURNAL_BYTES = 350
#: texts to encode above which the encoder is timed, and how many it is timed with
MANY, _SAMPLE = 2000, 16
#: tokens to read above which the language model is timed, and tokens of a text that it is timed with
_MANY_TOKENS, _READ = 50_000, 512
#: from here on a build is long
_LONG_FILES, _LONG_BYTES, _LONG_SECONDS = 10_000, 20_000_000, 60.0
#: what an encoder is timed with
_WORDS = "the time that it takes to read a passage depends on how many words there are in it "


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a build is expected to take. Passages, disk, memory and time are guesses; files and bytes are counted.

    Attributes:
        files: Files of the corpus, those skipped left out.
        bytes: Their size.
        new_files: Those that must be read: new, or changed since the last build.
        new_bytes: Their size.
        passages: Passages in the index.
        new_passages: Passages of the files that must be read.
        disk: Bytes that the new index takes on disk.
        room: Bytes that the build takes on disk while it runs: the index, and what has been read, once more.
        memory: Bytes of memory that the build takes beside the models.
        encoded: Texts that encoders must turn into vectors.
        encode_seconds: How long that takes; None if there are too few texts to be worth timing.
        read: Tokens that the language model must read.
        read_seconds: How long that takes; None if there are too few tokens to be worth timing.
        free: Bytes that are free on the disk that the index goes to; None if that cannot be told.
    """

    files: int
    bytes: int
    new_files: int
    new_bytes: int
    passages: int
    new_passages: int
    disk: int
    room: int
    memory: int
    encoded: int = 0
    encode_seconds: float | None = None
    read: int = 0
    read_seconds: float | None = None
    free: int | None = None

    @property
    def fits(self) -> bool:
        """Whether there seems to be room for the index, beside the one that it replaces."""
        return self.free is None or self.room <= self.free

    @property
    def long(self) -> bool:
        """Whether the build may take more than a minute: many files, much text, or slow encoders."""
        return (
            self.new_files > _LONG_FILES
            or self.new_bytes > _LONG_BYTES
            or (self.encode_seconds or 0) + (self.read_seconds or 0) > _LONG_SECONDS
        )

    def lines(self) -> Iterator[str]:
        """The same for people."""
        size = f"{counted(self.files, 'file')}, {in_bytes(self.bytes)}"
        if self.new_files < self.files:
            size += f"; to read: {counted(self.new_files, 'file')}, {in_bytes(self.new_bytes)}"
        yield size
        if not self.files:
            return
        free = "" if self.free is None else f" ({in_bytes(self.free)} free)"
        yield (
            f"expected: about {counted(self.passages, 'passage')}, {in_bytes(self.disk)} on disk, "
            f"{in_bytes(self.room)} while it is built{free}, {in_bytes(self.memory)} of memory beside the models"
        )
        if self.encode_seconds is not None:
            yield f"expected: about {duration(self.encode_seconds)} to encode {counted(self.encoded, 'text')}"
        if self.read:
            time_ = "" if self.read_seconds is None else f", about {duration(self.read_seconds)}"
            yield f"expected: about {counted(self.read, 'token')} for the language model to read{time_}"
        if not self.fits:
            yield "warning: that is more than is free; a build that finds the disk full stops, and the old index stays"


def estimate(
    spec: IndexSpec,
    inventory: Inventory,
    old: Manifest | None,
    known: FileTable,
    target: Path,
    encoders: Encoders,
    key_model: Callable[[], KeyModel] | None = None,
) -> Estimate:
    """What a build will take.

    Args:
        spec: What is indexed, and how.
        inventory: The files of its corpus. Documents that loaders bring are not counted: nobody knows how many.
        old: The index that is continued; None if everything is built anew.
        known: Its files.
        target: Folder of the index.
        encoders: Gives the encoders; they are timed, with their weights, if many texts are to be encoded.
        key_model: Gives the language model, which is timed too if it must read much.

    Raises:
        InputError: An encoder is not on this machine.
    """
    stride = _TOKEN * _FILLED * (spec.split.tokens - spec.split.overlap)
    repeated = spec.split.tokens / (spec.split.tokens - spec.split.overlap)
    all_, new = _Amount(), _Amount()
    for source, size, mtime_ns in inventory.files():
        before = known.file(source)
        all_.size += size
        if before and (before.size, before.mtime_ns) == (size, mtime_ns):
            all_.add(before.passages, before.tokens * _TOKEN)
            continue
        characters = size * _CHARACTERS.get(PurePosixPath(source).suffix.lower(), 1.0)
        passages = max(1, math.ceil(characters / stride))
        amount = (passages, characters * (repeated if passages > 1 else 1.0))
        all_.add(*amount)
        new.add(*amount)
        new.size += size
    needs, seconds = _needs(spec, old, all_, new, encoders, key_model)
    read = sum(need.read for need in needs)
    disk = all_.text + _FILE_BYTES * all_.files + sum(need.disk for need in needs)
    return Estimate(
        files=all_.files,
        bytes=all_.size,
        new_files=new.files,
        new_bytes=new.size,
        passages=all_.passages,
        new_passages=new.passages,
        disk=disk,
        room=disk + new.text + _JOURNAL_BYTES * new.files,
        memory=_FILE_MEMORY * all_.files
        + max((need.memory for need in needs), default=0),  # stores are built one by one
        encoded=sum(need.encoded for need in needs),
        encode_seconds=seconds,
        read=read,
        read_seconds=read * _seconds_a_token(key_model()) if key_model and read > _MANY_TOKENS else None,
        free=_free(target),
    )


class _Amount:
    """Files, and the passages that they make."""

    def __init__(self) -> None:
        self.files = 0
        self.size = 0
        self.passages = 0
        self.characters = 0.0

    @property
    def text(self) -> int:
        """Bytes of the passages on disk."""
        return int(self.characters) + _PASSAGE_BYTES * self.passages

    def add(self, passages: int, characters: float) -> None:
        self.files += 1
        self.passages += passages
        self.characters += characters


def _needs(
    spec: IndexSpec,
    old: Manifest | None,
    everything: _Amount,
    new: _Amount,
    encoders: Encoders,
    key_model: Callable[[], KeyModel] | None,
) -> tuple[list[Need], float | None]:
    """What each store takes, with the texts that are new to it, and the time that encoding them takes."""
    asked: list[Encoder] = []

    def remember(model: ModelSpec) -> Encoder:
        asked.append(encoders(model))
        return asked[-1]

    needs: list[Need] = []
    seconds = 0.0
    for part in spec.stores:
        store: Store = part.build()
        asked.clear()
        need = _need(store, everything, remember, key_model)
        entry = old.stores.get(part.name) if old else None
        if entry and entry.settings == part.settings.model_dump(mode="json"):  # its vectors are taken over
            again = _need(store, new, remember, key_model)
            need = replace(need, encoded=again.encoded, read=again.read)
        needs.append(need)
        if need.encoded > MANY and asked:
            seconds += need.encoded * _seconds_each(asked[-1], everything.characters / max(1, everything.passages))
    return needs, seconds or None


def _need(store: Store, amount: _Amount, encoders: Encoders, key_model: Callable[[], KeyModel] | None) -> Need:
    if isinstance(store, ReadByModel) and key_model:
        return store.need_of(amount.passages, int(amount.characters), key_model())
    return store.need(amount.passages, int(amount.characters), encoders)


def _seconds_a_token(model: KeyModel) -> float:
    """Time that a token takes when the model reads much at once."""
    text = [at % 1000 for at in range(_READ)]
    model.vectors([text[:16]], [15], "final")  # loads the weights
    started = time.perf_counter()
    model.vectors([text, text], [0, 0], "final")
    return (time.perf_counter() - started) / (2 * _READ)


def _seconds_each(encoder: Encoder, characters: float) -> float:
    """Time that a text of so many characters takes in a batch."""
    text = (_WORDS * (int(characters) // len(_WORDS) + 1))[: max(1, int(characters))]
    encoder.encode([text] * 2)  # loads the weights
    started = time.perf_counter()
    encoder.encode([text] * _SAMPLE)
    return (time.perf_counter() - started) / _SAMPLE


def duration(seconds: float) -> str:
    """A time for people: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _free(target: Path) -> int | None:
    """Free bytes where a folder is, or would be made."""
    try:
        place = next(path for path in (target, *target.absolute().parents) if path.exists())
        return shutil.disk_usage(place).free
    except (OSError, StopIteration):
        return None
