"""The list of files of an index, on disk and in memory."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ragdecode.documents.walk import Found, Skipped
from ragdecode.errors import RunError
from ragdecode.indexing import manifest as manifests
from ragdecode.indexing.building.continuing import untouched
from ragdecode.indexing.file_table import FileTable
from ragdecode.indexing.files import Entry, FileEntry, SkippedEntry, read_flaws, read_listing, write_listing
from ragdecode.indexing.index import open_index, verify_index
from tests.indexing.doubles import answers, build, index_spec, opened, put

MANY = 20_000
ODD = ['a "quoted" name', "line\nend", "ü/日本.md", "half \ud800", ',"flaws":[', '{"skipped":', " ", "x" * 300]


def hashed(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def synthetic(count: int, seed: int = 3) -> Iterator[Entry]:
    chance = random.Random(seed)
    for number in range(count):
        source = f"{number // 500:03}/a folder/document-{number:06}.txt"
        if chance.random() < 0.01:
            yield SkippedEntry(source, chance.choice(["empty", "no text in it"]), number, number * 10**9)
        else:
            flaws = tuple(f"line {line}: broken" for line in range(chance.choice([0, 0, 0, 2])))
            yield FileEntry(source, hashed(source), number, 10**18 + number, number % 7, number % 900, flaws)


def with_listing(target: Path, entries: Iterator[Entry]) -> manifests.Manifest:
    """Give an index another list of files."""
    manifest = manifests.read(target)
    assert manifest is not None
    manifest = manifest.model_copy(update={"listing": write_listing(target, entries)})
    manifests.write(target, manifest)
    return manifest


def peak_and_seconds(call: Callable[[], object]) -> tuple[int, float]:
    """The most memory that a call takes, and its time: the least of three, since caches may grow during any."""
    call()
    peaks, times = [], []
    for _ in range(3):
        tracemalloc.start()
        call()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    for _ in range(3):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(peaks), min(times)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    put(tmp_path / "docs")
    build(index_spec(tmp_path / "docs", ["bm25"]), tmp_path / "index")
    return tmp_path / "index"


def test_all_entries_come_back_in_order(target: Path) -> None:
    entries: list[Entry] = [FileEntry(name, hashed(name), 5, 10**18, 2, 30, (f"{name}: bad",)) for name in ODD]
    entries += [SkippedEntry(f"s{name}", f"why {name}", 7, 9) for name in ODD]
    entries += [FileEntry(f"p{name}", hashed(name), 2**40, 0) for name in ODD]
    random.Random(1).shuffle(entries)
    manifest = with_listing(target, iter(entries))
    assert list(read_listing(target, manifest)) == entries
    assert list(opened(target).files()) == entries
    skipped = [Skipped(entry.source, entry.reason) for entry in entries if isinstance(entry, SkippedEntry)]
    flaws = [Skipped(entry.source, flaw) for entry in entries if isinstance(entry, FileEntry) for flaw in entry.flaws]
    assert read_flaws(target, manifest) == (skipped, flaws)
    listing = manifest.listing
    assert (listing.files, listing.skipped, listing.flaws) == (16, 8, 8)
    raw = (target / listing.name).read_bytes()
    assert (listing.size, listing.sha256) == (len(raw), sha256(raw).hexdigest())
    assert len([json.loads(line) for line in raw.splitlines()]) == 24


def test_opening_and_searching_never_read_the_list(target: Path, tmp_path: Path) -> None:
    spec = index_spec(tmp_path / "docs", ["bm25"])
    before = answers(opened(target, spec))
    (target / "files-1.jsonl").unlink()
    index = opened(target, spec)
    assert answers(index) == before
    assert index.info()["files"] == 4, "counts stand in the manifest, and nothing was skipped"
    with pytest.raises(RunError, match=r"files-1.jsonl: missing"):
        list(index.files())
    assert index.verify() == verify_index(target) == ["files-1.jsonl: missing"]
    report = build(spec, target)
    assert (report.built, report.reason) == (True, "the old index is damaged: files-1.jsonl: missing")
    assert opened(target).verify() == []


def test_a_changed_list_is_found_and_built_anew(target: Path, tmp_path: Path) -> None:
    file = target / "files-1.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"tokens":1', b'"tokens":2', 1))
    assert verify_index(target) == ["files-1.jsonl: its content has changed"]
    report = build(index_spec(tmp_path / "docs", ["bm25"]), target)
    assert (report.fresh, report.reason) == (True, "the old index is damaged: files-1.jsonl: its content has changed")
    put(tmp_path / "docs", {"bad.txt": "\x00"})
    build(index_spec(tmp_path / "docs", ["bm25"]), target)
    (file,) = target.glob("files-*.jsonl")
    file.write_bytes(b"nonsense\n{}\n" + file.read_bytes()[12:])
    with pytest.raises(RunError, match="is damaged: files-"):
        list(opened(target).files())


def test_an_index_of_many_files_opens_at_once(target: Path) -> None:
    manifest = with_listing(target, synthetic(MANY))
    assert manifest.listing.size > 100 * MANY
    manifest_bytes = (target / "manifest.json").stat().st_size
    assert manifest_bytes < 10_000, "it does not grow with the corpus"
    opening, seconds = peak_and_seconds(lambda: open_index(target))
    listing, all_of_it = peak_and_seconds(lambda: list(read_listing(target, manifest)))
    assert opening < 300_000 < listing
    assert seconds < all_of_it / 2


def test_what_has_not_changed_is_seen_in_passing(target: Path, tmp_path: Path) -> None:
    spec = index_spec(tmp_path / "docs", ["bm25"])
    manifest = with_listing(target, synthetic(MANY))
    found = [Found(entry.source, Path("nowhere"), entry.size, entry.mtime_ns) for entry in synthetic(MANY)]
    peak, _ = peak_and_seconds(lambda: untouched(target, manifest, spec, found))
    assert peak < 300_000
    assert untouched(target, manifest, spec, found)
    last = found[-1]
    for other in (replace(last, size=3), replace(last, mtime_ns=3), replace(last, source="z"), Skipped("z", "empty")):
        assert not untouched(target, manifest, spec, [*found[:-1], other])
    assert not untouched(target, manifest, spec, found[:-1])
    reports = [entry for entry in synthetic(MANY) if isinstance(entry, SkippedEntry)]
    skipped = [Skipped(entry.source, entry.reason) for entry in reports]
    with_listing(target, iter(reports))
    again = manifests.read(target)
    assert again is not None
    assert untouched(target, again, spec, skipped)
    assert not untouched(target, again, spec, [*skipped[:-1], replace(skipped[-1], reason="too large")])


def test_no_more_is_read_than_up_to_the_last_that_was_skipped(target: Path) -> None:
    few: list[Entry] = [
        FileEntry("a", hashed("a"), 1, 1),
        SkippedEntry("b", "empty"),
        FileEntry("c", hashed("c"), 1, 1),
    ]
    manifest = with_listing(target, iter(few))
    file = target / manifest.listing.name
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]) + b'{"skipped":')
    assert read_flaws(target, manifest) == ([Skipped("b", "empty")], [])


def test_the_table_finds_what_a_dictionary_finds() -> None:
    entries = [*synthetic(3000), *(FileEntry(name, hashed(name), 1, 2, 3, 4, ("bad",)) for name in ODD)]
    random.Random(5).shuffle(entries)
    for expected in (0, len(entries)):
        table = FileTable(iter(entries), expected=expected)
        naive = {entry.source: entry for entry in entries}
        assert list(table) == entries
        assert [table[row] for source in naive if (row := table.find(source)) is not None] == list(naive.values())
        for missing in ("", "nothing", entries[0].source + " "):
            assert (table.find(missing), missing in table) == (None, False)
        files = [entry for entry in entries if isinstance(entry, FileEntry)]
        assert list(table.files()) == files
        assert list(table.skipped()) == [entry for entry in entries if isinstance(entry, SkippedEntry)]
        assert table.count_files() == len(files)
        assert sum(table.passages) == sum(entry.passages for entry in files)
        assert table.tokens == sum(entry.tokens for entry in files)


def test_rows_of_the_table_can_be_put_later_and_again() -> None:
    table = FileTable()
    rows = [table.reserve(source) for source in ("a", "b")]
    first = FileEntry("b", hashed("1"), 5, 6, 7, 8, ("line 1: bad",))
    table.put(rows[1], first)
    table.put(rows[0], SkippedEntry("a", "empty"))
    assert (table.find("a"), table.file("a"), table.file("b")) == (0, None, first)
    second = replace(first, sha256=hashed("2"), passages=1, flaws=())
    table.put(rows[1], second)
    table.put(rows[0], replace(second, source="a"))
    assert list(table) == [replace(second, source="a"), second]
    table.put(rows[1], SkippedEntry("b", "no text in it", 3, 4))
    assert (table[1], sum(table.passages), table.tokens) == (SkippedEntry("b", "no text in it", 3, 4), 1, 8)
    table.add(SkippedEntry("c", "to be tried again"))
    assert table.find("c") is None
    double = table.reserve("a")
    assert (double, table.find("a")) == (3, 0)


def test_a_file_takes_little_memory() -> None:
    plain = [replace(entry, flaws=()) if isinstance(entry, FileEntry) else entry for entry in synthetic(MANY)]
    FileTable(plain[:10])
    tracemalloc.start()
    table = FileTable(plain, expected=MANY)
    expected = tracemalloc.get_traced_memory()[0] / MANY
    del table
    table = FileTable(plain)
    grown = tracemalloc.get_traced_memory()[0] / MANY
    tracemalloc.stop()
    assert len(table) == MANY
    assert expected < 150, "with names of 35 characters"
    assert grown < 165
    assert table[MANY - 1] == plain[-1]
