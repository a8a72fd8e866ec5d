"""Retrieval heads: heads that look at the token which is copied next (Wu et al., arXiv 2404.15574)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragdecode.errors import InputError, RunError
from ragdecode.evaluation.metrics.answers import normalise
from ragdecode.models.progress import Progress, silent
from ragdecode.spec.heads import HeadListSpec, ScoredHead

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.evaluation.heads.haystack import Trial
    from ragdecode.models.causal import CausalModel

#: Share of the needle's words that an answer must repeat for its trial to count.
_RECALL = 0.5
#: Longest answer.
_ANSWER = 50
#: Heads with a lower score are left out of the list.
_LEAST = 0.001


@dataclass(frozen=True)
class Found:
    """Retrieval heads of a model.

    Attributes:
        spec: The list, best first.
        trials: Prompts that were tried.
        kept: Those that counted: the model had copied the needle.
    """

    spec: HeadListSpec
    trials: int
    kept: int


def find_retrieval_heads(
    model: CausalModel,
    backend: Backend,
    trials: Sequence[Trial],
    *,
    forced: bool = False,
    progress: Progress = silent,
) -> Found:
    """Score every head by how much of the needles it copies.

    At each token of an answer, a head that looks at a place of the needle more than at any other, where the token that
    comes next stands, has copied that place; its score in a trial is the share of the needle's places. Scores are
    averaged over the trials in which the answer repeats more than half of the needle's words.

    Args:
        model: The model.
        backend: The same, ready to run; its interventions have ``attention``.
        trials: The prompts.
        forced: Have the model read the needle as its answer instead of writing one; all trials count.
        progress: Told after every trial.

    Raises:
        InputError: The backend does not tell attention, or a prompt does not fit the model's window.
        RunError: No answer copied its needle.
    """
    import torch

    check_watching(backend)
    heads = all_heads(backend)
    total, kept = torch.zeros(len(heads)), 0
    room = min(model.max_positions, backend.max_positions) - _ANSWER
    if (longest := max(len(trial.prompt) for trial in trials)) > room:
        raise InputError(f"a prompt of {longest} tokens does not fit the model's window", hint="lower --lengths")
    for number, trial in enumerate(trials):
        progress("looking for retrieval heads", number, len(trials))
        scores = _forced(backend, trial, heads) if forced else _written(model, backend, trial, heads)
        if scores is not None:
            total, kept = total + scores, kept + 1
    progress("looking for retrieval heads", len(trials), len(trials))
    if not kept:
        raise RunError(
            f"the model copied the needle in none of {len(trials)} answers",
            hint="--forced has it read the needle as its answer; --lengths with shorter prompts may do too",
        )
    scored = sorted(zip((total / kept).tolist(), heads, strict=True), key=lambda item: (-item[0], item[1]))
    best = tuple(
        ScoredHead(layer=layer, head=head, score=round(score, 4)) for score, (layer, head) in scored if score >= _LEAST
    )
    if not best:
        raise RunError("no head of the model copies", hint="try other --lengths")
    return Found(HeadListSpec(model=model.heads_fingerprint, heads=best), len(trials), kept)


def check_watching(backend: Backend) -> None:
    """Refuse a backend that does not tell attention.

    Raises:
        InputError: It does not.
    """
    if "attention" not in backend.interventions:
        raise InputError(
            "the attention of single heads is told by the llama backend only, which cannot run this model",
            hint="take a model of Llama's shape",
        )


def all_heads(backend: Backend) -> list[tuple[int, int]]:
    """Pairs of layer and query head, all there are, in order."""
    return [(layer, head) for layer in range(backend.blocks) for head in range(backend.heads)]


def recall(answer: str, needle: str) -> float:
    """ROUGE-1 recall: the share of the needle's words that the answer repeats; words as in short answers' metrics."""
    said, wanted = Counter(normalise(answer).split()), Counter(normalise(needle).split())
    return sum((said & wanted).values()) / max(sum(wanted.values()), 1)


def copied(attention: torch.Tensor, tokens: Sequence[int], trial: Trial) -> torch.Tensor:
    """The share of the needle's places that each head copied ``[K]``: ``attention [m, K, S]`` before m tokens."""
    import torch

    looked = attention.argmax(dim=-1).tolist()  # [m, K]
    places: list[set[int]] = [set() for _ in range(attention.shape[1])]
    for row, token in zip(looked, tokens, strict=True):
        for head, place in enumerate(row):
            if trial.start <= place < trial.stop and trial.prompt[place] == token:
                places[head].add(place)
    return torch.tensor([len(found) / (trial.stop - trial.start) for found in places])


def _forced(backend: Backend, trial: Trial, heads: Sequence[tuple[int, int]]) -> torch.Tensor:
    from ragdecode.decoding.watching import watch_forced

    attention, _ = watch_forced(backend, trial.prompt, trial.answer, heads)
    return copied(attention, trial.answer, trial)


def _written(
    model: CausalModel, backend: Backend, trial: Trial, heads: Sequence[tuple[int, int]]
) -> torch.Tensor | None:
    """The scores of a trial whose answer the model wrote itself; None if it did not copy the needle."""
    from ragdecode.decoding.watching import watch_greedy

    tokens, attention = watch_greedy(backend, trial.prompt, heads, _ANSWER, model.end_tokens, model.vocab_size)
    if recall(model.tokenizer.decode(tokens), trial.needle) <= _RECALL:
        return None
    return copied(attention, tokens, trial)
