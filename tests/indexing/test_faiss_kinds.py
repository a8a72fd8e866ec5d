from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from ragdecode.errors import InputError
from ragdecode.indexing.store import Probe, Vectors
from ragdecode.indexing.stores.faiss import FaissSettings, FaissStore
from ragdecode.indexing.vectors import faiss_kinds
from ragdecode.indexing.vectors.faiss_searcher import FaissSearcher
from tests.indexing.doubles import ENCODER, HashedWords, build, index_spec, opened, put

DIMENSION = 32
COUNT = 12_000
RECALL = {"ivf": 0.95, "hnsw": 0.95, "pq": 0.9}


class ByNumber:
    """An encoder: text ``7`` is the vector of row 7, ``q7`` a point near it."""

    dimension = DIMENSION
    fingerprint = "by-number"

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.known = vectors

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        rows = self.known[[int(text.removeprefix("q")) % len(self.known) for text in texts]]
        noise = np.random.default_rng(5).standard_normal(rows.shape).astype(np.float32)
        return rows + (0.05 * noise if role == "query" else 0)


def clustered(count: int = COUNT, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((200, DIMENSION))
    vectors = centres[random.integers(0, 200, count)] + 0.6 * random.standard_normal((count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return clustered()


def settings(**more: object) -> FaissSettings:
    return FaissSettings.model_validate({"encoder": ENCODER, **more})


def searcher(vectors: NDArray[np.float32], folder: Path, **more: object) -> FaissSearcher:
    """The store as it is after the embedding."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", vectors)
    plan = faiss_kinds.plan(settings(**more), *vectors.shape)
    faiss_kinds.build(plan, folder, "vectors.npy", lambda done: None)
    facts = {"encoder": "by-number", "dimension": vectors.shape[1], **plan.facts}
    return FaissStore(settings(**more)).open(folder, facts, lambda model: ByNumber(vectors))


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq"])
def test_kinds_find_what_exact_search_finds_with_exact_scores(vectors, tmp_path: Path, kind: str) -> None:
    index = searcher(vectors, tmp_path, kind=kind)
    assert (tmp_path / "index.faiss").is_file()
    queries = [f"q{number}" for number in range(0, 3000, 60)]
    asked = index.encode(queries, "query").astype(np.float64)
    cosine = asked @ vectors.T.astype(np.float64)
    shared = 0
    for exact, found in zip(cosine, index.search([Probe(query) for query in queries], 10), strict=True):
        assert len(found) == 10
        assert [score for _, score in found] == pytest.approx([exact[row] for row, _ in found], abs=1e-6)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        shared += len({row for row, _ in found} & set(np.argsort(-exact)[:10].tolist()))
    assert shared / (10 * len(queries)) >= RECALL[kind]


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq"])
def test_the_same_vectors_give_the_same_file(vectors, tmp_path: Path, kind: str) -> None:
    import faiss

    before = faiss.omp_get_max_threads()
    for threads, name in enumerate(("one", "two"), start=1):
        faiss.omp_set_num_threads(threads)
        searcher(vectors[:10_000], tmp_path / name, kind=kind)
    faiss.omp_set_num_threads(before)
    assert (tmp_path / "one" / "index.faiss").read_bytes() == (tmp_path / "two" / "index.faiss").read_bytes()


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq"])
def test_a_file_is_as_large_as_announced(vectors, tmp_path: Path, kind: str) -> None:
    searcher(vectors, tmp_path, kind=kind)
    announced = faiss_kinds.size(faiss_kinds.plan(settings(kind=kind), *vectors.shape), *vectors.shape)
    assert (tmp_path / "index.faiss").stat().st_size == pytest.approx(announced, rel=0.1)


def test_equal_vectors_tie_in_all_kinds(vectors, tmp_path: Path) -> None:
    doubled = np.concatenate([vectors[:5000], vectors[:5000]])
    for kind in ("flat", "ivf", "hnsw", "pq"):
        for found in searcher(doubled, tmp_path / kind, kind=kind).search([Probe("q3"), Probe("q999")], 1):
            assert [row % 5000 for row, _ in found] == [found[0][0] % 5000] * 2


def test_more_probes_and_deeper_walks_find_more(vectors, tmp_path: Path) -> None:
    queries = [Probe(f"q{number}") for number in range(0, 2000, 20)]
    exact = searcher(vectors, tmp_path / "flat", kind="flat").search(queries, 10)

    def recall(name: str, **more: object) -> float:
        found = searcher(vectors, tmp_path / name, **more).search(queries, 10)
        pairs = zip(exact, found, strict=True)
        return sum(len({row for row, _ in one} & {row for row, _ in other}) for one, other in pairs) / 1000

    assert recall("few", kind="ivf", probes=1) + 0.05 < recall("many", kind="ivf", probes=40)
    assert recall("coarse", kind="pq", code_bytes=2, refine=1) + 0.1 < recall("fine", kind="pq", code_bytes=16)
    assert recall("narrow", kind="hnsw", neighbours=4, build_depth=4, search_depth=1) < recall("wide", kind="hnsw")


def test_a_search_sets_nothing_that_another_thread_searches_by(vectors, tmp_path: Path, monkeypatch) -> None:
    import faiss

    np.save(tmp_path / "vectors.npy", vectors[:2000])
    plan = faiss_kinds.Plan("hnsw", {"neighbours": 8, "build_depth": 40, "search_depth": 16})
    faiss_kinds.build(plan, tmp_path, "vectors.npy", lambda done: None)
    index = faiss.read_index(str(tmp_path / faiss_kinds.FILE))
    monkeypatch.setattr(faiss, "read_index", lambda *where: index)
    find = faiss_kinds.candidates(tmp_path, plan.facts)
    assert find is not None
    before = index.hnsw.efSearch
    assert (find(vectors[:1], 500) >= 0).all()  # as deep as it is asked to
    assert index.hnsw.efSearch == before


def test_all_lists_probed_is_exact(vectors, tmp_path: Path) -> None:
    queries = [Probe(f"q{number}") for number in range(0, 1000, 50)]
    exact = searcher(vectors, tmp_path / "flat", kind="flat").search(queries, 10)
    assert searcher(vectors, tmp_path / "ivf", kind="ivf", lists=20, probes=20).search(queries, 10) == exact


def test_likenesses_move_the_query_to_the_mean_of_unit_vectors(vectors, tmp_path: Path) -> None:
    index = searcher(vectors, tmp_path, kind="flat")
    probes = [Probe("q5", likenesses=("17", "93")), Probe("q5")]
    own = index.encode(["q5", "q5"], "query")  # both in one batch, as they are searched
    mean = (own[0] + vectors[17] + vectors[93]) / 3
    mean /= np.linalg.norm(mean)
    hypothetical, plain = index.search(probes, 5)
    for found, query in ((hypothetical, mean), (plain, own[1])):
        expected = np.sort(vectors @ query)[::-1][:5]
        assert [score for _, score in found] == pytest.approx(expected.tolist(), abs=1e-6)


def test_it_gives_vectors_of_rows_and_texts(vectors, tmp_path: Path) -> None:
    index = searcher(vectors, tmp_path, kind="flat")
    assert isinstance(index, Vectors)
    np.testing.assert_array_equal(index.vectors([5, 0, 5]), vectors[[5, 0, 5]])
    assert index.vectors([]).shape == (0, DIMENSION)
    np.testing.assert_allclose(index.encode(["4"], "document"), vectors[[4]], atol=1e-6)
    assert index.search([Probe("q1")], 0) == [[]]


def test_auto_goes_by_size() -> None:
    kinds = {count: faiss_kinds.plan(settings(), count, 384) for count in (1, 50_000, 50_001, 1_000_000, 1_000_001)}
    assert [plan.kind for plan in kinds.values()] == ["flat", "flat", "hnsw", "hnsw", "pq"]
    assert kinds[50_001].facts == {"kind": "hnsw", "neighbours": 32, "build_depth": 100, "search_depth": 128}
    assert kinds[1_000_001].facts == {"kind": "pq", "lists": 4000, "probes": 250, "code_bytes": 48, "refine": 10}


def test_too_few_passages_make_it_smaller_and_it_says_why() -> None:
    few = faiss_kinds.plan(settings(kind="pq"), 9983, 384)
    assert (few.kind, few.reason) == ("flat", "pq needs at least 9984 passages to be trained on, there are 9983")
    assert "9984" in few.summary
    assert "9984" in few.facts["reason"]
    assert faiss_kinds.plan(settings(kind="pq"), 9984, 384).kind == "pq"
    assert faiss_kinds.plan(settings(kind="ivf"), 77, 384).kind == "flat"
    lowered = faiss_kinds.plan(settings(kind="ivf", lists=100), 1000, 384)
    assert (lowered.sizes["lists"], lowered.reason) == (25, "25 lists: 100 need at least 3900 passages")
    assert faiss_kinds.plan(settings(kind="ivf"), 1000, 384).sizes["lists"] == 25
    assert faiss_kinds.plan(settings(kind="hnsw"), 3, 384).kind == "hnsw"


def test_code_bytes_must_divide_the_dimension() -> None:
    assert faiss_kinds.plan(settings(kind="pq", code_bytes=96), 10_000, 384).sizes["code_bytes"] == 96
    with pytest.raises(InputError, match=r"100.*does not divide.*384") as error:
        faiss_kinds.plan(settings(kind="pq", code_bytes=100), 10_000, 384)
    assert error.value.hint == "nearest that do: 64, 96, 128"


def test_code_bytes_are_refused_before_a_file_is_read(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [{"faiss": {"encoder": ENCODER, "kind": "pq", "code_bytes": 48}}])
    stages: list[str] = []
    progress = lambda stage, done, total: stages.append(stage)  # noqa: E731
    with pytest.raises(InputError, match=r"48.*does not divide.*64") as error:
        build(spec, tmp_path / "index", progress=progress, announce=lambda found, expected: None)
    assert error.value.hint == "nearest that do: 16, 32, 64"
    assert "read" not in stages


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"kind": "flat", "lists": 5}, "lists has no place in kind flat; it belongs to ivf and pq"),
        ({"probes": 5}, "probes has no place in kind auto"),
        ({"kind": "ivf", "search_depth": 9}, "it belongs to hnsw"),
        ({"kind": "hnsw", "refine": 9}, "it belongs to pq"),
        ({"kind": "ivf", "lists": 0}, "greater than or equal to 1"),
        ({"kind": "tree"}, "kind"),
    ],
)
def test_settings_of_another_kind_are_refused(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        settings(**given)


def test_an_index_of_files_by_each_kind(tmp_path: Path) -> None:
    put(tmp_path / "docs", {f"{number:03d}.txt": f"word{number} word{number % 9} salt" for number in range(100)})
    flat = index_spec(tmp_path / "docs", [{"faiss": {"encoder": ENCODER}}])
    build(flat, tmp_path / "flat")
    expected = [hit.passage.id for hit in opened(tmp_path / "flat").search("faiss", ["word7 salt"], 5)[0]]
    for kind in ("hnsw", "ivf"):
        spec = index_spec(tmp_path / "docs", [{"faiss": {"encoder": ENCODER, "kind": kind}}])
        report = build(spec, tmp_path / kind)
        assert any(f"kind {kind}" in stage.summary for stage in report.stages)
        index = opened(tmp_path / kind, spec)
        assert index.manifest.stores["faiss"].facts["kind"] == kind
        assert [hit.passage.id for hit in index.search("faiss", ["word7 salt"], 5)[0]] == expected
        assert index.verify() == []
        (next((tmp_path / kind).rglob("index.faiss"))).write_bytes(b"\0" * 100)
        from ragdecode.errors import RunError

        with pytest.raises(RunError, match="damaged"):
            opened(tmp_path / kind, spec).search("faiss", ["word7"], 5)


def test_another_kind_takes_the_vectors_over(tmp_path: Path) -> None:
    put(tmp_path / "docs", {f"{number:03d}.txt": f"word{number}" for number in range(90)})
    for kind, embedded in (("flat", 90), ("ivf", 0), ("hnsw", 0)):
        encoder = HashedWords()
        spec = index_spec(tmp_path / "docs", [{"faiss": {"encoder": ENCODER, "kind": kind}}])
        build(spec, tmp_path / "index", encoder)
        assert len(encoder.encoded) == embedded
        assert opened(tmp_path / "index", spec).search("faiss", ["word7"], 1)[0][0].passage.source == "007.txt"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_to_be_full(vectors, tmp_path: Path) -> None:
    (tmp_path / "index.faiss").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot be written") as error:
        searcher(vectors[:200], tmp_path, kind="hnsw")
    assert error.value.errno == errno.ENOSPC
