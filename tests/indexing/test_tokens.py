"""The token datastore against naive scans, and its builds against fresh ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdecode.documents.passage import Passage
from ragdecode.errors import InputError, RunError
from ragdecode.indexing.index import open_index, verify_index
from ragdecode.indexing.tokens import building
from ragdecode.indexing.tokens.answers import Answers
from ragdecode.indexing.tokens.continuations import most_frequent
from ragdecode.indexing.tokens.datastore import TokenDatastore
from ragdecode.indexing.tokens.shard import Shard, id_type, separator
from ragdecode.indexing.tokens.suffix_array import suffix_array
from ragdecode.indexing.tokens.texts import documents
from tests.indexing.doubles import TEXTS, WordIds, build, index_spec, put

SMALL, LARGE = id_type(65_535), id_type(65_536)

#: their bytes are in another order than they are, if the smaller byte comes first
ids = st.sampled_from([0, 1, 256, 515])
corpora = st.lists(st.lists(ids, max_size=25), min_size=1, max_size=6)


def shard(texts: list[list[int]], dtype: np.dtype[Any] = SMALL) -> Shard:
    tokens = [token for text in texts for token in (*text, separator(dtype))]
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)]).astype(np.uint32)
    keys = np.zeros((len(texts), 16), np.uint8)
    return Shard.sort(np.array(tokens, dtype), keys, starts)


def datastore(*shards: list[list[int]], dtype: np.dtype[Any] = SMALL) -> TokenDatastore:
    return TokenDatastore([shard(texts, dtype) for texts in shards], dtype)


def naive(
    texts: list[list[int]], last: list[int], longest: int, shortest: int, length: int, nodes: int
) -> tuple[int, int, list[tuple[tuple[int, ...], int]]] | None:
    """Length of the match, places, and the best continuations with their counts, by scanning everything."""
    for size in range(min(longest, len(last)), shortest - 1, -1):
        run = last[len(last) - size :]
        after = [
            tuple(text[at + size : at + size + length])
            for text in texts
            for at in range(len(text) - size + 1)
            if text[at : at + size] == run
        ]
        counts = Counter(rest[:end] for rest in after for end in range(1, len(rest) + 1))
        if counts:
            return size, len(after), sorted(counts.items(), key=lambda item: (-item[1], len(item[0]), item[0]))[:nodes]
    return None


def paths(tokens: list[int], parents: list[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for token, parent in zip(tokens, parents, strict=True):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


@settings(max_examples=200, deadline=None)
@given(corpora, st.sampled_from([2, 8, 64]), st.sampled_from([SMALL, LARGE]))
def test_suffixes_are_in_order(texts: list[list[int]], depth: int, dtype: np.dtype[Any]) -> None:
    stop = separator(dtype)
    tokens = [token for text in texts for token in (*text, stop)]

    def rest(start: int) -> list[int]:
        return [*tokens[start : tokens.index(stop, start)], stop + start + 1][:depth]

    starts = [at for at, token in enumerate(tokens) if token != stop]
    expected = sorted(starts, key=lambda at: (rest(at), at))
    assert suffix_array(np.array(tokens, dtype), stop, depth).tolist() == expected


def test_an_array_without_a_last_separator_is_refused() -> None:
    with pytest.raises(ValueError, match="separator"):
        suffix_array(np.array([1, 2], np.uint16), 65_535)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(corpora, min_size=1, max_size=3),
    st.lists(ids, min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([SMALL, LARGE]),
)
def test_continuations_are_those_of_a_scan(
    shards: list[list[list[int]]], last: list[int], nodes: int, shortest: int, length: int, dtype: np.dtype[Any]
) -> None:
    found = datastore(*shards, dtype=dtype).continuations(
        last, longest=6, shortest=shortest, length=length, nodes=nodes
    )
    expected = naive([text for texts in shards for text in texts], last, 6, shortest, length, nodes)
    if found is None or expected is None:
        assert found is expected is None
        return
    counted = dict(zip(paths(found.tokens, found.parents), found.counts, strict=True))
    assert (found.matched, found.found, found.places) == (expected[0], expected[1], expected[1])
    assert counted == dict(expected[2])
    assert all(parent < at for at, parent in enumerate(found.parents))


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("nodes", [1, 7, 40, 5000])
def test_prefixes_of_many_continuations_are_counted(shards: int, nodes: int) -> None:
    rng = np.random.default_rng(1)
    parts = [sorted(map(tuple, rng.choice([0, 1, 256, 515], (300, 5)).tolist())) for _ in range(shards)]
    counts = Counter(row[:end] for part in parts for row in part for end in range(1, 6))
    expected = sorted(counts.items(), key=lambda item: (-item[1], len(item[0]), item[0]))[:nodes]
    places = [(np.array(part, SMALL).ravel(), np.arange(300) * 5) for part in parts]
    tokens, parents, found = most_frequent(places, 5, separator(SMALL), nodes)
    assert dict(zip(paths(tokens, parents), found, strict=True)) == dict(expected)


def test_of_many_places_those_looked_at_are_spread_over_all() -> None:
    texts = [[1, 2, 10 + at % 50] for at in range(1000)]
    found = datastore(texts[:700], texts[700:]).continuations([1, 2], matches=100, nodes=64)
    assert found is not None
    assert (found.found, found.places) == (1000, 100)
    assert sorted(found.tokens) == list(range(10, 60))
    assert set(found.counts) <= {1, 2, 3, 4}


@pytest.mark.parametrize("last", [[65_535, 65_535], [1, -1], [1, 70_000], [1, 1 << 70]])
def test_ids_that_are_none_are_not_found(last: list[int]) -> None:
    assert datastore([[1, 2, 3]]).continuations(last) is None


def test_documents_come_back_from_their_passages() -> None:
    def passage(text: str, start: int, source: str = "a", record: str = "", heading: str = "") -> Passage:
        return Passage("x", text, source, None, heading, start, start + len(text), 1, record)

    found = documents(
        [
            passage("One two three.", 0),
            passage("three. Four.", 8),  # shares a word
            passage("Five.", 21),  # one space between
            passage("# Six", 28),  # a blank line between
            passage("Other", 0, "b"),
            passage("First", 0, "c", "1"),
            passage("Second", 6, "c", "2"),
            passage("Third", 20, "d", heading="A"),
            passage("Fourth", 26, "d", heading="B"),
        ]
    )
    assert list(found) == [
        "One two three. Four. Five.\n\n# Six",
        "Other",
        "First",
        "Second",
        "Third\nFourth",
    ]


def spec_of(root: Path) -> Any:
    return index_spec(root, ["bm25", "tokens"])


def built(root: Path, target: Path, **more: Any) -> Any:
    return build(spec_of(root), target, **({"tokenizer": WordIds} | more))


def opened(root: Path, target: Path) -> TokenDatastore:
    return open_index(target, spec_of(root)).datastore("words-1")


def all_continuations(store: TokenDatastore, texts: list[str]) -> list[Any]:
    words = WordIds()
    found = []
    for text in texts:
        ids = words.encode(text, special=False)
        for end in range(1, len(ids) + 1):
            one = store.continuations(ids[:end], shortest=1, nodes=32)
            found.append(one and (one.matched, one.found, paths(one.tokens, one.parents), one.counts))
    return found


def test_the_store_holds_the_corpus_and_answers_from_it(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    report = built(tmp_path / "docs", tmp_path / "index")
    assert "tokens of 4 documents in 1 shards" in str(report.stages)
    store = opened(tmp_path / "docs", tmp_path / "index")
    words = WordIds()
    found = store.continuations(words.encode("clouds are white, and", special=False), nodes=3, length=3)
    assert found is not None
    assert found.tokens == words.encode("rain falls from", special=False)
    info = open_index(tmp_path / "index").info()
    assert info["stores"]["tokens"]["facts"] == {
        "tokenizer": "words-1",
        "id_bytes": 2,
        "documents": 4,
        "tokens": store.tokens,
    }
    assert verify_index(tmp_path / "index") == []


def test_an_incremental_build_answers_like_a_fresh_one(tmp_path: Path) -> None:
    root, target = tmp_path / "docs", tmp_path / "index"
    put(root)
    built(root, target)
    words = WordIds()
    for step in range(6):
        put(root, {f"new-{step}.txt": f"Clouds are green in year {step}. Pears are green or red. " * (step + 1)})
        if step == 2:
            (root / "sky.txt").unlink()
        if step == 4:
            put(root, {"fruit/pear.md": "# Pears\n\nPears are blue. A pear tree is white.\n"})
        words.read.clear()
        built(root, target, tokenizer=lambda: words)
        assert sum("year" in text for text in words.read) == 1, "known documents are not tokenised again"
        built(root, tmp_path / f"fresh-{step}")
        kept, fresh = open_index(target), open_index(tmp_path / f"fresh-{step}")
        assert kept.manifest.content == fresh.manifest.content
        texts = [path.read_text() for path in sorted(root.rglob("*.*"))] + ["The sky is blue. Clouds are white"]
        assert all_continuations(opened(root, target), texts) == all_continuations(
            opened(root, tmp_path / f"fresh-{step}"), texts
        )
        assert verify_index(target) == []


def test_shards_that_are_kept_are_the_same_files(tmp_path: Path) -> None:
    ids = WordIds()
    first, second, third = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    for folder in (first, second, third):
        folder.mkdir()
    texts = ["a b c d e f g h " * 20, "i j k l " * 20]
    building.build(texts, first, ids)
    totals = building.build([*texts, "m n"], second, ids, first)
    assert (totals.shards, totals.fresh, totals.documents) == (2, 1, 3)
    assert (first / "0000.suffixes.npy").read_bytes() == (second / "0000.suffixes.npy").read_bytes()
    totals = building.build([texts[1], "m n"], third, ids, second)  # a document less: nothing is sorted
    assert (totals.fresh, totals.documents) == (0, 2)
    left = Shard.open(third, 0)
    assert left.suffixes.tolist() == suffix_array(np.array(left.tokens), separator(left.tokens.dtype)).tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, 12), max_size=8), min_size=2, max_size=5), st.sampled_from([20, 60, 1 << 24]))
def test_any_history_of_builds_ends_at_the_same_datastore(
    tmp_path_factory: pytest.TempPathFactory, history: list[set[int]], large: int
) -> None:
    texts = ["a b a b c " * 3, "b c a", "c", "a a a a", "b a c a b a", "x y z", "x y", "z z y " * 4]
    texts += [f"{text} a b {text}" for text in texts[:5]]
    before: Path | None = None
    for wanted in history:
        folder = tmp_path_factory.mktemp("tokens")
        totals = building.build([texts[one] for one in sorted(wanted)], folder, WordIds(), before, large=large)
        before = folder
    facts = {"tokenizer": "words-1", "id_bytes": 2, "documents": totals.documents, "tokens": totals.tokens}
    store = TokenDatastore.open(folder, facts)
    fresh_folder = tmp_path_factory.mktemp("fresh")
    building.build([texts[one] for one in sorted(history[-1])], fresh_folder, WordIds())
    assert all_continuations(store, texts) == all_continuations(TokenDatastore.open(fresh_folder, facts), texts)


def test_many_small_builds_leave_few_shards(tmp_path: Path) -> None:
    texts = [f"text number {at} of many" for at in range(60)]
    before = None
    for count in range(1, len(texts) + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        totals = building.build(texts[:count], folder, WordIds(), before)
        before = folder
        assert totals.shards <= building.MANY
        assert totals.fresh == 1


def test_a_text_that_stands_twice_is_taken_once(tmp_path: Path) -> None:
    totals = building.build(["a b c", "a b c", "d"], tmp_path, WordIds())
    assert totals.documents == 2


def test_passages_are_found_by_other_stores_only(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    built(tmp_path / "docs", tmp_path / "index")
    index = open_index(tmp_path / "index", spec_of(tmp_path / "docs"))
    assert index.stores == ("bm25",)
    with pytest.raises(InputError, match=r"'tokens' finds no passages(.|\n)*search bm25"):
        index.search("tokens", ["sky"], 3)


def test_another_tokenizer_is_refused_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    built(tmp_path / "docs", tmp_path / "index")
    index = open_index(tmp_path / "index", spec_of(tmp_path / "docs"))
    with pytest.raises(InputError, match=r"another tokenizer than the model's: fingerprint words-1, the model has o"):
        index.datastore("other")


def test_an_index_without_the_store_says_how_to_add_it(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    build(index_spec(tmp_path / "docs", ["bm25"]), tmp_path / "index")
    with pytest.raises(InputError, match=r"no store 'tokens'; it has bm25(.|\n)*add tokens to index.stores"):
        open_index(tmp_path / "index").datastore("words-1")


def test_a_build_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    with pytest.raises(InputError, match="needs a tokenizer"):
        built(tmp_path / "docs", tmp_path / "index", tokenizer=None)


@pytest.mark.parametrize("name", ["tokens", "suffixes", "keys", "starts"])
@pytest.mark.parametrize("harm", ["missing", "shorter", "another array", "no array"])
def test_damage_is_told_with_the_way_to_repair_it(tmp_path: Path, name: str, harm: str) -> None:
    put(tmp_path / "docs")
    built(tmp_path / "docs", tmp_path / "index")
    file = next((tmp_path / "index").glob(f"data-*/stores/tokens/*.{name}.npy"))
    size = file.stat().st_size
    if harm == "missing":
        file.unlink()
    elif harm == "shorter":
        file.write_bytes(file.read_bytes()[:-2])
    elif harm == "another array":
        array = np.load(file)
        np.save(file, np.full_like(array, 7))
    else:
        file.write_bytes(os.urandom(size))
    assert verify_index(tmp_path / "index")
    if (name, harm) != ("keys", "another array"):  # which only builds read, and only hashes tell
        with pytest.raises(RunError, match=r"is damaged(.|\n)*ragdecode index build"):
            opened(tmp_path / "docs", tmp_path / "index")


def test_facts_that_do_not_fit_are_damage(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    built(tmp_path / "docs", tmp_path / "index")
    file = tmp_path / "index" / "manifest.json"
    for fact, value in (("documents", 3), ("tokens", 1), ("id_bytes", 4), ("id_bytes", 3)):
        manifest = json.loads(file.read_text())
        manifest["stores"]["tokens"]["facts"][fact] = value
        changed = json.dumps(manifest)
        whole = file.read_text()
        file.write_text(changed)
        with pytest.raises(RunError, match="is damaged: store tokens"):
            opened(tmp_path / "docs", tmp_path / "index")
        file.write_text(whole)


DRIVER = """
import os, signal, sys
from pathlib import Path
from ragdecode.indexing.tokens import building, shard
from tests.indexing import doubles

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

point = sys.argv[1]
if point == "tokenising":
    building.token_ids = die
elif point == "sorting":
    shard.suffix_array = die
elif point == "half written":
    shard.Shard._arrays, real = (lambda self: [*real(self)[:2], (die(), None)]), shard.Shard._arrays
elif point == "taken over":
    building.take_over, take = (lambda *args: die(take(*args))), building.take_over
spec = doubles.index_spec(Path(sys.argv[2]), ["bm25", "tokens"])
doubles.build(spec, Path(sys.argv[3]), tokenizer=doubles.WordIds)
"""


@pytest.mark.parametrize("point", ["tokenising", "sorting", "half written", "taken over"])
def test_a_build_that_is_killed_goes_on_to_the_same_index(tmp_path: Path, point: str) -> None:
    root, target = tmp_path / "docs", tmp_path / "index"
    put(root, {**TEXTS, "long.txt": "one two three four " * 50})
    built(root, target)
    put(root, {"new.txt": "Clouds are red in the evening."})
    command = [sys.executable, "-c", DRIVER, point, str(root), str(target)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr.decode()
    old = opened(root, target)  # the old index answers as before
    assert old.continuations(WordIds().encode("are red in", special=False), shortest=3) is None
    built(root, target)
    built(root, tmp_path / "fresh")
    texts = list(TEXTS.values())
    assert all_continuations(opened(root, target), texts) == all_continuations(opened(root, tmp_path / "fresh"), texts)
    assert open_index(target).manifest.content == open_index(tmp_path / "fresh").manifest.content
    assert verify_index(target) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ids, min_size=1, max_size=12), min_size=1, max_size=20), st.integers(1, 5))
def test_past_answers_are_searched_beside_the_corpus(answers: list[list[int]], step: int) -> None:
    corpus = [[0, 1, 256, 515], [256, 256, 1, 0, 1]]
    store, past = datastore(corpus), Answers(SMALL)
    for at, answer in enumerate(answers):
        past.add(answer)
        if at % step == 0:
            past.settle()
    past.settle()
    for last in ([0, 1], [256, 256], answers[-1]):
        found = store.continuations(last, longest=6, shortest=1, nodes=20, length=5, beside=past)
        expected = naive([*corpus, *answers], last, 6, 1, 5, 20)
        assert (found and dict(zip(paths(found.tokens, found.parents), found.counts, strict=True))) == (
            expected and dict(expected[2])
        )


def test_answers_in_a_file_outlive_the_process_and_torn_lines(tmp_path: Path) -> None:
    file = tmp_path / "answers.txt"
    Answers(SMALL, file).add([1, 2, 3])
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])  # a process that died while it wrote
    Answers(SMALL, file).add([4, 5, 6])
    again = Answers(SMALL, file)
    again.settle()
    store = datastore([[9, 9]])
    for last, expected in (([1, 2], [3]), ([4, 5], [6])):
        found = store.continuations(last, beside=again)
        assert found is not None
        assert found.tokens == expected
    assert file.stat().st_mode & 0o077 == 0, "answers are the user's own"
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut] + b"\xff" + whole[cut + 1 :])
        damaged = Answers(SMALL, file)
        damaged.settle()
        found = store.continuations([1, 2], beside=damaged)
        assert found is None or found.tokens == [3]


def test_old_answers_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragdecode.indexing.tokens.answers.LARGE", 64)
    past = Answers(SMALL)
    for at in range(200):
        past.add([at] * 20)
        past.settle()
    assert sum(len(lookup.shard.tokens) for lookup in past.shards) < 1000
    store = datastore([[999]])
    newest, oldest = (store.continuations([at, at], beside=past) for at in (199, 0))
    assert newest is not None
    assert oldest is None
