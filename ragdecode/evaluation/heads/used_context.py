"""Examples of context that a model uses and of context that it does not, by the attention of all heads."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ragdecode.evaluation.heads.copying import all_heads, check_watching
from ragdecode.evaluation.metrics.answers import contains_answer
from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.evaluation.heads.questions import Asked
    from ragdecode.models.causal import CausalModel
    from ragdecode.pipeline.prompts import Prompt
    from ragdecode.spec.prompt import PromptSpec

#: Longest answer.
_ANSWER = 20
#: Questions that are answered together.
_TOGETHER = 8
#: Tokens above this rank in the model's prediction are no rivals of the answer.
_RANK = 10
#: Unused tokens of each kind taken at one token of an answer.
_UNUSED = 2
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b(?:[A-Z][\w'-]*|\d[\d.,]*)")


@dataclass
class Examples:
    """Shares of attention, one row an example.

    Attributes:
        features: The share that each head gives to a token ``[K]``.
        used: Whether the token was the one that the answer took.
        groups: The question that each comes from.
        kept: Questions that gave examples.
        asked: Questions that were asked.
    """

    features: list[list[float]] = field(default_factory=list)
    used: list[bool] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    kept: int = 0
    asked: int = 0


def collect(
    model: CausalModel,
    backend: Backend,
    questions: Sequence[Asked],
    prompt: PromptSpec,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Examples:
    """Ask every question with and without its passages, and note what the heads look at.

    Questions count that are answered wrongly closed-book and rightly with the passages, as far as an answer holds a
    golden one. Used: each token of the golden answer, where it is written. Unused, at the same places: tokens that
    begin names and numbers of the passages but are in neither question nor answer, and other tokens of the passages
    that the model does not rank among its best ten. Names are words with a capital letter inside a sentence.

    Args:
        model: The model.
        backend: The same, ready to run; its interventions have ``attention``.
        questions: What is asked; those whose prompt does not fit the model's window are left out.
        prompt: How it is asked.
        seed: Chooses among the unused tokens.
        progress: Told after every question.

    Raises:
        InputError: The backend does not tell attention.
    """
    check_watching(backend)
    work = _Collector(model, backend, prompt, random.Random(seed))  # noqa: S311 - no secret
    opened = {place: found for place, asked in enumerate(questions) if (found := work.opened(asked)) is not None}
    answers = work.answers("asking with passages", opened, progress)
    right = [place for place in opened if _right(model, answers[place], questions[place])]
    closed = {place: work.closed(questions[place]) for place in right}
    alone = work.answers("asking closed-book", closed, progress)
    wrong = [place for place in right if not _right(model, alone[place], questions[place])]
    for number, place in enumerate(wrong):
        progress("looking at attention", number, len(wrong))
        work.note(place, questions[place], opened[place], answers[place])
    work.found.asked = len(opened)
    return work.found


def _right(model: CausalModel, tokens: Sequence[int], asked: Asked) -> bool:
    return bool(contains_answer(model.tokenizer.decode(tokens), asked.golden))


class _Collector:
    def __init__(self, model: CausalModel, backend: Backend, prompt: PromptSpec, rng: random.Random) -> None:
        from ragdecode.pipeline.prompts import PromptRenderer
        from ragdecode.pipeline.views import ViewPlan

        self.found = Examples()
        self._model, self._backend, self._rng = model, backend, rng
        self._view = ViewPlan("with_context", prompt)
        self._renderer = PromptRenderer([self._view], model.tokenizer)
        self._window = min(model.max_positions, backend.max_positions) - _ANSWER
        self._heads = all_heads(backend)

    def opened(self, asked: Asked) -> Prompt | None:
        """The prompt with the passages; None where it does not fit, or does not show them as they are."""
        found = self._renderer.render([self._view], asked.question, asked.passages)
        prompt = self._renderer.with_evidence([self._view], asked.question, asked.passages, (), found)["with_context"]
        return prompt if prompt.evidence and len(prompt.ids) <= self._window else None

    def closed(self, asked: Asked) -> Prompt:
        """The prompt without passages."""
        return self._renderer.render([self._view], asked.question, ())["with_context"]

    def answers(self, stage: str, prompts: Mapping[int, Prompt], progress: Progress) -> dict[int, list[int]]:
        """Greedy answers, several at a time."""
        from ragdecode.decoding.engine import Engine
        from ragdecode.decoding.events import DoneEvent
        from ragdecode.decoding.request import TARGET, Request, View

        model, found = self._model, {}
        engine = Engine({"main": self._backend}, max_batch=_TOGETHER, vocab_size=model.vocab_size, prefix_bytes=0)
        requests = [
            Request(str(place), {TARGET: View(item.ids)}, end_tokens=model.end_tokens, max_new_tokens=_ANSWER)
            for place, item in prompts.items()
        ]
        progress(stage, 0, len(requests))
        for event in engine.run(requests):
            if isinstance(event, DoneEvent):
                found[int(event.request)] = event.result.tokens
                progress(stage, len(found), len(requests))
        return found

    def note(self, number: int, asked: Asked, prompt: Prompt, tokens: Sequence[int]) -> None:
        """The examples of one question."""
        from ragdecode.decoding.watching import watch_forced

        before = len(self.found.used)
        places = golden_places(self._model.tokenizer.decode, tokens, asked.golden)
        if not places:
            return
        tables, logits = watch_forced(self._backend, prompt.ids, tokens[: places[-1] + 1], self._heads)
        for place in places:
            self._token(number, asked, prompt, tokens[place], tables[place], logits[place, : self._model.vocab_size])
        self.found.kept += len(self.found.used) > before

    def _token(
        self, number: int, asked: Asked, prompt: Prompt, token: int, attention: torch.Tensor, logits: torch.Tensor
    ) -> None:
        """One token of the golden answer, and tokens beside it that were not used."""
        from ragdecode.decoding.attention_shares import Shares

        shares = Shares(prompt.ids, [range(one.start, one.stop) for one in prompt.evidence])
        ids = shares.tokens.tolist()
        if token not in ids:
            return
        best = set(logits.topk(min(_RANK, len(logits))).indices.tolist())
        encode = self._model.tokenizer.encode
        apart = {*encode(asked.question, special=False), token}
        for golden in asked.golden:
            apart |= {*encode(golden, special=False), *encode(f" {golden}", special=False)}
        names = {
            encode(f" {name.group()}", special=False)[0]
            for item in asked.passages
            for name in _NAME.finditer(item.text)
        }
        entities = [one for one in ids if one in names and one not in apart]
        others = [one for one in ids if one not in names and one not in apart and one not in best]
        taken = [token]
        for kind in (entities, others):
            taken += self._rng.sample(kind, min(_UNUSED, len(kind)))
        table = shares.of(attention)  # [K, U]
        for one in taken:
            self.found.features.append(table[:, ids.index(one)].tolist())
            self.found.used.append(one == token)
            self.found.groups.append(number)


def golden_places(decode: Callable[[Sequence[int]], str], tokens: Sequence[int], golden: Sequence[str]) -> list[int]:
    """Which tokens of an answer write the longest golden answer that stands in it.

    Args:
        decode: Token ids to text.
        tokens: The answer.
        golden: What is right.
    """
    ends = [len(decode(tokens[: place + 1])) for place in range(len(tokens))]
    text = decode(tokens)
    for one in sorted(golden, key=len, reverse=True):
        found = re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text, re.IGNORECASE) if one.strip() else None
        if found:
            starts = [0, *ends[:-1]]
            return [
                place
                for place, (first, last) in enumerate(zip(starts, ends, strict=True))
                if first < found.end() and last > found.start() and text[max(first, found.start()) : last].strip()
            ]
    return []
