"""What acting on unsupported sentences buys: FOD, rewind, abstain and the rest against greedy decoding and CAD.

    python benchmarks/faithfulness.py --data ../shared/data --work /tmp/faithfulness --qa 60 --summaries 30

Questions over passages (SQuAD: the gold passage and two others of its article) and summaries (CNN/DailyMail). Every way
to decode an example runs alone, one after the other in an order that changes with the example; what slows the machine
down for a while slows all of them down. Answers are appended to a journal in ``--work``: interrupted, it goes on from
there. Tables go to stdout as Markdown, ``--report`` prints them again from the journal alone; only examples that every
way has answered count. Tokens a second and seconds, without reading the prompts, are medians over answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from evidence_rows import read
from rules_sets import Item, squad, summaries

from ragdecode import Pipeline
from ragdecode.decoding.aligners.lexical import ENCODER, Lexical, LexicalSession, LexicalSettings
from ragdecode.evaluation.bootstrap import interval
from ragdecode.evaluation.metrics.answers import contains_answer, token_f1
from ragdecode.evaluation.metrics.knowledge import k_precision
from ragdecode.evaluation.metrics.lexical_support import lexical_support
from ragdecode.evaluation.metrics.rouge import rouge_l
from ragdecode.evaluation.monitors.judges import open_judges
from ragdecode.evaluation.paired import permutation_test
from ragdecode.models.progress import silent
from ragdecode.pipeline.answer import Answer
from ragdecode.pipeline.sharing import SharedPipelines
from ragdecode.text.sentences import sentence_spans

CAD = {"cad": {"alpha": 0.5}}


def _watched(action: Any, rule: Any = CAD, **more: Any) -> dict[str, Any]:
    return {"rule": rule, "monitor": {"syncheck": {"on_unfaithful": action}}, **more}


#: how an answer is decoded, by name
ARMS: Mapping[str, dict[str, Any]] = {
    "greedy": {"rule": []},
    "CAD": {"rule": CAD},
    "FOD": _watched("flag", [], search={"fod": {}}),
    "FOD, thresholds of 0.5": _watched("flag", [], search={"fod": {"tau_start": 0.5, "tau_prune": 0.5}}),
    "CAD + FOD, thresholds of 0.5": _watched("flag", search={"fod": {"tau_start": 0.5, "tau_prune": 0.5}}),
    "CAD + rewind": _watched("rewind"),
    "CAD + stop": _watched("stop"),
    "CAD + abstain": _watched("abstain"),
}
#: set -> its title, the longest answer, how its examples are read
SETS = {
    "qa": ("SQuAD, the gold passage and two others", 64, squad(True, 2)),
    "summaries": ("CNN/DailyMail", 64, summaries("cnndm_multiref")),
}
TITLES = {
    "answered": "answered",
    "k_precision": "K-Precision",
    "supported": "sentences supported",
    "alignment": "alignment",
    "contains": "contains",
    "f1": "F1",
    "rouge_l": "ROUGE-L",
    "words": "words",
}


def graded(kind: str, item: Item, answer: Answer, encode: Any) -> dict[str, float | None]:
    """The metrics of an answer; what judges faithfulness has no value for one that abstained or is empty."""
    text = answer.answer
    said = bool(text.strip()) and not _abstained(answer)
    sentences = [text[start:stop] for start, stop in sentence_spans(text)] if said else []
    session = LexicalSession(item.passages, encode)
    aligned = [score for one in sentences if (score := session.align(one).score) is not None]
    held = [float(lexical_support("\n".join(item.passages), one)) for one in sentences]
    quality = (
        {"contains": contains_answer(text, item.right), "f1": token_f1(text, item.right)}
        if kind == "qa"
        else {"rouge_l": rouge_l(text, item.right)}
    )
    return {
        "answered": float(said),
        "k_precision": k_precision(text, item.passages) if said else None,
        "supported": sum(held) / len(held) if held else None,
        "alignment": sum(aligned) / len(aligned) if aligned else None,
        **quality,
        "words": float(len(text.split())) if said else None,
    }


def _abstained(answer: Answer) -> bool:
    watched = answer.monitors.get("syncheck", {})
    return bool(watched.get("abstained")) or bool((answer.search or {}).get("abstained"))


def measure(work: Path, data: Path, counts: Mapping[str, int]) -> None:
    """Append what the journal lacks."""
    file = work / "answers.jsonl"
    rows = read(file) if file.is_file() else []
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")  # none broken off
    known = {(row["set"], row["item"], row["arm"]) for row in rows}
    first = Pipeline.load("plain", ["engine.prefix_cache_mb=512", "prompt=grounded"])
    shared = SharedPipelines(first)
    encode = _encoder()
    arms = {
        (kind, name): shared.load("plain", _sets({**decode, "max_new_tokens": tokens, "draft": ["prompt_lookup"]}))
        for kind, (_, tokens, _) in SETS.items()
        for name, decode in ARMS.items()
    }
    reader = shared.load("plain", _sets({"rule": CAD, "max_new_tokens": 1}))
    examples = {kind: made(data, first.tokenizer, work)[: counts[kind]] for kind, (_, _, made) in SETS.items()}
    todo = [(kind, item) for kind, items in examples.items() for item in items]
    place = {(kind, item.id): at / len(items) for kind, items in examples.items() for at, item in enumerate(items)}
    todo.sort(key=lambda one: place[one[0], one[1].id])  # both sets advance together
    with file.open("a", encoding="utf-8") as stream:
        for number, (kind, item) in enumerate(todo):
            names = [name for name in ARMS if (kind, item.id, name) not in known]
            passages = [{"text": text} for text in item.passages]
            if names:
                reader.ask(item.question, passages=passages)  # prompts are read beforehand: every arm finds them
            for turn in range(len(names)):
                name = names[(turn + number) % len(names)]
                row = _row(kind, item, name, arms[kind, name].ask(item.question, passages=passages), encode)
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                stream.flush()
            print(f"\r{number + 1}/{len(todo)}   ", end="", file=sys.stderr)
    print(file=sys.stderr)


def _row(kind: str, item: Item, name: str, answer: Answer, encode: Any) -> dict[str, Any]:
    return {
        "set": kind,
        "item": item.id,
        "arm": name,
        "answer": answer.answer,
        "tokens": len(answer.token_ids),
        "seconds": answer.stats.decode_seconds,
        "passes": answer.stats.forward_passes,
        "stage": (answer.search or {}).get("stage"),
        "asked": [one["action"] for one in answer.monitors.get("syncheck", {}).get("asked", [])],
        **graded(kind, item, answer, encode),
    }


def _sets(decode: Mapping[str, Any]) -> list[str]:
    return ["engine.prefix_cache_mb=512", "prompt=grounded", f"decode={json.dumps(decode)}"]


def _encoder() -> Any:
    """Texts to vectors of length 1, as the monitor compares them: by minilm, where nothing else is said."""
    models = Lexical(LexicalSettings()).models
    return open_judges(models, fetch=False, progress=silent)[ENCODER]


def report(rows: Sequence[Mapping[str, Any]]) -> None:
    """Tables as Markdown."""
    for kind, (title, _, _) in SETS.items():
        own = [row for row in rows if row["set"] == kind]
        by = {name: {row["item"]: row for row in own if row["arm"] == name} for name in ARMS}
        whole = set.intersection(*(set(found) for found in by.values())) if own else set()
        if not whole:
            continue
        columns = [name for name in TITLES if name in own[0]]
        print(f"\n{title}: {len(whole)} examples\n")
        print(f"| decoding | {' | '.join(TITLES[name] for name in columns)} | tokens/s | seconds | passes | acted |")
        print(f"| --- |{' --- |' * (len(columns) + 4)}")
        for name, found in by.items():
            mine = [found[item] for item in sorted(whole)]
            cells = [_mean([row[column] for row in mine]) for column in columns]
            seconds = median(row["seconds"] for row in mine)
            passes = sum(row["passes"] for row in mine) / len(mine)
            rates = [(row["tokens"] - 1) / row["seconds"] for row in mine if row["tokens"] > 1]
            acted = sum(bool(row["asked"]) or row["stage"] == "search" for row in mine)
            speed = f"{median(rates):.1f}" if rates else "none"
            print(f"| {name} | {' | '.join(cells)} | {speed} | {seconds:.2f} | {passes:.0f} | {acted}/{len(mine)} |")
        print()
        for base in ("greedy", "CAD"):
            for name in ARMS:
                if name not in ("greedy", base):
                    print(f"- {name} less {base}: {_gaps(by[name], by[base], sorted(whole), columns)}")


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    found = interval(known)
    left = "" if len(known) == len(values) else f" (n {len(known)})"
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]{left}"


def _gaps(one: Mapping[str, Any], other: Mapping[str, Any], items: Sequence[str], columns: Sequence[str]) -> str:
    """Paired differences, of the examples where both have a value, with the p-value of a permutation test."""
    told = []
    for column in columns:
        pairs = [(one[item][column], other[item][column]) for item in items]
        gaps = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
        if column in ("k_precision", "supported", "alignment", "f1", "rouge_l") and gaps:
            told.append(
                f"{TITLES[column]} {sum(gaps) / len(gaps):+.3f} (p {permutation_test(gaps):.3f}, n {len(gaps)})"
            )
    return ", ".join(told)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder of the journal")
    parser.add_argument("--qa", type=int, default=60, help="questions")
    parser.add_argument("--summaries", type=int, default=30, help="articles")
    parser.add_argument("--report", action="store_true", help="print the tables of what is there")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.report:
        if options.data is None:
            parser.error("--data is missing")
        measure(options.work, options.data, {"qa": options.qa, "summaries": options.summaries})
    report(read(options.work / "answers.jsonl"))


if __name__ == "__main__":
    main()
