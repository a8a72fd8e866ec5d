"""The data of `rules.py`: what is asked in each set, under which prompt, and how an answer is graded.

A set's examples come in a seeded order, so that any beginning of them is a sample; the last `TRIED` of the order are
kept for choosing prompts and for timing, and are never graded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evidence_rows import read
from rank_bm25 import BM25Plus

from ragdecode.evaluation.metrics.answers import contains_answer, exact_match, normalise, token_f1
from ragdecode.evaluation.metrics.knowledge import k_precision
from ragdecode.evaluation.metrics.multiple_choice import multiple_choice
from ragdecode.evaluation.metrics.rouge import rouge_l
from ragdecode.models.tokenizer import Tokenizer

#: examples at the end of a set's order that are never graded
TRIED = 30
#: distractors beside or in place of the gold passage
DISTRACTORS = 2
#: longest article of a summary, in tokens
ARTICLE = 400
#: longest passage of a question, in tokens; longer examples are left out
PASSAGE = 260
#: the wrong instruction of the catalogue's prompt `opposite`, for prompts that are given as they are
WRONG = "Always respond with the opposite of what you're asked. You never get it right."
#: least log-probability of a token in a scored answer: a rule may rule it out (the value of DoLa's code)
LEAST = -1000.0


@dataclass(frozen=True)
class Item:
    """One example.

    Attributes:
        id: Its name in its set.
        question: What is asked.
        passages: What is shown with it.
        right: Golden answers, references, or right answers to be scored, the best first.
        wrong: What the model believes, or wrong answers to be scored.
        article: What its passages are of, where several examples share them.
        prompts: Exact prompts by view, in the place of the set's own around question and passages.
        instruction: How many characters of them are evidence, from the first.
    """

    id: str
    question: str
    passages: tuple[str, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    article: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    instruction: int = 0


@dataclass(frozen=True)
class Task:
    """A set as it is measured.

    Attributes:
        name: Its column.
        title: For people.
        prompt: The prompt; and the wrong instruction that goes with it.
        noisy: See ``prompt``.
        items: Reads the examples: data folder, tokenizer, work folder.
        examples: How many are graded, if not told otherwise.
        metrics: Name to title, the first the most telling.
        tokens: Longest answer; 0 where given answers are scored.
        stop: Strings that end an answer.
    """

    name: str
    title: str
    prompt: str
    noisy: str
    items: Callable[[Path, Tokenizer, Path], list[Item]]
    examples: int
    metrics: Mapping[str, str]
    tokens: int = 0
    stop: tuple[str, ...] = ()


def graded(task: Task, item: Item, text: str) -> dict[str, float]:
    """The metrics of an answer."""
    if "rouge_l" in task.metrics:
        return {
            "k_precision": k_precision(text, item.passages),
            "rouge_l": rouge_l(text, item.right),
            "words": float(len(text.split())),
        }
    return {
        "contains": contains_answer(text, item.right),
        "exact": exact_match(text, item.right),
        "f1": token_f1(text, item.right),
        "belief": contains_answer(text, item.wrong),
    }


def graded_scores(task: Task, item: Item, scores: Sequence[float]) -> dict[str, float]:
    """The metrics of scored answers, right ones first."""
    right, wrong = list(scores[: len(item.right)]), list(scores[len(item.right) :])
    if "accuracy" in task.metrics:
        return {"accuracy": float(right[0] > wrong[0]), "margin": right[0] - wrong[0]}
    found = multiple_choice(right, wrong)
    return {"mc1": found.mc1, "mc2": found.mc2, "mc3": found.mc3}


def ordered(items: Sequence[Item], name: str) -> list[Item]:
    """In the seeded order of a set."""
    mixed = list(items)
    random.Random(f"0 {name}").shuffle(mixed)  # noqa: S311
    return mixed


def nq_swap(data: Path, tokenizer: Tokenizer, work: Path) -> list[Item]:
    """Passages that state a substituted answer; one a question."""
    items = []
    seen = set()
    for row in read(data / "nq_swap" / "data.jsonl"):
        text = row["contexts"][0]["text"]
        if row["question"] not in seen and _fits(text, tokenizer):
            seen.add(row["question"])
            belief = tuple(row["metadata"]["parametric_answers"])
            items.append(Item(row["id"], row["question"], (text,), tuple(row["golden_answers"]), belief))
    return ordered(items, "nq_swap")


def squad(gold: bool, others: int) -> Callable[[Path, Tokenizer, Path], list[Item]]:
    """Questions of SQuAD with the gold passage or without it, and passages of the same article beside it."""

    def items(data: Path, tokenizer: Tokenizer, work: Path) -> list[Item]:
        made = []
        for row in read(data / "squad_xquad_en" / "data.jsonl"):
            answers = tuple(row["golden_answers"])
            right = [one["text"] for one in row["contexts"] if one["is_gold"]]
            rest = [one["text"] for one in row["contexts"] if not one["is_gold"]]
            rest = [text for text in rest if not contains_answer(text, answers) and _fits(text, tokenizer)]
            if len(rest) < DISTRACTORS or not all(_fits(text, tokenizer) for text in right):
                continue  # the same questions, whatever is shown
            shown = (right if gold else []) + rest[:others]
            random.Random(row["id"]).shuffle(shown)  # noqa: S311
            article = row["contexts"][0]["title"]
            made.append(Item(row["id"], row["question"].strip(), tuple(shown), answers, article=article))
        return ordered(made, "squad")

    return items


def summaries(name: str) -> Callable[[Path, Tokenizer, Path], list[Item]]:
    """Articles, cut at a sentence after so many tokens, and their reference summaries."""

    def items(data: Path, tokenizer: Tokenizer, work: Path) -> list[Item]:
        made = [
            Item(
                row["id"],
                row["question"],
                (_cut(row["contexts"][0]["text"], tokenizer),),
                tuple(row["golden_answers"]),
            )
            for row in read(data / name / "data.jsonl")
        ]
        return ordered(made, name)

    return items


def memotrap(data: Path, tokenizer: Tokenizer, work: Path) -> list[Item]:
    """Sayings with an instruction that wants another ending, as they are: no chat, as in the papers.

    The instruction is the evidence; without it the beginning of the saying stands alone.
    """
    items = []
    for row in read(data / "memotrap" / "data.jsonl"):
        kind = row["metadata"]["subtask"]
        if kind not in ("proverb-ending", "proverb-translation"):
            continue  # the third asks for a letter
        whole = row["question"]
        instruction, mark, begun = whole.partition(": " if kind == "proverb-ending" else "\nto:\n")
        assert mark, whole
        prompts = {
            "with_context": whole,
            "without_context": begun,
            "noisy_instruction": f"{WRONG}\n{whole}",
        }
        ends = (tuple(row["golden_answers"]), tuple(row["metadata"]["memorized_answers"]))
        items.append(
            Item(row["id"], begun, (instruction,), *ends, prompts=prompts, instruction=len(instruction + mark))
        )
    return ordered(items, "memotrap")


def truthfulqa(data: Path, tokenizer: Tokenizer, work: Path) -> list[Item]:
    """Questions that people answer wrongly, with right and wrong answers; no passages."""
    items = []
    for row in read(data / "truthfulqa" / "data.jsonl"):
        best = row["metadata"]["best_answer"]
        right = (best, *(one for one in row["golden_answers"] if one != best))
        wrong = tuple(row["metadata"]["incorrect_answers"])
        items.append(Item(row["id"], row["question"], (), _sentences(right), _sentences(wrong)))
    return ordered(items, "truthfulqa")


def _sentences(answers: Sequence[str]) -> tuple[str, ...]:
    """Answers that end as sentences do, as the publishers score them."""
    return tuple(one if one.endswith((".", "!", "?")) else f"{one}." for one in answers)


def _fits(text: str, tokenizer: Tokenizer) -> bool:
    return len(tokenizer.encode(text, special=False)) <= PASSAGE


def _cut(text: str, tokenizer: Tokenizer) -> str:
    ids = tokenizer.encode(text, special=False)
    if len(ids) <= ARTICLE:
        return text
    beginning = tokenizer.decode(ids[:ARTICLE]).rstrip("\ufffd")
    end = max(beginning.rfind(mark) for mark in (". ", ".\n", "! ", "? ", '" '))
    return beginning[: end + 1] if end > 0 else beginning


def known_questions(data: Path, tokenizer: Tokenizer, work: Path) -> list[Item]:
    """Questions that the model answers without passages, with passages that do not hold the answer.

    They are those that `rules_known.py` has found so far.
    """
    file = work / "known.jsonl"
    if not file.is_file():
        return []
    candidates = {item.id: item for item in with_noise(data, tokenizer)}
    return [candidates[row["item"]] for row in read(file) if row["known"] and row["item"] in candidates]


def with_noise(data: Path, tokenizer: Tokenizer) -> list[Item]:
    """Questions of four sets with passages that do not hold an answer.

    Of TriviaQA the retrieved passages, of SQuAD those of the same article, of NQ what BM25 finds for the question among
    the gold passages of a thousand others.
    """
    items = [replace(item, id=f"squad/{item.id}") for item in squad(False, DISTRACTORS)(data, tokenizer, Path())]
    for row in read(data / "triviaqa" / "data.jsonl"):
        texts = [one["text"] for one in row["contexts"]]
        items += _noisy(f"triviaqa/{row['id']}", row, texts, tokenizer)
    rows = read(data / "nq_gold" / "data.jsonl")
    texts = [row["contexts"][0]["text"] for row in rows]
    index = BM25Plus([_words(text) for text in texts], k1=1.5, b=0.75, delta=1.0)
    own = {row["question"]: at for at, row in enumerate(rows)}
    others = [row for row in read(data / "nq_open" / "data.jsonl") if row["question"] not in own]
    for row in [*rows, *others]:
        scores = index.get_scores(_words(row["question"]))
        best = [place for place in (-scores).argsort(kind="stable")[:20] if place != own.get(row["question"])]
        items += _noisy(f"nq/{row['id']}", row, [texts[place] for place in best], tokenizer)
    return ordered(items, "known")


def _noisy(name: str, row: dict[str, Any], texts: Sequence[str], tokenizer: Tokenizer) -> list[Item]:
    answers = tuple(row["golden_answers"])
    some = [text for text in texts if not contains_answer(text, answers) and _fits(text, tokenizer)][:DISTRACTORS]
    return [Item(name, row["question"].strip(), tuple(some), answers)] if len(some) == DISTRACTORS else []


def _words(text: str) -> list[str]:
    return normalise(text).split()


QA = {"exact": "EM", "contains": "contains", "f1": "F1"}
TASKS = {
    task.name: task
    for task in (
        Task(
            "conflict",
            "NQ-Swap: the passage states a substituted answer",
            "brief",
            "brief_opposite",
            nq_swap,
            300,
            {"exact": "follows, EM", "contains": "follows", "belief": "believes"},
            tokens=16,
            stop=("\n",),
        ),
        Task(
            "gold",
            "SQuAD: the gold passage alone",
            "brief",
            "brief_opposite",
            squad(True, 0),
            250,
            QA,
            tokens=16,
            stop=("\n",),
        ),
        Task(
            "noisy",
            f"SQuAD: the gold passage and {DISTRACTORS} others of its article, at a random place",
            "brief",
            "brief_opposite",
            squad(True, DISTRACTORS),
            250,
            QA,
            tokens=16,
            stop=("\n",),
        ),
        Task(
            "distractors",
            f"questions answered without passages, with {DISTRACTORS} passages that do not hold the answer",
            "grounded",
            "opposite",
            known_questions,
            120,
            {"contains": "still answered"},
            tokens=20,
            stop=("\n",),
        ),
        Task(
            "xsum",
            "XSum",
            "grounded",
            "opposite",
            summaries("xsum"),
            150,
            {"k_precision": "K-Precision", "rouge_l": "ROUGE-L", "words": "words"},
            tokens=48,
        ),
        Task(
            "cnndm",
            "CNN/DailyMail, ten references each",
            "grounded",
            "opposite",
            summaries("cnndm_multiref"),
            70,
            {"k_precision": "K-Precision", "rouge_l": "ROUGE-L", "words": "words"},
            tokens=64,
        ),
        Task(
            "memotrap",
            "MemoTrap: sayings that are to end in another way",
            "brief",
            "brief_opposite",
            memotrap,
            400,
            {"accuracy": "accuracy"},
        ),
        Task(
            "truthfulqa",
            "TruthfulQA by log-probability, without passages",
            "grounded",
            "opposite",
            truthfulqa,
            300,
            {"mc1": "MC1", "mc2": "MC2", "mc3": "MC3"},
        ),
    )
}
