"""The memory of a language model on disk: its keys against a naive reading, its builds against fresh ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.index import open_index, verify_index
from ragdecode.indexing.memory import faiss_index, nearest
from ragdecode.indexing.memory.datastore import MemoryDatastore
from ragdecode.indexing.memory.windows import Reading, passes, windows
from ragdecode.indexing.stores.memory import MemorySettings
from tests.indexing.doubles import build, index_spec, put
from tests.indexing.readers import Letters, TinyReader
from tests.reference import memory as reference

SMALL = {"window": 12, "stride": 5, "context": 3}
TEXTS = {
    "a.txt": "the cat sat on the mat and the dog sat by the door of the house",
    "b.txt": "a bird in the hand is worth two in the bush",
    "c.txt": "oh",
    "d.txt": "the cat sat on the mat again",
}


def made(tmp_path: Path, texts=None, reader=None, settings=None, name="index", **more):
    """An index with a memory, and what its build said."""
    root = tmp_path / "docs"
    put(root, TEXTS if texts is None else texts)
    spec = index_spec(root, [{"memory": SMALL | (settings or {})}])
    reader = reader or TinyReader()
    report = build(
        spec, tmp_path / name, tokenizer_fingerprint="letters", tokenizer=Letters, key_model=lambda: reader, **more
    )
    return open_index(tmp_path / name, spec), report


def memory_of(index, reader=None) -> MemoryDatastore:
    reader = reader or TinyReader()
    return index.memory(reader.fingerprint, "letters", reader.dtype)


def data(index) -> dict[str, bytes]:
    folder = index.path / index.manifest.folder / "stores" / "memory"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=5), st.integers(2, 12), st.data())
def test_windows_want_every_place_once_with_its_left_context(lengths, window, more):
    reading = Reading(window, more.draw(st.integers(1, window)), more.draw(st.integers(1, window)))
    entry, wanted = 0, []
    found = []
    for document, length in enumerate(lengths):
        found += windows(document, length, entry, reading)
        wanted += [
            (document, place, entry + place - reading.context + 1) for place in range(reading.context - 1, length - 1)
        ]
        entry += reading.entries(length)
    got = []
    for one in found:
        assert 0 < one.stop - one.start <= window
        for at in range(one.first, one.stop):
            got.append((one.document, at, one.entry + at - one.first))
            assert one.start == 0 or at - one.start >= window - reading.stride
    assert got == wanted
    assert entry == len(wanted)
    batches = list(passes(iter(found), 16))
    assert [one for batch in batches for one in batch] == found
    assert all(len(batch) == 1 or sum(one.stop - one.start for one in batch) <= 16 for batch in batches)


@pytest.mark.parametrize("key", ["ffn_input", "block_output", "final"])
def test_keys_values_and_places_are_those_of_a_naive_reading(tmp_path, key):
    index, _ = made(tmp_path, settings={"key": key})
    memory = memory_of(index)
    texts = [Letters().encode(text, False) for text in TEXTS.values() if len(text) > 3]
    keys, values, places = reference.entries(texts, lambda ids: TinyReader().stock(ids, key), **SMALL)
    assert len(memory) == len(values) > 100
    np.testing.assert_allclose(memory.keys.astype(np.float64), keys, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(memory.corpus.values, values)
    sources = [name for name, text in TEXTS.items() if len(text) > 3]
    told = memory.places(range(len(memory)))
    assert [(one.source, one.document, one.token) for one in told] == [(sources[n], n, at) for n, at in places]
    assert [memory.corpus.ids(number) for number in range(len(texts))] == texts
    assert memory.corpus.ids(0, 1, 30) == texts[0][1:30]
    following = memory.following(np.arange(-1, len(memory)))
    ends = [memory.entries(number).stop - 1 for number in range(len(texts))]
    expected = [-1, *(-1 if row in ends else row + 1 for row in range(len(memory)))]
    assert following.tolist() == expected


def test_a_text_that_stands_twice_is_read_once(tmp_path):
    reader = TinyReader()
    twice, _ = made(tmp_path / "twice", {**TEXTS, "z.txt": TEXTS["a.txt"]}, reader)
    once, _ = made(tmp_path / "once")
    assert len(memory_of(twice)) == len(memory_of(once))


def test_documents_that_were_read_are_not_read_again(tmp_path):
    first = TinyReader()
    index, _ = made(tmp_path, reader=first)
    old = memory_of(index).keys[:].copy()
    put(tmp_path / "docs", {"aa.txt": "new text in between the others"})
    (tmp_path / "docs" / "d.txt").unlink()
    texts = {name: text for name, text in TEXTS.items() if name != "d.txt"}
    second = TinyReader()
    index, report = made(tmp_path, texts, second)
    assert [Letters().decode(text) for text in second.read] == [
        "new text in ",
        "ext in betwe",
        "n between th",
        "ween the oth",
        "the other",
    ]
    assert "27 keys computed" in report.stages[-2].summary
    fresh, _ = made(tmp_path, texts, name="fresh")
    assert np.abs(memory_of(index).keys - memory_of(fresh).keys).max() < 1e-2
    assert np.array_equal(memory_of(index).corpus.values, memory_of(fresh).corpus.values)
    rows = memory_of(index).entries(0)
    assert np.array_equal(memory_of(index).keys[rows.start : rows.stop], old[rows.start : rows.stop])
    unchanged = TinyReader()
    _, report = made(tmp_path, texts, unchanged)
    assert not report.built
    assert not unchanged.read


def test_a_build_that_was_interrupted_goes_on_with_the_same_passes(tmp_path, monkeypatch):
    monkeypatch.setattr("ragdecode.indexing.memory.windows.PASS", 24)
    monkeypatch.setattr("ragdecode.indexing.memory.building.passes", lambda all_: passes(all_, 24))
    whole = TinyReader()
    unbroken, _ = made(tmp_path / "whole", reader=whole)
    stopped = TinyReader(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, reader=stopped)
    rest = TinyReader()
    index, report = made(tmp_path, reader=rest)
    assert stopped.read + rest.read == whole.read
    assert "by an interrupted build" in report.stages[-2].summary
    assert data(index) == data(unbroken)
    assert report.resumed_texts > 0


def test_what_an_interrupted_build_read_is_taken_over_when_the_corpus_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr("ragdecode.indexing.memory.building.passes", lambda all_: passes(all_, 24))
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, reader=TinyReader(stop_after=16))
    put(tmp_path / "docs", {"0.txt": "first of all"})
    rest = TinyReader()
    index, report = made(tmp_path, TEXTS, rest)
    assert Letters().decode(rest.read[0]) == "first of al"
    known, total = len(TEXTS["a.txt"]) - 3, len(memory_of(index))
    assert f"{total - known} keys computed, {known} taken over" in report.stages[-2].summary
    fresh, _ = made(tmp_path, {**TEXTS, "0.txt": "first of all"}, name="fresh")
    assert np.abs(memory_of(index).keys - memory_of(fresh).keys).max() < 1e-2


def test_keys_that_changed_on_disk_after_they_were_noted_are_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr("ragdecode.indexing.memory.building.passes", lambda all_: passes(all_, 24))
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, reader=TinyReader(stop_after=3))
    keys = tmp_path / "index/.building/data/stores/memory/keys.npy"
    stored = np.load(keys, mmap_mode="r+")
    stored[2] += 1
    stored.flush()
    index, _ = made(tmp_path)
    unbroken, _ = made(tmp_path, name="unbroken")
    assert np.array_equal(memory_of(index).keys, memory_of(unbroken).keys)


KILLED = """
import os, signal, sys
from pathlib import Path
from ragdecode.indexing.memory import building, windows
from tests.indexing import readers, test_memory
building.passes = lambda all_: windows.passes(all_, 24)
class Dying(readers.TinyReader):
    def vectors(self, *args):
        if len(self.read) >= 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().vectors(*args)
test_memory.made(Path(sys.argv[1]), reader=Dying())
"""


def test_a_build_that_was_killed_goes_on(tmp_path, monkeypatch):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, env=environment, cwd=Path.cwd())
    assert died.returncode == -9
    monkeypatch.setattr("ragdecode.indexing.memory.building.passes", lambda all_: passes(all_, 24))
    rest = TinyReader()
    index, report = made(tmp_path, reader=rest)
    unbroken, _ = made(tmp_path / "whole")
    assert "by an interrupted build" in report.stages[-2].summary
    assert np.array_equal(memory_of(index).keys, memory_of(unbroken).keys)


@pytest.mark.parametrize("change", [{"key": "final"}, {"window": 10}, {"stride": 4}, {"context": 2}])
def test_other_keys_are_computed_anew(tmp_path, change):
    made(tmp_path)
    reader = TinyReader()
    index, report = made(tmp_path, reader=reader, settings=change)
    assert f"{len(memory_of(index))} keys computed, 0 taken over" in report.stages[-2].summary


def test_another_kind_takes_the_keys_over(tmp_path):
    made(tmp_path)
    reader = TinyReader()
    index, _ = made(tmp_path, reader=reader, settings={"kind": "hnsw"})
    assert not reader.read
    assert "index.faiss" in data(index)


@pytest.mark.parametrize("other", [{"fingerprint": "tiny-2"}, {"dtype": "bfloat16"}])
def test_another_model_or_precision_builds_anew_and_is_refused_by_what_there_is(tmp_path, other):
    index, _ = made(tmp_path)
    reader = TinyReader(**other)
    with pytest.raises(InputError, match="its keys mean nothing to this model"):
        index.memory(reader.fingerprint, "letters", reader.dtype)
    _, report = made(tmp_path, reader=reader)
    assert report.built
    assert reader.read


def test_another_tokenizer_or_layer_is_refused_with_the_reason(tmp_path):
    index, _ = made(tmp_path)
    reader = TinyReader()
    with pytest.raises(InputError, match="made with another tokenizer: tokenizer letters, now words"):
        index.memory(reader.fingerprint, "words", reader.dtype)
    with pytest.raises(InputError, match="made of another vector: key ffn_input, now final"):
        index.memory(reader.fingerprint, "letters", reader.dtype, "final")
    assert index.memory(reader.fingerprint, "letters", reader.dtype, "ffn_input")


@pytest.mark.parametrize("name", ["keys.npy", "values.npy", "norms.npy", "starts.npy", "heads.npy", "documents.jsonl"])
def test_damage_is_found(tmp_path, name):
    index, _ = made(tmp_path)
    file = index.path / index.manifest.folder / "stores" / "memory" / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert verify_index(index.path) == [f"stores/memory/{name}: its content has changed"]
    file.write_bytes(content[:-5])
    assert verify_index(index.path) == [f"stores/memory/{name}: {len(content) - 5} bytes, expected {len(content)}"]
    with pytest.raises(RunError, match="is damaged"):
        open_index(index.path)


def test_files_that_do_not_fit_are_refused(tmp_path):
    index, _ = made(tmp_path)
    folder = index.path / index.manifest.folder / "stores" / "memory"
    facts = index.manifest.stores["memory"].facts
    with pytest.raises(ValueError, match="expected"):
        MemoryDatastore(folder, {**facts, "entries": facts["entries"] + 1})
    np.save(folder / "values.npy", np.zeros(5, np.int32))
    with pytest.raises(ValueError, match="do not fit each other"):
        MemoryDatastore(folder, facts)
    (folder / "keys.npy").write_bytes((folder / "keys.npy").read_bytes()[:-100])
    with pytest.raises(RunError, match="is damaged"):
        memory_of(open_index_unchecked(index))


def open_index_unchecked(index):
    """The index as it was opened before the damage."""
    index._searchers.clear()
    return index


def test_what_cannot_be_built_is_refused(tmp_path):
    with pytest.raises(InputError, match="memory.window is 300; the model reads 256 tokens at most"):
        made(tmp_path, settings={"window": 300})
    with pytest.raises(InputError, match="no document is longer than memory.context"):
        made(tmp_path / "short", {"a.txt": "oh"})
    with pytest.raises(RunError, match="block_output holds numbers beyond 65,504"):
        made(tmp_path / "large", reader=TinyReader(scale=1e6), settings={"key": "block_output"})
    put(tmp_path / "docs")
    with pytest.raises(InputError, match="needs a language model"):
        build(index_spec(tmp_path / "docs", ["memory"]), tmp_path / "none")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"stride": 20}, "must be at most window"),
        ({"context": 20}, "must be at most window"),
        ({"lists": 3}, "lists has no place in kind auto; it belongs to ivfpq"),
        ({"kind": "ivfpq", "neighbours": 8}, "neighbours has no place in kind ivfpq"),
        ({"key": "middle"}, "ffn_input"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        MemorySettings.model_validate({"window": 12, "stride": 6} | wrong)


def store(tmp_path: Path, keys: np.ndarray, **sizes) -> MemoryDatastore:
    """A memory of given keys, in documents of about 50 entries."""
    settings = MemorySettings.model_validate(sizes)
    count, width = keys.shape
    starts = np.array([*range(0, count, 50), count], np.int64)
    half = keys.astype(np.float16)
    tmp_path.mkdir(exist_ok=True)
    for name, array in {
        "keys": half,
        "norms": (half.astype(np.float64) ** 2).sum(1).astype(np.float32),
        "values": (np.arange(count) % 91).astype(np.int32),
        "heads": np.zeros((len(starts) - 1, 1), np.int32),
        "starts": starts,
        "hashes": np.zeros((len(starts) - 1, 16), np.uint8),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "documents.jsonl").write_text("".join(json.dumps(["a", ""]) + "\n" for _ in starts[1:]))
    plan = faiss_index.plan(settings, count, width)
    faiss_index.build(plan, tmp_path, lambda done, total: None)
    return MemoryDatastore(tmp_path, {"entries": count, "width": width, "documents": len(starts) - 1, **plan.facts})


def clustered(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Points around random centres, as keys of language models are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // 40, width)) * 2
    return centres[rng.integers(len(centres), size=count)] + rng.normal(size=(count, width)) * 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block", [7, 8192])
def test_exact_search_is_that_of_a_scan(tmp_path, monkeypatch, dtype, block):
    monkeypatch.setattr(nearest, "_KEYS", block)
    monkeypatch.setattr(nearest, "_QUERIES", 3)
    keys = clustered(300, 24)
    keys[200:240] = keys[10:50]  # equally far ones
    memory = store(tmp_path / "m", keys)
    queries = np.concatenate([keys[:4] + 0.1, keys[12:15]]).astype(dtype)
    leave_out = [range(0), range(5, 25), range(0), range(290, 300), range(8, 16), range(0), range(0)]
    for k in (1, 17, 250):
        for left in (None, leave_out):
            found = memory.search(queries, k, left)
            for at, query in enumerate(queries):
                rows, far = reference.nearest(memory.keys, query, k, left[at] if left else range(0))
                assert found.rows[at].tolist() == rows
                np.testing.assert_allclose(
                    found.distances[at], far, rtol=1e-5 if dtype is np.float32 else 1e-12, atol=1e-9
                )
                assert found.values[at].tolist() == [row % 91 for row in rows]
    np.testing.assert_array_equal(memory.distances(queries, found.rows), found.distances)
    alone = memory.search(queries[2:3], 17)
    together = memory.search(queries, 17)
    assert np.array_equal(alone.distances[0], together.distances[2])
    assert np.array_equal(alone.rows[0], together.rows[2])


def test_all_entries_may_be_asked_for_and_no_more(tmp_path):
    memory = store(tmp_path / "m", clustered(80, 8))
    found = memory.search(np.zeros((1, 8)), 80)
    assert sorted(found.rows[0].tolist()) == list(range(80))
    with pytest.raises(InputError, match="81 neighbours are asked for; the memory has 80 entries"):
        memory.search(np.zeros((1, 8)), 81)
    with pytest.raises(InputError, match="8 numbers"):
        memory.search(np.zeros((1, 9)), 1)
    left = memory.search(np.zeros((1, 8)), 80, [range(10, 20)])
    assert left.rows[0].tolist().count(-1) == 10
    assert np.isinf(left.distances[0, -10:]).all()
    assert (left.values[0, -10:] == -1).all()


@pytest.mark.parametrize(
    ("sizes", "least"),
    [({"kind": "ivfpq", "lists": 64, "probes": 16, "code_bytes": 16}, 0.95), ({"kind": "hnsw"}, 0.97)],
)
def test_other_kinds_find_nearly_all_and_tell_true_distances(tmp_path, sizes, least):
    keys = clustered(12_000, 32)
    exact, other = store(tmp_path / "exact", keys, kind="flat"), store(tmp_path / "other", keys, **sizes)
    queries = clustered(12_000, 32)[::400] + 0.05
    want, got = exact.search(queries, 32), other.search(queries, 32)
    recall = np.mean([len(set(a) & set(b)) / 32 for a, b in zip(want.rows, got.rows, strict=True)])
    assert recall >= least
    np.testing.assert_allclose(got.distances, exact.distances(queries, got.rows), rtol=1e-12)
    assert (np.diff(got.distances, axis=1) >= 0).all()
    again = store(tmp_path / "again", keys, **sizes)
    assert (tmp_path / "again/index.faiss").read_bytes() == (tmp_path / "other/index.faiss").read_bytes()
    assert np.array_equal(again.search(queries, 32).rows, got.rows)


def test_recall_of_random_keys_grows_with_probes_and_candidates(tmp_path):
    keys = np.random.default_rng(3).normal(size=(10_000, 32))
    exact = store(tmp_path / "exact", keys, kind="flat")
    queries = np.random.default_rng(4).normal(size=(20, 32))
    want = exact.search(queries, 10).rows
    recalls = []
    for name, sizes in {"few": {"probes": 2, "refine": 1}, "many": {"probes": 64, "refine": 40}}.items():
        memory = store(tmp_path / name, keys, kind="ivfpq", lists=64, code_bytes=16, **sizes)
        got = memory.search(queries, 10).rows
        recalls.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(want, got, strict=True)]))
    assert recalls[0] < recalls[1]
    assert recalls[1] >= 0.95


def test_too_few_entries_are_compared_with_all_and_the_reason_is_told(tmp_path):
    plan = faiss_index.plan(MemorySettings(kind="ivfpq"), 500, 32)
    assert (plan.kind, plan.reason) == ("flat", "ivfpq needs at least 9984 entries to be trained on, there are 500")
    with pytest.raises(InputError, match="does not divide the 32 numbers of a key"):
        faiss_index.plan(MemorySettings(kind="ivfpq", code_bytes=5), 20_000, 32)
    assert faiss_index.plan(MemorySettings(), 100_001, 576).facts == {
        "kind": "ivfpq",
        "lists": 1265,
        "probes": 79,
        "code_bytes": 64,
        "refine": 4,
    }


def test_a_damaged_faiss_file_is_refused(tmp_path):
    memory = store(tmp_path / "m", clustered(400, 16), kind="hnsw")
    file = tmp_path / "m/index.faiss"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        memory.search(np.zeros((1, 16)), 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_search_on_cuda_is_that_on_the_cpu(tmp_path):
    keys = clustered(5000, 64)
    memory = store(tmp_path / "m", keys)
    there = MemoryDatastore(tmp_path / "m", memory.facts, device="cuda")
    queries = clustered(5000, 64)[::100]
    want, got = memory.search(queries, 40), there.search(queries, 40)
    assert np.array_equal(want.rows, got.rows)
    assert np.array_equal(want.distances, got.distances)
