"""The pipeline's own language model as a writer of short texts, for stages that rework a question."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING

from ragdecode.errors import InputError
from ragdecode.pipeline.memory import memory_errors
from ragdecode.pipeline.prompts import PromptRenderer
from ragdecode.pipeline.views import MAIN
from ragdecode.retrieval.generation import Generation

if TYPE_CHECKING:
    from ragdecode.decoding.engine import Engine
    from ragdecode.decoding.request import Request
    from ragdecode.pipeline.models import PipelineModels
    from ragdecode.spec.pipeline import EngineSpec

_log = logging.getLogger(__name__)


class Writer:
    """Decodes short texts under the plain rule, all of a call together; loads the model when first called.

    It steps an engine of its own over the backends that the pipeline's engine uses, for a monitor may ask for
    passages from within a step of that one. The two get along: rows belong to whoever opened them, a pass writes
    into the rows that it names and no others, and monitors act when the pass of their step is over. The lock keeps
    other threads' steps out.

    Args:
        models: The pipeline's models.
        spec: How they run; ``max_batch`` and ``prefill_tokens`` hold here too.
    """

    def __init__(self, models: PipelineModels, spec: EngineSpec) -> None:
        self._models = models
        self._spec = spec

    def __call__(self, asked: Sequence[Generation]) -> list[str]:
        """The text of each request, in order; equal requests are decoded once.

        A chat that is too long loses the beginning of its last message.

        Raises:
            InputError: A chat does not fit even without its last message, or the model's template refuses it.
            RunError: Memory ran out.
        """
        from ragdecode.decoding.events import DoneEvent

        if not asked:
            return []
        requests = {one: self.request(one) for one in dict.fromkeys(asked)}
        with self._models.engine.lock, memory_errors("writing for retrieval"):
            events = list(self._engine().run(requests.values()))  # however it ends, it closes its rows
        texts = {event.request: event.result.text for event in events if isinstance(event, DoneEvent)}
        return [texts[requests[one].id] for one in asked]

    def request(self, asked: Generation) -> Request:
        """What the engine is asked; its id, which keys the noise, is a hash of the chat.

        Raises:
            InputError: The chat does not fit, or the model's template refuses it.
        """
        from ragdecode.decoding.request import TARGET, Request, Sampling, View

        target = self._models.main
        return Request(
            id=_key(asked),
            views={TARGET: View(self._prompt(asked), MAIN)},
            sampling=Sampling(temperature=asked.temperature, seed=asked.seed),
            end_tokens=frozenset(target.end_tokens),
            stop_strings=asked.stop,
            max_new_tokens=asked.max_new_tokens,
            max_draft_nodes=1,
            detokenize=target.tokenizer.decode,
        )

    def _engine(self) -> Engine:
        from ragdecode.decoding.engine import Engine

        models, spec = self._models, self._spec
        return Engine(
            {MAIN: models.backends[MAIN]},
            max_batch=spec.max_batch,
            prefill_tokens=spec.prefill_tokens,
            vocab_size=models.vocab_size,
        )

    def _prompt(self, asked: Generation) -> Sequence[int]:
        """The chat's tokens; where they leave no room for the answer, the last message loses its beginning."""
        window = self._models.windows[MAIN]
        room = window - asked.max_new_tokens
        renderer = PromptRenderer((), self._models.tokenizer)
        *earlier, (role, text) = [(role, self._models.tokenizer.neutralise(text)) for role, text in asked.messages]

        def ids(start: int) -> Sequence[int]:
            chat = [{"role": who, "content": said} for who, said in (*earlier, (role, text[start:]))]
            return renderer.chat(chat, asked.answer_prefix).ids

        whole = ids(0)
        if len(whole) <= room:
            return whole
        good, bad = len(text), 0  # from `good` on it fits, from `bad` on it does not
        if len(bare := ids(good)) > room:
            raise InputError(
                f"a prompt of the retrieval chain is too long: {len(bare)} tokens without its last message; the "
                f"model's window of {window} less {asked.max_new_tokens} for the answer leaves {max(0, room)}",
                hint="shorten the stage's template, or lower its max_new_tokens",
            )
        while good - bad > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if len(ids(middle)) <= room else (good, middle)
        at_word = next((at + 1 for at in range(good, len(text)) if text[at].isspace()), good)
        start = at_word if len(ids(at_word)) <= room else good
        _log.warning("the prompt of a retrieval stage was too long: its first %d characters were cut", start)
        return ids(start)


def _key(asked: Generation) -> str:
    """Identity of a request: equal ones get the same noise, whatever they are decoded beside."""
    return hashlib.sha256(json.dumps(astuple(asked)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
