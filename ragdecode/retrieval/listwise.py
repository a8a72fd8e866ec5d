"""A ranking of all passages at once by the pipeline's own model: it names one after the other, best first."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from ragdecode.retrieval.relevance import OwnModel

#: passages that can be ranked at once: each is called by a letter
MOST = len(ascii_uppercase)


def listwise(model: OwnModel, questions: Sequence[str], texts: Sequence[Sequence[str]]) -> list[list[int]]:
    """Places of each question's passages, best first: always a permutation.

    The model sees all passages, each with a letter, and continues a ranking. At every step only letters that have
    not been given yet are legal (the decoding rule of PE-Rank, Liu et al., 2024), and the likeliest is taken, the
    earlier one of equals. So n passages take n (n + 1) / 2 - 1 scorings in n - 1 calls, shared by all questions.

    Args:
        model: The model.
        questions: What is asked.
        texts: For each question up to `MOST` passages.
    """
    rankings: list[list[int]] = [[] for _ in texts]
    prompts = [_prompt(*one) for one in zip(model.questions(questions), texts, strict=True)]
    for _ in range(max((len(own) for own in texts), default=0)):
        legal = [[at for at in range(len(own)) if at not in done] for own, done in zip(texts, rankings, strict=True)]
        pairs = [
            (
                prompts[at] + "".join(f" {ascii_uppercase[place]} >" for place in rankings[at]),
                f" {ascii_uppercase[place]}",
            )
            for at, places in enumerate(legal)
            if len(places) > 1
            for place in places
        ]
        scores = iter(model.scores(pairs))
        for done, places in zip(rankings, legal, strict=True):
            of_places = [next(scores) for _ in places] if len(places) > 1 else [0.0] * len(places)
            if places:
                done.append(places[of_places.index(max(of_places))])
    return rankings


def _prompt(question: str, texts: Sequence[str]) -> str:
    passages = "".join(f"[{letter}] {text.strip()}\n" for letter, text in zip(ascii_uppercase, texts, strict=False))
    return f"{passages}Question: {question}\nPassages by how well they answer the question, best first:"
