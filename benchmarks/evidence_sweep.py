"""How much evidence helps: recall and answer quality by retriever and number of passages, over one pooled corpus.

Usage: evidence_sweep.py --data FOLDER --work FOLDER [--questions 20] [--out FOLDER]

The passages of all sets are pooled, so that every question is asked of the whole. Recall is that of the gold
passages, for all questions. Answers are those of `pipelines/evidence.yaml` to a seeded subset, greedy: by retriever
and number of passages, without any passage, and with the gold passages alone. Each answer is appended to
``WORK/answers.jsonl`` at once, one question after the other in an order in which any beginning is a random sample
of every set; a run that was broken off goes on there. The grid follows RAGGED (https://arxiv.org/abs/2403.09040).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus_index import CorpusIndex, open_corpus
from evidence_pool import PooledQuestion, make_pool

from ragdecode import Pipeline
from ragdecode.indexing.hit import Hit

PIPELINE = Path(__file__).parent / "pipelines" / "evidence.yaml"
SETS = ("hotpotqa", "nq_gold", "squad_xquad_en")
COUNTS = (1, 2, 3, 5, 10, 20)
RETRIEVERS = {"bm25": "bm25", "dense": "dense", "hybrid": "hybrid"}
CLOSED, GOLD = "closed book", "gold only"
#: questions searched at once
_BATCH = 256

Found = dict[str, dict[str, list[Hit]]]


def retrieve(index: CorpusIndex, questions: Sequence[PooledQuestion]) -> Found:
    """The first passages for every question, by retriever and question id."""
    found: Found = {}
    for name, stage in RETRIEVERS.items():
        found[name] = {}
        for first in range(0, len(questions), _BATCH):
            batch = questions[first : first + _BATCH]
            hits = index.search([{stage: {"top_k": COUNTS[-1]}}], [item.text for item in batch])
            found[name].update(zip((item.id for item in batch), hits, strict=True))
            print(f"\r{name} {first + len(batch)}/{len(questions)}", end="", file=sys.stderr)
        print(file=sys.stderr)
    return found


def recalls(questions: Sequence[PooledQuestion], found: Found) -> Iterator[dict[str, Any]]:
    """Share of a question's gold passages among the first k, for every question, retriever and k."""
    for name, hits_of in found.items():
        for item in questions:
            records = [hit.passage.record for hit in hits_of[item.id]]
            for k in COUNTS:
                hit = sum(gold in records[:k] for gold in item.gold)
                yield {
                    "question": item.id,
                    "set": item.set,
                    "retriever": name,
                    "k": k,
                    "recall": hit / len(item.gold),
                    "gold_found": hit,
                    "gold": len(item.gold),
                }


def sample(questions: Sequence[PooledQuestion], each: int, seed: int) -> list[PooledQuestion]:
    """So many questions of each set, the sets in turns; a smaller number gives the beginning of a larger one."""
    chosen = []
    for name in SETS:
        own = [item for item in questions if item.set == name]
        random.Random(f"{seed} {name}").shuffle(own)  # noqa: S311
        chosen.append(own[:each])
    return [item for turn in zip(*chosen, strict=True) for item in turn]


def cells(item: PooledQuestion, found: Found, texts: Mapping[str, str]) -> Iterator[tuple[str, int, list[str], int]]:
    """(retriever, k, passages, gold ones among them) of every answer to a question."""
    yield CLOSED, 0, [], 0
    yield GOLD, len(item.gold), [texts[record] for record in item.gold], len(item.gold)
    for name, hits_of in found.items():
        hits = hits_of[item.id]
        for k in COUNTS:
            records = {hit.passage.record for hit in hits[:k]}
            yield name, k, [hit.passage.text for hit in hits[:k]], sum(gold in records for gold in item.gold)


def answer_all(pipeline: Pipeline, questions: Sequence[PooledQuestion], found: Found, index: CorpusIndex, file: Path,
               seconds: float) -> list[dict[str, Any]]:  # fmt: skip
    """Every answer that the file lacks, appended to it; those of equal prompts are asked for once.

    Stops between two questions once ``seconds`` are over.
    """
    texts = {passage.record: passage.text for passage in index.index.passages}
    done = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    known = {(row["question"], row["retriever"], row["k"]) for row in done}
    started = time.perf_counter()
    with file.open("a", encoding="utf-8") as stream:
        for number, item in enumerate(questions, start=1):
            said: dict[tuple[str, ...], tuple[str, int]] = {}
            for name, k, passages, gold in cells(item, found, texts):
                if (item.id, name, k) in known:
                    continue
                if tuple(passages) not in said:
                    answer = pipeline.ask(item.text, passages=passages)
                    said[tuple(passages)] = answer.answer, answer.stats.prompt_tokens
                text, tokens = said[tuple(passages)]
                row = {
                    "question": item.id,
                    "set": item.set,
                    "retriever": name,
                    "k": k,
                    "gold_found": gold,
                    "gold": len(item.gold),
                    "prompt_tokens": tokens,
                    "answer": text,
                    "golden_answers": item.answers,
                }
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                done.append(row)
            stream.flush()
            print(f"\ranswers {number}/{len(questions)}", end="", file=sys.stderr)
            if time.perf_counter() - started > seconds:
                break
    print(file=sys.stderr)
    return done


def main() -> None:
    """Retrieve, answer, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus, index and answers; kept")
    parser.add_argument("--questions", type=int, default=20, help="questions of each set that are answered")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of questions")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="ask no further question after so long")
    options = parser.parse_args()
    pool = options.work / "pool"
    questions = make_pool(options.data, SETS, pool)
    index = open_corpus(pool, options.work / "pool-index")
    found = retrieve(index, questions)
    (options.work / "recall.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in recalls(questions, found)), "utf-8"
    )
    asked = sample(questions, options.questions, options.seed)
    pipeline = Pipeline.load(PIPELINE)
    answer_all(pipeline, asked, found, index, options.work / "answers.jsonl", options.seconds)


if __name__ == "__main__":
    main()
