"""How good retrieval is on judged collections, beside other programs' search of the same texts.

Usage: retrieval_quality.py --data FOLDER --work FOLDER [--sets scifact,cranfield] [--reranked 20]

FOLDER holds collections in BEIR layout. Every index is built by `build_index`, one passage a document, and searched
by the stages that pipelines use. Indexes, the reference's vectors and reranked candidates are kept in the work folder.
Writes ``WORK/retrieval_quality.json`` and ``.md``; exit code 1 if a figure differs from its reference by more than
0.002.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import reference_search
from corpus_index import CorpusIndex, open_corpus
from fusion_weights import compare, weight_values
from quality_tables import markdown

from ragdecode.evaluation.ranking.beir import JudgedCollection, read_beir
from ragdecode.evaluation.ranking.evaluate import Figures, document_scores, evaluate, trec_order
from ragdecode.indexing.bm25.words import splitter

SETS = ("scifact", "cranfield", "cisi", "vaswani_npl")
MEASURES = ("ndcg@10", "recall@100")
DEPTH = 100
TOLERANCE = 0.002
#: candidates that are reranked
CANDIDATES = 20

SYSTEMS: dict[str, list[Any]] = {
    "bm25": [{"bm25": {"top_k": DEPTH}}],
    "dense": [{"dense": {"top_k": DEPTH}}],
    "hybrid (rrf)": [{"hybrid": {"top_k": DEPTH, "fuse": "rrf"}}],
    "hybrid (weighted)": [{"hybrid": {"top_k": DEPTH, "fuse": "weighted"}}],
    "bm25 + rm3": ["rm3", {"bm25": {"top_k": DEPTH}}],
}
CANDIDATES_STAGE: dict[str, Any] = {"hybrid": {"top_k": CANDIDATES, "depth": DEPTH}}
RERANK_STAGE: dict[str, Any] = {"rerank": {"by": "query_likelihood", "top_k": CANDIDATES}}
STEMMED = "bm25 (english stems)"

Rankings = dict[str, list[str]]


def run(index: CorpusIndex, stages: Sequence[Any], queries: Mapping[str, str]) -> Rankings:
    """Documents by query id, best first."""
    hits = index.search(stages, list(queries.values()))
    return {query: trec_order(document_scores(found)) for query, found in zip(queries, hits, strict=True)}


def references(
    index: CorpusIndex, texts: Mapping[str, str], queries: Mapping[str, str], work: Path
) -> dict[tuple[str, str], Rankings]:
    """Rankings of the other programs, by (our system, program)."""
    ids, asked = list(texts), list(queries.values())
    words_of = splitter("none")
    words = [words_of(text) for text in texts.values()]
    wanted = [words_of(text) for text in asked]
    settings = {"k1": 1.5, "b": 0.75, "delta": 1.0}
    encoder = index.encoder()
    found = {
        ("bm25", "bm25s"): reference_search.by_bm25s(ids, words, wanted, DEPTH, **settings),
        ("bm25", "rank_bm25"): reference_search.by_rank_bm25(ids, words, wanted, DEPTH, **settings),
        ("dense", "sentence-transformers"): reference_search.by_sentence_transformers(
            encoder.path, encoder.max_tokens, ids, list(texts.values()), asked, DEPTH, work / "reference"
        ),
    }
    return {
        key: {query: trec_order(scores) for query, scores in zip(queries, rows, strict=True)}
        for key, rows in found.items()
    }


def document_texts(index: CorpusIndex, collection: JudgedCollection) -> dict[str, str]:
    """Text by document, after a look whether every document that has text is one whole passage."""
    texts = {passage.record: passage.text for passage in index.index.passages}
    if len(texts) != len(index.index.passages):
        raise SystemExit(f"{collection.folder.name}: a document was split")
    for name, title, text in collection.documents():
        whole = _words(texts.get(name, ""))
        if not all(_words(part) in whole for part in (title, text)):
            raise SystemExit(f"{collection.folder.name}: document {name} lost some of its text")
    return texts


def _words(text: str) -> str:
    return " ".join(text.split())


def reranked(index: CorpusIndex, collection: JudgedCollection, count: int, file: Path) -> dict[str, Any] | None:
    """Candidates of `hybrid` and the same reranked, for a seeded part of the queries; rankings are kept in a file."""
    if not count:
        return None
    chosen = sorted(collection.queries)
    random.Random(0).shuffle(chosen)  # noqa: S311
    chosen = chosen[:count]
    known: Rankings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for number, query in enumerate(chosen, start=1):
        if query not in known:
            known |= run(index, [CANDIDATES_STAGE, RERANK_STAGE], {query: collection.queries[query]})
            file.write_text(json.dumps(known), encoding="utf-8")
            print(f"\r{collection.folder.name}: reranked {number}/{count}", end="", file=sys.stderr)
    judgements = {query: collection.judgements[query] for query in chosen}
    before = run(index, [CANDIDATES_STAGE], {query: collection.queries[query] for query in chosen})
    main = MEASURES[0]
    hybrid, better = (evaluate(rankings, judgements, [main])[main] for rankings in (before, known))
    return {
        "queries": count,
        "candidates": CANDIDATES,
        "hybrid (rrf)": asdict(hybrid.interval),
        "reranked": asdict(better.interval),
        "more": compare(better.values, hybrid.values),
    }


def measure_set(folder: Path, work: Path, rerank: int) -> dict[str, Any]:
    """Everything about one collection."""
    collection = read_beir(folder)
    index = open_corpus(folder, work / folder.name)
    stemmed = open_corpus(folder, work / f"{folder.name}-stemmed", ['index.stores=[{"bm25": {"stemmer": "english"}}]'])
    texts = document_texts(index, collection)
    queries, judgements = collection.queries, collection.judgements
    figures: dict[str, dict[str, Figures]] = {}
    for name, stages in SYSTEMS.items():
        figures[name] = evaluate(run(index, stages, queries), judgements, MEASURES)
        print(f"{folder.name}: {name} {figures[name]['ndcg@10'].interval.mean:.4f}", file=sys.stderr)
    figures[STEMMED] = evaluate(run(stemmed, SYSTEMS["bm25"], queries), judgements, MEASURES)
    agreement = []
    for (system, program), rankings in references(index, texts, queries, work).items():
        other = evaluate(rankings, judgements, MEASURES)
        for name in MEASURES:
            ours, theirs = figures[system][name].interval.mean, other[name].interval.mean
            agreement.append({"system": system, "program": program, "measure": name, "ours": ours, "theirs": theirs,
                              "difference": ours - theirs})  # fmt: skip
    main = MEASURES[0]
    values = {name: found[main].values for name, found in figures.items()}
    return {
        "documents": len(texts),
        "queries": len(judgements),
        "figures": {name: _intervals(found) for name, found in figures.items()},
        "agreement": agreement,
        "hybrid_more": {other: compare(values["hybrid (rrf)"], values[other]) for other in ("bm25", "dense")},
        "weights": weight_values(index, queries, judgements, DEPTH, main),
        "reranked": reranked(index, collection, rerank, work / f"{folder.name}-reranked.json"),
        "per_query": values,
    }


def _intervals(figures: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    return {name: asdict(found.interval) for name, found in figures.items()}


def main() -> None:
    """Measure the sets, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the collections")
    parser.add_argument("--work", type=Path, required=True, help="folder for indexes and figures; kept")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--reranked", type=int, default=20, help="queries of each set that are reranked; slow")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / "retrieval_quality.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for name in options.sets.split(","):
        found[name] = measure_set(options.data / name, options.work, options.reranked)
        file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    text = markdown(found)
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    worst = max(abs(row["difference"]) for one in found.values() for row in one["agreement"])
    if worst > TOLERANCE:
        sys.exit(f"a figure differs from its reference by {worst:.4f}, more than {TOLERANCE}")


if __name__ == "__main__":
    main()
