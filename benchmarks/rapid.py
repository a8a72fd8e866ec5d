"""Answers from long documents: the whole, its relevant part, and the transfer between them; quality and speed.

Usage: rapid.py --data FOLDER --work FOLDER [--questions 20] [--tokens 64]

Documents of 4,000 to 7,000 tokens are taken whole, in passages of 128 tokens. Every question is answered by the whole
document alone (``long``), by its best passages alone (``rag``), and by the whole with RAPID's transfer, each without
drafts, drafted from the prompt (``lookup``) and by the view of the best passages (``view``). Drafts do not change the
distribution, so that at temperature 0 all answers of a row of modes are equal, which is counted. Rows are appended to
``WORK/rows.jsonl`` as they come; a run that was broken off goes on there, and an interrupted one still writes the
tables. The two prompts of a question are read once, and timed by themselves: the modes find them in the prefix cache.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evidence_rows import read
from rapid_tables import tables

from ragdecode import Pipeline
from ragdecode.decoding.drafter import Drafter
from ragdecode.decoding.events import DoneEvent
from ragdecode.decoding.request import TARGET, Request, Result
from ragdecode.decoding.rules.transfer import Transfer, TransferSettings
from ragdecode.documents.document import Document
from ragdecode.documents.splitting import split
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.index import SplitSpec
from ragdecode.spec.part import PartKind

PIPELINE = Path(__file__).parent / "pipelines" / "rapid.yaml"
SETS = ("longdoc_leval", "squality", "qmsum")
ETAS = (5.0, 10.0, 20.0)
DRAFTS: dict[str, Any] = {"none": None, "lookup": "prompt_lookup", "view": {"view": {"name": "rag"}}}


@dataclass(frozen=True)
class Question:
    """A question over one long document.

    Attributes:
        id: Its name.
        set: Its data set.
        text: The question.
        answers: What is right.
        passages: The document, in order.
        tokens: Its length.
    """

    id: str
    set: str
    text: str
    answers: tuple[str, ...]
    passages: tuple[Passage, ...]
    tokens: int


def questions(data: Path, names: Sequence[str], pipeline: Pipeline, low: int, high: int) -> Iterator[Question]:
    """The questions over documents of ``low`` to ``high`` tokens."""
    fast = pipeline.tokenizer.fast

    def offsets(text: str) -> list[tuple[int, int]]:
        return list(fast.encode(text, add_special_tokens=False).offsets)

    spec = SplitSpec(tokens=128, overlap=0)
    for name in names:
        documents: dict[str, tuple[tuple[Passage, ...], int]] = {}
        for row in read(data / name / "documents.jsonl"):
            tokens = len(offsets(row["text"]))
            if low <= tokens <= high:
                found = split(Document(row["text"]), row["title"] or row["id"], spec, offsets)
                passages = [Passage(part.id, part.source, part.text, rank=at) for at, part in enumerate(found, start=1)]
                documents[row["id"]] = tuple(passages), tokens
        for row in read(data / name / "questions.jsonl"):
            known = documents.get(row["contexts"][0]["id"])
            if known is not None:
                yield Question(row["id"], name, row["question"].strip(), tuple(row["golden_answers"]), *known)


def sample(found: Sequence[Question], each: int, seed: int) -> list[Question]:
    """So many questions of each set in turns; a smaller number gives the beginning of a larger one."""
    own = {name: [item for item in found if item.set == name] for name in dict.fromkeys(item.set for item in found)}
    for name, items in own.items():
        random.Random(f"{seed} {name}").shuffle(items)  # noqa: S311
    return [items[turn] for turn in range(each) for items in own.values() if turn < len(items)]


def modes(
    request: Request, etas: Sequence[float], drafters: dict[str, list[Drafter]]
) -> Iterator[tuple[str, str, Request]]:
    """Every (mode, drafts, request) of a question, the undrafted one of a mode first."""
    for drafts, parts in drafters.items():
        views = request.views if drafts == "view" else {TARGET: request.views[TARGET]}
        yield "long", drafts, replace(request, rules=(), drafters=parts, views=views)
    for drafts in ("none", "lookup"):
        yield "rag", drafts, replace(request, rules=(), drafters=drafters[drafts], views={TARGET: request.views["rag"]})
    for eta in etas:
        rules = [Transfer(TransferSettings.model_validate({"from": "rag", "eta": eta}))]
        for drafts, parts in drafters.items():
            yield f"transfer {eta:g}", drafts, replace(request, rules=rules, drafters=parts)


def answer_all(pipeline: Pipeline, asked: Sequence[Question], file: Path, etas: Sequence[float], tokens: int) -> None:
    """Append every answer that the file lacks."""
    rows = read(file) if file.is_file() else []
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")  # none broken off
    known = {(row["question"], row["mode"], row["drafts"]) for row in rows}
    drafters = {name: [] if part is None else [_drafter(part)] for name, part in DRAFTS.items()}
    with file.open("a", encoding="utf-8") as stream:
        for number, item in enumerate(asked, start=1):
            prepared = pipeline.prepare(DecodeRequest(item.id, question=item.text, passages=item.passages))
            if len(prepared.passages) < len(item.passages):
                continue  # the question is so long that the document does not fit
            base = replace(prepared.request, max_new_tokens=tokens)
            missing = [cell for cell in modes(base, etas, drafters) if (item.id, *cell[:2]) not in known]
            reading = _reading(pipeline, base) if missing else {}
            for mode, drafts, request in missing:
                print(f"\r{number}/{len(asked)} {item.id} {mode} {drafts:12}", end="", file=sys.stderr)
                result = _run(pipeline, request)
                stats = result.stats
                row = {
                    "question": item.id,
                    "set": item.set,
                    "mode": mode,
                    "drafts": drafts,
                    "answer": result.text,
                    "tokens": result.tokens,
                    "golden_answers": item.answers,
                    "document_tokens": item.tokens,
                    "prompt_tokens": stats.prompt_tokens,
                    "new_tokens": stats.new_tokens,
                    "steps": stats.steps,
                    "passes": stats.forward_passes,
                    "rows": stats.forward_rows,
                    "accepted": stats.accepted,
                    **reading,
                    "decode_seconds": stats.decode_seconds,
                }
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                stream.flush()
    print(file=sys.stderr)


def _reading(pipeline: Pipeline, base: Request) -> dict[str, float]:
    """Seconds until the first token of the whole document's view and of the other; after that both are in the cache."""
    seconds = {}
    for name in (TARGET, "rag"):
        alone = replace(base, rules=(), drafters=(), views={TARGET: base.views[name]}, max_new_tokens=1)
        seconds[f"read_{name}_seconds"] = _run(pipeline, alone).stats.prefill_seconds
    return seconds


def _run(pipeline: Pipeline, request: Request) -> Result:
    return next(event.result for event in pipeline.run(request) if isinstance(event, DoneEvent))


def _drafter(written: Any) -> Drafter:
    built: Drafter = PartKind("drafter").validate(written).build()
    return built


def main() -> None:
    """Answer, then write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for rows and tables; kept")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="which sets")
    parser.add_argument("--questions", type=int, default=20, help="questions of each set")
    parser.add_argument("--tokens", type=int, default=64, help="longest answer")
    parser.add_argument(
        "--length", type=int, nargs=2, default=(4000, 7000), help="shortest and longest document, in tokens"
    )
    parser.add_argument("--etas", type=float, nargs="+", default=ETAS, help="strengths of the transfer")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of questions")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / "rows.jsonl"
    with Pipeline.load(PIPELINE) as pipeline:
        found = list(questions(options.data, options.sets, pipeline, *options.length))
        if not found:
            sys.exit("no document has that length")
        asked = sample(found, options.questions, options.seed)
        try:
            answer_all(pipeline, asked, file, options.etas, options.tokens)
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on from here", file=sys.stderr)
    rows = read(file) if file.is_file() else []
    if rows:
        text = tables(rows)
        (options.work / "tables.md").write_text(text, "utf-8")
        print(text)


if __name__ == "__main__":
    main()
