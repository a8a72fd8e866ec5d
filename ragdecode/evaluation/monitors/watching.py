"""Has a model read labelled answers, source by source, and keeps what it thinks of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ragdecode.decoding.textstream import TextStream
from ragdecode.errors import InputError
from ragdecode.evaluation.monitors.journal import Journal, Watched, key_of
from ragdecode.evaluation.monitors.signals import AnswerSignals, read_answers
from ragdecode.models.progress import Progress, silent
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.sentences import split_sentences
from ragdecode.spec.view_plan import CLOSED_BOOK

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.evaluation.monitors.labelled import Labelled, Tally
    from ragdecode.models.causal import CausalModel
    from ragdecode.pipeline.prompts import PromptRenderer
    from ragdecode.pipeline.views import ViewPlan
    from ragdecode.spec.prompt import PromptSpec

#: What is asked where the data has no question; a prompt must ask something.
NO_QUESTION = "What does the text say?"


class Watcher:
    """Reads answers under one model and prompt.

    Args:
        model: The model.
        backend: The same, ready to run.
        prompt: How questions are asked; without passages it makes the view without the evidence.
        journal: Where what was read is kept.
        progress: Told after every source.
    """

    def __init__(
        self,
        model: CausalModel,
        backend: Backend,
        prompt: PromptSpec,
        journal: Journal,
        progress: Progress = silent,
    ) -> None:
        self._model, self._backend, self._prompt = model, backend, prompt
        self._journal, self._progress = journal, progress
        self._window = min(model.max_positions, backend.max_positions)

    def watch(self, rows: Sequence[Labelled], tally: Tally) -> list[Watched | None]:
        """What the model thinks of each answer; None for those that cannot be read, which are counted."""
        keys = [self._key(row) for row in rows]
        open_: dict[tuple[str, tuple[str, ...]], dict[str, Labelled]] = {}
        for row, key in zip(rows, keys, strict=True):
            if key not in self._journal:
                open_.setdefault((row.question, row.passages), {})[key] = row
        total, done = sum(map(len, open_.values())), 0
        for (question, passages), same in open_.items():
            self._progress("reading answers", done, total)
            for key, watched in self._source(question, passages, same):
                self._journal.add(key, watched)
            done += len(same)
        found: list[Watched | None] = []
        for row, key in zip(rows, keys, strict=True):
            found.append(self._journal.find(key))
            if found[-1] is None:
                tally.add("answers too long for the model's window, or changed by its tokenizer", row.place)
        return found

    def _key(self, row: Labelled) -> str:
        return key_of(
            model=self._model.fingerprint,
            dtype=str(self._backend.dtype),
            prompt=[[message.role, message.content] for message in self._prompt.messages],
            prefix=self._prompt.answer_prefix,
            question=row.question,
            passages=row.passages,
            response=row.response,
        )

    def _source(
        self, question: str, passages: Sequence[str], rows: dict[str, Labelled]
    ) -> Iterator[tuple[str, Watched]]:
        """Reads all answers to one question over the same passages."""
        tokenizer = self._model.tokenizer
        texts = {key: tokenizer.encode(row.response, special=False) for key, row in rows.items()}
        texts = {key: ids for key, ids in texts.items() if tokenizer.decode(ids) == rows[key].response}
        try:
            prompts, shown = self._prompts(question or NO_QUESTION, passages, max(map(len, texts.values()), default=0))
        except InputError:  # not even without passages
            return
        if not texts or not shown:
            return
        target, blind = prompts
        signals = read_answers(self._backend, target, blind, list(texts.values()), self._model.vocab_size)
        for (key, ids), item in zip(texts.items(), signals, strict=True):
            yield key, self._watched(rows[key].response, ids, item, shown)

    def _prompts(self, question: str, passages: Sequence[str], room: int) -> tuple[list[Sequence[int]], int]:
        """Prompts with and without the passages, and how many of these fit.

        Raises:
            InputError: Not even the question fits.
        """
        from ragdecode.pipeline.window import fit

        views, renderer = self._views
        shown = [Passage.of(text, rank) for rank, text in enumerate(passages, start=1)]
        limits = {view.name: self._window - room for view in views}
        fitted = fit(partial(renderer.render, views, question), shown, (), limits, room)
        return [fitted.prompts[view.name].ids for view in views], len(fitted.passages)

    @property
    def _views(self) -> tuple[list[ViewPlan], PromptRenderer]:
        from ragdecode.decoding.request import TARGET
        from ragdecode.pipeline.prompts import PromptRenderer
        from ragdecode.pipeline.views import ViewPlan

        target = ViewPlan(TARGET, self._prompt)
        views = [target, replace(target, name=CLOSED_BOOK, top_k=0)]
        return views, PromptRenderer(views, self._model.tokenizer)

    def _watched(self, response: str, ids: Sequence[int], signals: AnswerSignals, shown: int) -> Watched:
        stream = TextStream(self._model.tokenizer.decode)
        for token in ids:
            stream.push(token)
        stream.flush()
        ends = [stream.end_of(place + 1) for place in range(len(ids))]
        begins = begins_of(response, ends)
        sentences = [(one.start, one.end, *tokens_of(begins, one.start, one.end)) for one in split_sentences(response)]
        table = np.asarray(sentences, np.int64).reshape(-1, 4)
        states = None if signals.states is None else signals.states[table[:, 3] - 1]
        return Watched(np.asarray(ends), signals.probability, signals.entropy, signals.kl, table, states, shown)


def begins_of(text: str, ends: Sequence[int]) -> list[int]:
    """Where the first character of each token stands that is no blank; a token of blanks begins with the first.

    A token that ends inside of a character begins where the token does that ends it.
    """
    begins = []
    for start, stop in zip((0, *ends), ends, strict=False):
        piece = text[start:stop]
        begins.append(start + (len(piece) - len(piece.lstrip()) if piece.strip() else 0))
    for place in range(len(begins) - 2, -1, -1):
        if ends[place] == (ends[place - 1] if place else 0):
            begins[place] = begins[place + 1]
    return begins


def tokens_of(begins: Sequence[int], start: int, stop: int) -> tuple[int, int]:
    """The tokens that begin in ``text[start:stop]``: first, and one beyond the last; at least one, if there is any."""
    first, last = bisect_left(begins, start), bisect_left(begins, stop)
    return (first - 1, last) if first == last and last else (first, last)
