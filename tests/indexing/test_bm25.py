from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import rank_bm25
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ragdecode.indexing.index import Index
from ragdecode.indexing.selection import best
from ragdecode.indexing.stores.bm25 import Bm25Settings
from ragdecode.indexing.words import splitter
from tests.indexing.doubles import build, index_spec, opened, put

REPOSITORY = Path(__file__).parents[2]
CRANFIELD = REPOSITORY.parent / "shared" / "data" / "cranfield"


def real_texts(limit: int) -> tuple[list[str], list[str]]:
    """Real passages and questions: Cranfield where it is, else the project's own documentation."""
    if (CRANFIELD / "corpus.jsonl").is_file():
        rows = [json.loads(line) for line in (CRANFIELD / "corpus.jsonl").read_text().splitlines()]
        asked = [json.loads(line)["text"] for line in (CRANFIELD / "queries.jsonl").read_text().splitlines()]
        return [row["text"] for row in rows if row["text"].strip()][:limit], asked[:40]
    files = [*REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("ragdecode/**/*.py")]
    texts = [part for file in sorted(files) for part in file.read_text().split("\n\n") if len(part) > 80]
    return texts[:limit], [" ".join(text.split()[3:12]) for text in texts[:: max(1, len(texts) // 40)]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("corpus")
    texts, queries = real_texts(700)
    put(root, {f"{number:05d}.txt": text for number, text in enumerate(texts)})
    return root, queries


def index_of(root: Path, target: Path, **settings: object) -> Index:
    spec = index_spec(root, [{"bm25": settings}], split={"tokens": 8192, "overlap": 0})
    build(spec, target)
    return opened(target, spec)


@pytest.fixture(scope="module")
def both(corpus: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Index]:
    folder = tmp_path_factory.mktemp("indexes")
    return {name: index_of(corpus[0], folder / name, backend=name) for name in ("bm25s", "rank_bm25")}


def test_both_backends_score_as_rank_bm25_itself(corpus, both) -> None:
    words = splitter("none")
    texts = [passage.text for passage in both["bm25s"].passages]
    reference = rank_bm25.BM25Plus([words(text) for text in texts], k1=1.5, b=0.75, delta=1.0)
    row = {passage.id: number for number, passage in enumerate(both["bm25s"].passages)}
    for name, index in both.items():
        assert index.manifest.stores["bm25"].facts["backend"] == name
        for query, hits in zip(corpus[1], index.search("bm25", corpus[1], 20), strict=True):
            scores = reference.get_scores(words(query))
            asked = set(words(query))
            eligible = [number for number, text in enumerate(texts) if asked & set(words(text))]
            expected = sorted((scores[number] for number in eligible), reverse=True)[:20]
            assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-4)
            assert [scores[row[hit.passage.id]] for hit in hits] == pytest.approx(expected, abs=1e-4)


def test_both_backends_rank_alike(corpus, both) -> None:
    for one, other in zip(
        both["bm25s"].search("bm25", corpus[1], 20), both["rank_bm25"].search("bm25", corpus[1], 20), strict=True
    ):
        pairs = zip(one, other, strict=True)
        different = [(a, b) for a, b in pairs if a.passage.id != b.passage.id]
        assert all(abs(a.score - b.score) < 1e-4 for a, b in different), "only near-ties may change places"
        assert len(different) <= 2


def test_scores_follow_the_formula(tmp_path: Path) -> None:
    put(tmp_path / "docs", {"a.txt": "red red apple", "b.txt": "green apple and pear", "c.txt": "sky"})
    expected = 0.0
    for frequency, documents in ((2, 1), (1, 2)):  # "red" twice in one document, "apple" once in two
        saturated = frequency * 2.2 / (frequency + 1.2 * (1 - 0.5 + 0.5 * 3 / (8 / 3)))
        expected += math.log((3 + 1) / documents) * (0.7 + saturated)
    for backend in ("bm25s", "rank_bm25"):
        index = index_of(tmp_path / "docs", tmp_path / backend, backend=backend, k1=1.2, b=0.5, delta=0.7)
        hits = index.search("bm25", ["red apple"], 5)[0]
        assert [hit.passage.source for hit in hits] == ["a.txt", "b.txt"], "c shares no word"
        assert hits[0].score == pytest.approx(expected, abs=1e-5)


def test_a_passage_without_a_common_word_is_no_hit(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    for backend in ("bm25s", "rank_bm25"):
        index = index_of(tmp_path / "docs", tmp_path / backend, backend=backend)
        assert index.search("bm25", ["zebra", "", "?!"], 5) == [[], [], []]


def test_equal_scores_are_ordered_by_id_and_cut_the_same_way(tmp_path: Path) -> None:
    put(tmp_path / "docs", {f"{number}.txt": "the same words" for number in range(9)})
    for backend in ("bm25s", "rank_bm25"):
        index = index_of(tmp_path / "docs", tmp_path / backend, backend=backend)
        everything = sorted(passage.id for passage in index.passages)
        for k in (1, 4, 9, 20):
            assert [hit.passage.id for hit in index.search("bm25", ["words"], k)[0]] == everything[:k]


def test_a_query_does_not_depend_on_its_batch(corpus, both) -> None:
    for index in both.values():
        together = index.search("bm25", corpus[1], 5)
        assert together == [index.search("bm25", [query], 5)[0] for query in corpus[1]]


def test_a_corpus_without_words_has_no_hits(tmp_path: Path) -> None:
    put(tmp_path / "docs", {"a.txt": "?! ... --"})
    for backend in ("bm25s", "rank_bm25"):
        index = index_of(tmp_path / "docs", tmp_path / backend, backend=backend)
        assert index.search("bm25", ["word ?!"], 5) == [[]]


def test_okapi_and_lucene_variants_run_on_their_backend(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    for variant, backend in (("okapi", "rank_bm25"), ("lucene", "bm25s")):
        index = index_of(tmp_path / "docs", tmp_path / variant, variant=variant)
        assert index.manifest.stores["bm25"].facts["backend"] == backend
        assert index.search("bm25", ["salty sea"], 1)[0][0].passage.source == "sea.html"


def test_the_stemmer_joins_forms_of_a_word(tmp_path: Path) -> None:
    put(tmp_path / "docs", {"a.txt": "indexing documents", "b.txt": "cooking food"})
    plain = index_of(tmp_path / "docs", tmp_path / "plain")
    stemmed = index_of(tmp_path / "docs", tmp_path / "stemmed", stemmer="english")
    assert plain.search("bm25", ["an indexed document"], 5) == [[]]
    assert [hit.passage.source for hit in stemmed.search("bm25", ["an indexed document"], 5)[0]] == ["a.txt"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"variant": "okapi", "backend": "bm25s"}, "defined by rank_bm25 only"),
        ({"variant": "lucene", "backend": "rank_bm25"}, "defined by bm25s only"),
        ({"variant": "lucene", "delta": 0.5}, "delta has no place"),
        ({"k1": -1}, "greater than or equal to 0"),
        ({"variant": "bm25"}, "bm25"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Bm25Settings.model_validate(settings)


def test_auto_takes_the_backend_by_size() -> None:
    assert Bm25Settings().backend_for(1000) == "rank_bm25"
    assert Bm25Settings().backend_for(1001) == "bm25s"
    assert Bm25Settings(variant="okapi").backend_for(10**6) == "rank_bm25"
    assert Bm25Settings(variant="lucene").backend_for(1) == "bm25s"


def test_words_are_folded_and_unspaced_scripts_split() -> None:
    assert splitter("none")("Straße, ﬁne_print C3PO 日本語 café") == [
        *("strasse", "fine", "print", "c3po"),
        *("日", "本", "語"),
        "café",
    ]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 12))
def test_selection_is_the_head_of_the_full_order_with_its_ties(scores: list[int], k: int) -> None:
    rows = np.arange(0, len(scores), 2)
    found = best(np.asarray(scores, np.float32), rows, k)
    order = sorted(rows.tolist(), key=lambda row: (-scores[row], row))
    limit = scores[order[min(k, len(order)) - 1]]
    assert found == [(row, float(scores[row])) for row in order if scores[row] >= limit]
