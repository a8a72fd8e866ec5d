"""Continuations of held-out prompts, by the model alone and with the memory's votes; kept on disk as they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.rule import Rule
    from ragdecode.spec.diagnosis import GenerateSpec

#: texts that are written side by side
_BATCH = 8


@dataclass(frozen=True)
class Prompt:
    """The beginning of a stretch of held-out text.

    Attributes:
        ids: Its tokens.
        gold: Those that follow in the text.
    """

    ids: tuple[int, ...]
    gold: tuple[int, ...]


def prompts(texts: Sequence[Sequence[int]], spec: GenerateSpec) -> list[Prompt]:
    """Stretches of one length, without overlap, spread evenly over the texts; fewer than asked for if there are none.

    Args:
        texts: Tokens of each text.
        spec: Lengths, and how many.
    """
    length = spec.prompt + spec.tokens
    places = [(text, start) for text, ids in enumerate(texts) for start in range(0, len(ids) - length + 1, length)]
    count = min(spec.texts, len(places))
    chosen = [places[at * len(places) // count] for at in range(count)]
    return [
        Prompt(
            tuple(texts[text][start : start + spec.prompt]), tuple(texts[text][start + spec.prompt : start + length])
        )
        for text, start in chosen
    ]


class Writer:
    """Continues prompts; what is in its file is not written again.

    Args:
        backend: The model.
        vocab_size: Tokens of the tokenizer.
        spec: How text is drawn.
        identity: All that texts depend on besides prompt and settings of ``spec``.
        file: Where texts are kept; nowhere if left out.
        resources: What rules read besides the request.
    """

    def __init__(
        self, backend: Backend, vocab_size: int, spec: GenerateSpec, identity: str, file: Path | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._backend = backend
        self._vocab_size = vocab_size
        self._spec = spec
        self._identity = identity
        self._file = file
        self._resources = dict(resources or {})
        self._known: dict[str, list[int]] = {}
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._known = _lines(file)

    def write(
        self, name: str, wanted: Sequence[Prompt], rules: Sequence[Rule] = (), progress: Progress = silent
    ) -> list[list[int]]:
        """Continuations of all prompts, each of ``spec.tokens`` tokens, whatever comes.

        The n-th text has the same noise under every name, so that what differs is the distribution alone.

        Args:
            name: Of the system, and of the stage in messages.
            wanted: The prompts.
            rules: What it decodes with.
            progress: Told after each text.
        """
        from ragdecode.decoding.engine import Engine
        from ragdecode.decoding.events import DoneEvent
        from ragdecode.decoding.request import TARGET, Request, Sampling, View

        spec = self._spec
        keys = [self._key(name, at, one) for at, one in enumerate(wanted)]
        sampling = Sampling(temperature=spec.temperature, top_p=spec.top_p, seed=spec.seed)
        todo = {
            key: Request(
                key, {TARGET: View(one.ids)}, rules=tuple(rules), sampling=sampling, max_new_tokens=spec.tokens,
                resources=self._resources, key=f"text {at}",
            )
            for at, (key, one) in enumerate(zip(keys, wanted, strict=True)) if key not in self._known
        }  # fmt: skip
        stage = f"writing, {name}"
        progress(stage, len(wanted) - len(todo), len(wanted))
        if todo:
            engine = Engine({"main": self._backend}, max_batch=_BATCH, vocab_size=self._vocab_size)
            for event in engine.run(todo.values()):
                if isinstance(event, DoneEvent):
                    self._add(event.result.id, list(event.result.tokens))
                    progress(stage, sum(key in self._known for key in keys), len(wanted))
        return [self._known[key] for key in keys]

    def _key(self, name: str, at: int, prompt: Prompt) -> str:
        spec = self._spec
        how = (name, at, spec.temperature, spec.top_p, spec.seed, spec.tokens)
        return hashlib.sha256(f"{self._identity} {how} {prompt.ids}".encode()).hexdigest()[:32]

    def _add(self, key: str, tokens: list[int]) -> None:
        self._known[key] = tokens
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"key": key, "tokens": tokens}) + "\n")


def _lines(file: Path) -> dict[str, list[int]]:
    """What a file holds; a line that was not written whole is cut off."""
    known: dict[str, list[int]] = {}
    if not file.is_file():
        return known
    whole = 0
    with file.open("r+b") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            with suppress(ValueError, KeyError, TypeError):
                one = json.loads(line)
                known[str(one["key"])] = [int(token) for token in one["tokens"]]
        stream.truncate(whole)
    return known
