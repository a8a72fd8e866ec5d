"""Builds that go on where one before them was broken off."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ragdecode.documents.document import Document, Heading
from ragdecode.documents.loader import Loaded
from ragdecode.documents.readers.text import TextReader
from ragdecode.documents.walk import Skipped
from ragdecode.errors import InputError, RunError
from ragdecode.indexing.building import journal, pool
from ragdecode.indexing.store import Built, Need
from ragdecode.indexing.stores.bm25 import Bm25Store
from ragdecode.indexing.vectors import embedding
from ragdecode.indexing.vectors import plan as embedding_plan
from ragdecode.spec import registry
from ragdecode.spec.registry import register
from tests.indexing.doubles import HashedWords, build, index_spec, opened, put

BATCH = 8
FILES = 60


class Stop(BaseException):
    """As a kill: nothing in the build may catch it."""


class Stopping(HashedWords):
    """Breaks the build off after some batches."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(16)
        self.left = stop_after

    def encode(self, texts: Sequence[str], *, role: str = "document") -> Any:
        if self.left == 0:
            raise Stop
        self.left = None if self.left is None else self.left - 1
        return super().encode(texts, role=role)


class Mixed(Stopping):
    """Vectors that depend on which texts are embedded together, as those of real models do in their last bits."""

    def encode(self, texts: Sequence[str], *, role: str = "document") -> Any:
        together = int(hashlib.md5("\n".join(texts).encode()).hexdigest()[:6], 16)
        return super().encode(texts, role=role) + np.float32(together / 2**24)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_plan, "BATCH", BATCH)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    chance = random.Random(7)
    words = ["sea", "sky", "fox", "owl", "oak", "rain", "snow", "wind"]
    for number in range(FILES):
        text = " ".join(chance.choices(words, k=chance.randint(3, 30)))
        put(folder, {f"{number % 4}/{number:03}.txt": text if number % 9 else "the same text again"})
    age(folder)
    return folder


def age(folder: Path) -> None:
    for path in folder.rglob("*.txt"):
        os.utime(path, ns=(10**18, 10**18 + len(path.read_bytes())))


def files(target: Path) -> dict[str, bytes]:
    """All data files; the list of files and the manifest without what tells of when and where."""
    found = {
        "/".join(path.relative_to(target).parts[1:]): path.read_bytes()
        for path in target.rglob("data-*/**/*")
        if path.is_file()
    }
    manifest = json.loads((target / "manifest.json").read_text())
    listing = manifest.pop("listing")
    entries = [json.loads(line) for line in (target / listing.pop("name")).read_bytes().splitlines()]
    for entry in entries:
        del entry["mtime_ns"]
    del manifest["folder"], listing["sha256"], listing["size"]
    told = {"manifest.json": [manifest, listing], "files.jsonl": entries}
    return {**found, **{name: json.dumps(content, sort_keys=True).encode() for name, content in told.items()}}


def unbroken(root: Path, tmp_path: Path) -> dict[str, bytes]:
    build(index_spec(root), tmp_path / "unbroken", Mixed())
    return files(tmp_path / "unbroken")


def read_sources(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    read: list[bytes] = []
    original = TextReader.read
    monkeypatch.setattr(TextReader, "read", lambda self, data: read.append(data) or original(self, data))
    return read


def test_only_batches_that_were_not_done_are_embedded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, target = unbroken(root, tmp_path), tmp_path / "index"
    first, second = Mixed(stop_after=3), Mixed()
    with pytest.raises(Stop):
        build(index_spec(root), target, first)
    read = read_sources(monkeypatch)
    report = build(index_spec(root), target, second)
    assert files(target) == expected
    assert read == []
    assert len(first.encoded) == 3 * BATCH
    assert len({*first.encoded, *second.encoded}) == len(first.encoded) + len(second.encoded), "each text once"
    assert (report.resumed, report.resumed_texts) == (FILES, 3 * BATCH)
    summaries = {stage.name: stage.summary for stage in report.stages}
    assert summaries["read"] == f"{FILES} files read by an interrupted build"
    assert summaries["store bm25"].endswith(", by an interrupted build"), "it was finished before"
    assert f"{3 * BATCH} by an interrupted build" in summaries["store faiss"]
    assert not (target / ".building").exists()


def test_only_files_that_were_not_read_are_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, target = unbroken(root, tmp_path), tmp_path / "index"

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("read", 25):
            raise Stop

    read = read_sources(monkeypatch)
    with pytest.raises(Stop):
        build(index_spec(root), target, Mixed(), progress=stop)
    assert len(read) == 25
    report = build(index_spec(root), target, Mixed())
    assert len(read) == FILES
    assert (report.resumed, report.added) == (25, FILES)
    assert files(target) == expected


def test_a_corpus_that_changed_meanwhile(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "index"
    first, second = Stopping(4), Stopping()
    with pytest.raises(Stop):
        build(index_spec(root), target, first)
    (root / "0" / "004.txt").unlink()
    put(root, {"1/001.txt": "changed", "0/000a.txt": "new", "9/bad.txt": " "})
    read = read_sources(monkeypatch)
    report = build(index_spec(root), target, second)
    assert sorted(read) == [b" ", b"changed", b"new"]
    assert report.resumed == FILES - 2
    assert len(first.encoded) == 4 * BATCH
    assert not set(first.encoded) & set(second.encoded), "what was embedded before is taken over by its text"
    build(index_spec(root), tmp_path / "fresh", Stopping())
    assert files(target) == files(tmp_path / "fresh")


def test_young_files_are_recognised_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "docs", {"a.txt": "one", "b.txt": "two"})
    with pytest.raises(Stop):
        build(index_spec(tmp_path / "docs"), tmp_path / "index", Mixed(stop_after=0))
    put(tmp_path / "docs", {"b.txt": "six"})
    read = read_sources(monkeypatch)
    assert build(index_spec(tmp_path / "docs"), tmp_path / "index").resumed == 1
    assert read == [b"six"]


def test_another_key_and_force_start_anew(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "index"

    def interrupt(**more: Any) -> None:
        with pytest.raises(Stop):
            build(index_spec(root), target, Mixed(stop_after=1), **more)

    interrupt()
    assert build(index_spec(root, split={"tokens": 32, "overlap": 0}), target).resumed == 0
    interrupt()
    assert build(index_spec(root), target, tokenizer_fingerprint="words-2").resumed == 0
    interrupt()
    report = build(index_spec(root), target, force=True)
    assert (report.resumed, report.resumed_texts) == (0, 0)
    put(root, {"new.txt": "one more"})
    interrupt(force=True)
    assert build(index_spec(root), target).resumed == 0, "begun without the old index, ended with it"


def test_another_set_of_stores_goes_on_with_the_same_passages(root: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        build(index_spec(root), tmp_path / "index", Mixed(stop_after=1))
    report = build(index_spec(root, ["bm25"]), tmp_path / "index")
    assert report.resumed == FILES
    assert not list((tmp_path / "index").rglob("faiss")), "what the other store had begun is no part of the index"


def test_another_encoder_does_not_go_on_with_the_vectors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        build(index_spec(root), tmp_path / "index", Mixed(stop_after=2))
    report = build(index_spec(root), tmp_path / "index", HashedWords(16, "hashed-2"))
    assert (report.resumed, report.resumed_texts) == (FILES, 0)
    build(index_spec(root), tmp_path / "fresh", HashedWords(16, "hashed-2"))
    assert files(tmp_path / "index") == files(tmp_path / "fresh")


def damage_journal(working: Path) -> None:
    with (working / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"file": {"entry": {"sou')


def damage_pool(working: Path) -> None:
    content = bytearray((working / "read.jsonl").read_bytes())
    content[len(content) // 2] ^= 1
    (working / "read.jsonl").write_bytes(bytes(content))


def cut_pool(working: Path) -> None:
    content = (working / "read.jsonl").read_bytes()
    (working / "read.jsonl").write_bytes(content[: len(content) * 3 // 4])


def damage_vectors(working: Path) -> None:
    vectors = np.load(working / "data" / "stores" / "faiss" / "vectors.npy", mmap_mode="r+")
    vectors[:] = 0.5
    vectors.flush()


def lose_vectors(working: Path) -> None:
    (working / "data" / "stores" / "faiss" / "vectors.npy").unlink()


def cut_finished_store(working: Path) -> None:
    file = next(path for path in (working / "data" / "stores" / "bm25").iterdir() if path.stat().st_size > 8)
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    "damage", [damage_journal, damage_pool, cut_pool, damage_vectors, lose_vectors, cut_finished_store]
)
def test_nothing_is_believed_that_is_not_on_disk(root: Path, tmp_path: Path, damage: Any) -> None:
    """As after a loss of power."""
    expected, target = unbroken(root, tmp_path), tmp_path / "index"
    with pytest.raises(Stop):
        build(index_spec(root), target, Mixed(stop_after=3))
    damage(target / ".building")
    report = build(index_spec(root), target, Mixed())
    assert files(target) == expected
    if damage in (damage_pool, cut_pool):
        assert 0 < report.resumed < FILES
    if damage in (damage_vectors, lose_vectors):
        assert report.resumed_texts == 0


@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_breaks_at_any_write(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Writes end before, within or after any append, builds end during any batch; the corpus has an index before."""
    target, chance = tmp_path / "index", random.Random(seed)
    build(index_spec(root), target, Mixed())
    build(index_spec(root), tmp_path / "unbroken", Mixed())
    for number in range(0, FILES, 2):
        put(root, {f"{number % 4}/{number:03}.txt": f"another text {number} {'owl ' * (number % 11)}"})
    age(root)
    build(index_spec(root), tmp_path / "unbroken", Mixed())
    write = journal.append

    def append(path: Path, data: bytes) -> None:
        kind = chance.random()
        if kind < 0.03:
            write(path, data[: chance.randrange(len(data))])
        if kind < 0.04:
            raise Stop
        write(path, data)
        if kind > 0.98:
            raise Stop

    monkeypatch.setattr(journal, "append", append)
    monkeypatch.setattr(pool, "append", append)
    breaks, encoded = 0, 0
    while True:
        encoder = Mixed(stop_after=chance.choice([None, 0, 1, 2]))
        try:
            build(index_spec(root), target, encoder)
            break
        except Stop:
            breaks += 1
        finally:
            encoded += len(encoder.encoded)
    assert breaks > 3
    assert files(target) == files(tmp_path / "unbroken")
    assert encoded < 2 * FILES


def test_a_full_disk_keeps_what_was_done(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, target = unbroken(root, tmp_path), tmp_path / "index"
    reserve = embedding._reserve

    def full(*args: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedding, "_reserve", full)
    with pytest.raises(RunError, match="the disk is full") as caught:
        build(index_spec(root), target, Mixed())
    assert "goes on from here" in (caught.value.hint or "")
    monkeypatch.setattr(embedding, "_reserve", reserve)
    assert build(index_spec(root), target, Mixed()).resumed == FILES
    assert files(target) == expected


def test_a_finished_store_is_not_built_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stop):
        build(index_spec(root), tmp_path / "index", Mixed(stop_after=0))
    monkeypatch.setattr(Bm25Store, "build", None)  # would fail
    build(index_spec(root), tmp_path / "index", Mixed())
    assert opened(tmp_path / "index", encoder=Mixed()).search("bm25", ["fox"], 1)[0]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.parts("store"), registry.parts("loader")  # all found before the copy
    monkeypatch.setattr(registry, "_parts", dict(registry._parts))


DISCARDED: list[Mapping[str, Any]] = []


class Remote:
    """A store that keeps nothing but its facts."""

    def __init__(self, settings: Any) -> None:
        pass

    def need(self, passages: int, characters: int, encoders: Any) -> Need:
        return Need(0, 0)

    def build(self, passages: Any, folder: Path, context: Any) -> Built:
        return Built({"elsewhere": {"name": context.identity, "rows": len(passages)}, "was": context.standing}, "sent")

    def current(self, facts: Mapping[str, Any], encoders: Any) -> bool:
        return True

    def discard(self, facts: Mapping[str, Any]) -> None:
        DISCARDED.append(facts)
        raise ConnectionError("gone")


def test_what_replaced_stores_keep_elsewhere_is_removed(root: Path, tmp_path: Path, parts: None) -> None:
    register("store", "remote")(Remote)
    DISCARDED.clear()
    spec, target = index_spec(root, ["bm25", "remote"]), tmp_path / "index"
    build(spec, target)
    assert not DISCARDED
    first = opened(target).manifest.stores["remote"].facts
    assert first["was"] is None
    put(root, {"new.txt": "one more"})
    build(spec, target, force=True)
    assert [first] == DISCARDED, "a failure there does not fail the build"
    second = opened(target).manifest.stores["remote"].facts
    assert second["was"] == first
    assert second["elsewhere"]["name"] == first["elsewhere"]["name"]
    build(index_spec(root, ["bm25"]), target)
    assert [first, second] == DISCARDED
    build(spec, tmp_path / "other")
    assert opened(tmp_path / "other").manifest.stores["remote"].facts["elsewhere"]["name"] != first["elsewhere"]["name"]


class Library:
    """A loader of what the test puts into it."""

    documents: ClassVar[list[Loaded | Skipped]] = []

    def __init__(self, settings: Any) -> None:
        pass

    def load(self) -> Iterator[Loaded | Skipped]:
        for document in self.documents:
            if document.source == "broken":
                raise ConnectionError("no library today")
            yield document


@pytest.fixture
def library(parts: None, monkeypatch: pytest.MonkeyPatch) -> type[Library]:
    register("loader", "library")(Library)
    text = "Rain\n\nIt rains today."
    monkeypatch.setattr(
        Library,
        "documents",
        [
            Loaded("book/1", Document(text, headings=(Heading(1, "Rain", 0, 4),), metadata={"year": 1999})),
            Loaded("book/2", Document("An owl sleeps.")),
            Loaded("book/1", Document("The name is taken.")),
            Loaded("book/3", Document("  \n")),
            Loaded("book/4", Document("half a \ud83d character")),
            Skipped("book/5", "lent to somebody"),
        ],
    )
    return Library


def test_loaders_bring_documents_beside_files(root: Path, tmp_path: Path, library: type[Library]) -> None:
    spec = index_spec(root, corpus={"loaders": ["library"]})
    encoder = HashedWords()
    report = build(spec, tmp_path / "index", encoder)
    assert report.added == FILES + 2
    assert [(one.source, one.reason[:26]) for one in report.skipped] == [
        ("book/1", "another document has the s"),
        ("book/3", "no text in it"),
        ("book/4", "its text is not valid Unic"),
        ("book/5", "lent to somebody"),
    ]
    rain = opened(tmp_path / "index").search("bm25", ["rains"], 1)[0][0].passage
    assert (rain.source, rain.heading, rain.attributes) == ("book/1", "Rain", {"year": 1999})
    again = HashedWords()
    assert not build(spec, tmp_path / "index", again).built
    library.documents[1] = Loaded("book/2", Document("An owl wakes."))
    report = build(spec, tmp_path / "index", again)
    assert (report.changed, report.unchanged) == (1, FILES + 1)
    assert again.encoded == ["An owl wakes."]
    first = library.documents[0]
    assert isinstance(first, Loaded)
    library.documents[0] = Loaded("book/1", Document(first.document.text, first.document.headings))
    assert build(spec, tmp_path / "index", again).changed == 1, "another year is another document"
    build(spec, tmp_path / "fresh", HashedWords())
    assert files(tmp_path / "index") == files(tmp_path / "fresh")


def test_a_corpus_of_loaders_alone(tmp_path: Path, library: type[Library]) -> None:
    spec = index_spec(tmp_path, corpus={"path": None, "loaders": ["library"]})
    assert str(build(spec, tmp_path / "index")) == "added 2 files, changed 0, removed 0, 2 passages, skipped 4 files"


def test_loaders_that_bring_nothing(tmp_path: Path, library: type[Library], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "documents", [Skipped("book/5", "lent to somebody")])
    spec = index_spec(tmp_path, corpus={"path": None, "loaders": ["library"]})
    with pytest.raises(InputError, match=r"the corpus is empty: nothing from library\n  'book/5': lent to somebody"):
        build(spec, tmp_path / "index")


def test_a_loader_that_fails_leaves_the_old_index_and_its_documents_are_kept(
    tmp_path: Path, library: type[Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = index_spec(tmp_path, corpus={"path": None, "loaders": ["library"]})
    broken = [*library.documents[:2], Loaded("broken", Document("")), Loaded("last", Document("The end."))]
    monkeypatch.setattr(library, "documents", broken)
    with pytest.raises(RunError, match="loader library: ConnectionError: no library today"):
        build(spec, tmp_path / "index")
    del broken[2]
    report = build(spec, tmp_path / "index")
    assert (report.added, report.resumed) == (3, 2)


def test_other_settings_of_readers_build_anew(root: Path, tmp_path: Path) -> None:
    build(index_spec(root), tmp_path / "index")
    (root / "rows.csv").write_text("text,name\nhello,one\n")
    more = {"include": ["**/*.txt", "**/*.csv"], "readers": [{"csv": {}}]}
    assert build(index_spec(root, corpus=more), tmp_path / "index").reason == "files are read otherwise"


def test_a_broken_off_build_of_a_finished_index_leaves_it_alone(root: Path, tmp_path: Path) -> None:
    """Killed with the manifest in place: the working folder's passages are the index's own, by another name."""
    target = tmp_path / "index"
    with pytest.raises(Stop):
        build(index_spec(root), target, Mixed(stop_after=1))
    kept = tmp_path / "kept"
    (target / ".building").rename(kept)
    build(index_spec(root), target, Mixed())
    journal.append(kept / "journal.jsonl", b'{"placed": "data-1"}\n')
    (kept / "read.jsonl").unlink()
    os.link(target / "data-1" / "passages.jsonl", kept / "read.jsonl")
    kept.rename(target / ".building")
    (target / "data-1" / "stores" / "faiss" / "vectors.npy").unlink()  # so that the index cannot be continued
    before = (target / "data-1" / "passages.jsonl").read_bytes()
    put(root, {"new.txt": "one more"})
    with pytest.raises(Stop):
        build(index_spec(root), target, Mixed(stop_after=1))
    assert (target / "data-1" / "passages.jsonl").read_bytes() == before
