"""How much evidence helps: recall and answer quality by retriever and number of passages, over one pooled corpus.

Usage: evidence_sweep.py --data FOLDER --work FOLDER [--questions 20]

The passages of all sets are pooled, so that every question is asked of the whole. Recall is that of the gold
passages, for all questions. Answers are those of `pipelines/evidence.yaml` to a seeded subset, greedy: by retriever
and number of passages, without any passage, and with the gold passages alone. Each answer is appended to
``WORK/answers.jsonl`` at once, in an order in which any beginning of a retriever's is a random sample of every set; a
run that was broken off goes on there. The grid follows RAGGED (https://arxiv.org/abs/2403.09040).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus_index import CorpusIndex, open_corpus
from evidence_pool import PooledQuestion, make_pool
from evidence_rows import CLOSED, GOLD, read

from ragdecode import Pipeline

PIPELINE = Path(__file__).parent / "pipelines" / "evidence.yaml"
SETS = ("hotpotqa", "nq_gold", "squad_xquad_en")
COUNTS = (1, 2, 3, 5, 10, 20)
RETRIEVERS = ("hybrid", "bm25", "dense")
#: questions searched at once
_BATCH = 256

#: names of the first passages by retriever and question id
Found = dict[str, dict[str, list[str]]]


def retrieve(index: CorpusIndex, questions: Sequence[PooledQuestion], file: Path) -> Found:
    """Names of the first passages for every question, by retriever and question id; kept in a file for the next run."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if kept.get("index") == index.index.manifest.content:
        found: Found = kept["found"]
        return found
    found = {}
    for name in RETRIEVERS:
        found[name] = {}
        for first in range(0, len(questions), _BATCH):
            batch = questions[first : first + _BATCH]
            hits = index.search([{name: {"top_k": COUNTS[-1]}}], [item.text for item in batch])
            records = [[hit.passage.record for hit in some] for some in hits]
            found[name].update(zip((item.id for item in batch), records, strict=True))
            print(f"\r{name} {first + len(batch)}/{len(questions)}", end="", file=sys.stderr)
        print(file=sys.stderr)
    file.write_text(json.dumps({"index": index.index.manifest.content, "found": found}), encoding="utf-8")
    return found


def recalls(questions: Sequence[PooledQuestion], found: Found) -> Iterator[dict[str, Any]]:
    """Share of a question's gold passages among the first k, for every question, retriever and k."""
    for name, records_of in found.items():
        for item in questions:
            for k in COUNTS:
                hit = sum(gold in records_of[item.id][:k] for gold in item.gold)
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


@dataclass(frozen=True)
class Cell:
    """One answer of the grid.

    Attributes:
        question: What is asked.
        retriever: Where the evidence comes from; or `CLOSED`, `GOLD`.
        k: Passages shown.
        records: Their names, best first.
    """

    question: PooledQuestion
    retriever: str
    k: int
    records: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """What the file knows it by."""
        return self.question.id, self.retriever, self.k


def grid(questions: Sequence[PooledQuestion], found: Found, counts: Sequence[int]) -> Iterator[Cell]:
    """All answers, in the order in which a run that is broken off is worth most: one retriever after the other."""
    for place, (name, records_of) in enumerate(found.items()):
        for item in questions:
            if place == 0:
                yield Cell(item, CLOSED, 0, ())
                yield Cell(item, GOLD, len(item.gold), item.gold)
            records = tuple(records_of[item.id])
            yield from (Cell(item, name, k, records[:k]) for k in counts)


def answer_all(pipeline: Pipeline, cells: Sequence[Cell], texts: Mapping[str, str], file: Path, seconds: float) -> None:
    """Append every answer that the file lacks; the same passages are asked about once.

    Args:
        pipeline: What answers.
        cells: Which answers.
        texts: Text by record.
        file: Rows of earlier runs; made if it is not there.
        seconds: Begin no further answer after so long.
    """
    rows = read(file) if file.is_file() else []
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")  # none broken off
    known = {(row["question"], row["retriever"], row["k"]) for row in rows}
    said = {(row["question"], tuple(row["records"])): (row["answer"], row["prompt_tokens"]) for row in rows}
    started = time.perf_counter()
    with file.open("a", encoding="utf-8") as stream:
        for number, cell in enumerate(cells, start=1):
            if time.perf_counter() - started > seconds:
                break
            if cell.key in known:
                continue
            item, asked = cell.question, (cell.question.id, cell.records)
            if asked not in said:
                answer = pipeline.ask(item.text, passages=[texts[record] for record in cell.records])
                said[asked] = answer.answer, answer.stats.prompt_tokens
            row = {
                "question": item.id,
                "set": item.set,
                "retriever": cell.retriever,
                "k": cell.k,
                "records": cell.records,
                "gold_found": sum(gold in cell.records for gold in item.gold),
                "gold": len(item.gold),
                "prompt_tokens": said[asked][1],
                "answer": said[asked][0],
                "golden_answers": item.answers,
            }
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            stream.flush()
            print(f"\ranswers {number}/{len(cells)}", end="", file=sys.stderr)
    print(file=sys.stderr)


def main() -> None:
    """Retrieve, answer, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus, index and answers; kept")
    parser.add_argument("--questions", type=int, default=20, help="questions of each set that are answered")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of questions")
    parser.add_argument("--counts", type=_counts, default=COUNTS, help="numbers of passages that are answered from")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further answer after so long")
    options = parser.parse_args()
    pool = options.work / "pool"
    questions = make_pool(options.data, SETS, pool)
    index = open_corpus(pool, options.work / "pool-index")
    found = retrieve(index, questions, options.work / "found.json")
    (options.work / "recall.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in recalls(questions, found)), "utf-8"
    )
    cells = list(grid(sample(questions, options.questions, options.seed), found, options.counts))
    texts = {passage.record: passage.text for passage in index.index.passages}
    answer_all(Pipeline.load(PIPELINE), cells, texts, options.work / "answers.jsonl", options.seconds)


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(","))
    if not set(counts) <= set(COUNTS):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(map(str, COUNTS))}")
    return counts


if __name__ == "__main__":
    main()
