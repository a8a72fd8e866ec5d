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

from ragdecode.indexing.bm25.selection import best
from ragdecode.indexing.bm25.words import splitter
from ragdecode.indexing.index import Index
from ragdecode.indexing.store import BuildContext, Probe, Words
from ragdecode.indexing.stores.bm25 import Bm25Searcher, Bm25Settings, Bm25Store
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


class Texts:
    """A passage table, as far as BM25 looks at it."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self) -> list[str]:
        return self._texts


def searcher(texts: list[str], folder: Path, **settings: object) -> Bm25Searcher:
    store = Bm25Store(Bm25Settings.model_validate(settings))
    context = BuildContext(encoders=None, progress=lambda stage, done, total: None)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    built = store.build(Texts(texts), folder, context)  # type: ignore[arg-type]
    return store.open(folder, built.facts, None)  # type: ignore[arg-type]


def zipf_texts(count: int, words: int = 300, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    numbers = np.minimum(random.zipf(1.3, (count, 40)), words)
    return [" ".join(f"w{number}" for number in row[: random.integers(1, 40)]) for row in numbers]


def naive(texts: list[str], weights: dict[str, float]) -> list[tuple[int, float]]:
    """BM25+ from the formula, passage by passage, in double precision, best first."""
    split = [text.split() for text in texts]
    average = sum(map(len, split)) / len(split)
    documents = {word: sum(word in other for other in split) for word in weights}
    scored = []
    for row, words in enumerate(split):
        score = 0.0
        for word, weight in weights.items():
            if documents[word]:
                count = words.count(word)
                saturated = count * 2.5 / (count + 1.5 * (0.25 + 0.75 * len(words) / average))
                score += weight * math.log((len(split) + 1) / documents[word]) * (1.0 + saturated)
        if any(weight and word in words for word, weight in weights.items()):
            scored.append((row, score))
    return sorted(scored, key=lambda pair: -pair[1])


# 0: columns are skipped wherever they can be
@pytest.mark.parametrize(("backend", "short"), [("bm25s", 0), ("bm25s", 2000), ("rank_bm25", 2000)])
def test_weighted_words_equal_the_formula_with_all_ties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, short: int
) -> None:
    monkeypatch.setattr("ragdecode.indexing.bm25.scorer._SHORT", short)
    texts = zipf_texts(100) * 2  # every score is there twice
    index = searcher(texts, tmp_path, backend=backend)
    random = np.random.default_rng(1)
    for _ in range(25):
        words = [f"w{number}" for number in {1, *np.minimum(random.zipf(1.3, 5), 320).tolist()}]
        weights = {word: float(random.choice([0.5, 1.0, 2.0, 0.0, -0.3])) for word in words}
        ranking = naive(texts, weights)
        for k in (1, 3, 10, 500):
            (found,) = index.search([Probe("unused", words=weights)], k)
            limit = ranking[min(k, len(ranking)) - 1][1] - 1e-9 if ranking else 0.0
            expected = [pair for pair in ranking if pair[1] >= limit]
            assert dict(found).keys() == dict(expected).keys()
            assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-4)
            assert all(dict(found)[row] == dict(found)[(row + 100) % 200] for row, _ in found), "equal texts, one score"


def test_the_words_of_a_question_weigh_as_often_as_they_stand(tmp_path: Path) -> None:
    for backend in ("bm25s", "rank_bm25"):
        index = searcher(zipf_texts(60), tmp_path / backend, backend=backend)
        plain, weighted = index.search([Probe("w2 w5 w2"), Probe("?", words={"w5": 1.0, "w2": 2.0})], 9)
        assert plain == weighted
        assert plain != index.search([Probe("w2 w5")], 9)[0]


@pytest.mark.parametrize("variant", ["bm25+", "lucene"])
def test_the_matrix_is_the_one_that_bm25s_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    import bm25s

    monkeypatch.setattr("ragdecode.indexing.stores.bm25.PIECE", 500)  # many pieces
    texts, queries = real_texts(300)
    searcher(texts, tmp_path, backend="bm25s", variant=variant, k1=1.3, b=0.6)
    ours = bm25s.BM25.load(tmp_path, mmap=False, show_progress=False)
    vocabulary = ours.vocab_dict
    split = splitter("none")
    rows = [[vocabulary[word] for word in split(text)] for text in texts]
    theirs = bm25s.BM25(k1=1.3, b=0.6, delta=1.0, method=variant)
    theirs.index((rows, dict(vocabulary)), create_empty_token=False, show_progress=False)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(ours.scores[name], theirs.scores[name], err_msg=name)
    assert ours.scores["num_docs"] == theirs.scores["num_docs"]
    for query in queries[:5]:
        np.testing.assert_array_equal(ours.get_scores(split(query)), theirs.get_scores(split(query)))
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.skipif(not (REPOSITORY.parent / "shared" / "data" / "scifact").is_dir(), reason="SciFact is not here")
def test_scifact_ranks_as_with_rank_bm25_itself(tmp_path: Path) -> None:
    folder = REPOSITORY.parent / "shared" / "data" / "scifact"
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()[:1500]]
    queries = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text().splitlines()[:15]]
    texts, split = [row["text"] for row in rows], splitter("none")
    reference = rank_bm25.BM25Plus([split(text) for text in texts], k1=1.5, b=0.75, delta=1.0)
    index = searcher(texts, tmp_path)
    assert isinstance(index, Words)
    for query, found in zip(queries, index.search([Probe(query) for query in queries], 20), strict=True):
        scores = reference.get_scores(split(query))
        assert [score for _, score in found] == pytest.approx(np.sort(scores)[::-1][: len(found)].tolist(), abs=1e-4)
        assert [scores[row] for row, _ in found] == pytest.approx([score for _, score in found], abs=1e-4)
    words = [*dict.fromkeys(split(queries[0]))][:5]
    assert index.idf(words) == pytest.approx([reference.idf.get(word, 0.0) for word in words])


def test_words_and_their_rarity(tmp_path: Path) -> None:
    texts = ["red apples", "green apples", "the sky"]
    for backend in ("bm25s", "rank_bm25"):
        index = searcher(texts, tmp_path / backend, backend=backend, stemmer="english")
        assert index.words("Apples, the SKY!") == ["appl", "the", "sky"]
        assert index.idf(["appl", "sky", "apples"]) == pytest.approx([math.log(4 / 2), math.log(4 / 1), 0.0])
    lucene = searcher(texts, tmp_path / "lucene", variant="lucene")
    assert lucene.idf(["apples"]) == pytest.approx([math.log(1 + 1.5 / 2.5)])
    okapi = searcher(["red apples", "green apples", "apples"], tmp_path / "okapi", variant="okapi")
    assert okapi.idf(["red", "apples"]) == pytest.approx([math.log(2.5) - math.log(1.5), 0.25 * _mean_idf()])
    assert searcher(["?!"], tmp_path / "empty").idf(["a", "b"]) == [0.0, 0.0]


def _mean_idf() -> float:
    """Of red, green, apples in the passages above: the floor of rank_bm25 is a quarter of it."""
    return (2 * (math.log(2.5) - math.log(1.5)) + math.log(0.5) - math.log(3.5)) / 3


def test_stop_words_are_left_out_of_passages_and_questions(tmp_path: Path) -> None:
    texts = ["the capital of France", "the man with the hat", "of of of"]
    index = searcher(texts, tmp_path, stop_words="english", stemmer="english")
    assert index.words("The capital of the Netherlands") == ["capit", "netherland"]
    nothing, capital = index.search([Probe("the of with"), Probe("of the capital")], 5)
    assert (nothing, capital) == ([], index.search([Probe("capital")], 5)[0])
    assert [row for row, _ in index.search([Probe("capital")], 5)[0]] == [0]


def test_a_build_holds_pieces_in_memory_not_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    texts = zipf_texts(20_000)
    words = sum(len(text.split()) for text in texts)
    monkeypatch.setattr("ragdecode.indexing.stores.bm25.PIECE", words // 50)
    searcher(texts[:50], tmp_path / "warm", backend="bm25s")
    tracemalloc.start()
    searcher(texts, tmp_path / "index", backend="bm25s")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * words, "numbers of 4 bytes for all words would take that, a list of lists several times as much"


@pytest.mark.parametrize("backend", ["bm25s", "rank_bm25"])
def test_the_need_announced_is_what_real_text_takes(tmp_path: Path, backend: str) -> None:
    texts, _ = real_texts(700)
    searcher(texts, tmp_path, backend=backend)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    if backend == "bm25s":  # beside them, while it is built, 12 bytes an entry
        size += 12 * len(np.load(tmp_path / "data.csc.index.npy", mmap_mode="r"))
    settings = Bm25Settings.model_validate({"backend": backend})
    need = Bm25Store(settings).need(len(texts), sum(map(len, texts)), None)  # type: ignore[arg-type]
    assert size <= need.disk <= 2 * size
