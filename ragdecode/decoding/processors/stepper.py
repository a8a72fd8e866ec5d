"""The engine's own predictions one token at a time, where somebody else picks the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ragdecode.decoding.active import Active
from ragdecode.decoding.compose import Composed, compose
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.expand import expand
from ragdecode.decoding.guard import guard
from ragdecode.decoding.passes import run
from ragdecode.decoding.request import TARGET, Request
from ragdecode.decoding.schedule import Work
from ragdecode.decoding.tree import Tree


class Stepper(Engine):
    """An engine that composes and does not pick."""

    def begin(self, request: Request) -> Active:
        """Open the rows of a request.

        Raises:
            InputError: It cannot be run.
            RunError: There is no memory for it.
        """
        self._validate(request)
        active = Active(request, self.vocab_size)
        self._open_rows(active)
        ruling = active.ruling
        reads = active.wants_hidden or ruling.layers or ruling.taps or ruling.attends or ruling.wanted(TARGET)
        if not reads and not any(rule.expand for rule in active.rules):
            active.rows[TARGET].verified = False  # what it predicts is given
        return active

    def predict(self, batch: Sequence[Active], given: Sequence[torch.Tensor]) -> list[Composed]:
        """What the rules make of the next token, in one pass; ``given`` are the target's logits ``[V]`` of each."""
        trees = {item.request.id: guard(item, Tree.root(_last(item)), self.vocab_size) for item in batch}
        predicted = run([Work(item, ready=True) for item in batch], trees, self._backends, self.vocab_size)
        for active in batch:
            if active.failure is not None:
                raise active.failure
        whole = []
        for item, logits in zip(predicted, given, strict=True):
            if TARGET not in item.logits:
                double = item.active.rows[TARGET].backend.dtype is torch.float64
                own = logits[None, : self.vocab_size].to(torch.float64 if double else logits.dtype)
                item = replace(item, logits={TARGET: own, **item.logits})  # noqa: PLW2901
            whole.append(item)
        return compose(whole, expand)

    def accept(self, item: Composed, token: int) -> None:
        """Go on with a token."""
        active = item.predicted.active
        for row in active.verified:
            row.cached = row.length(active.tokens)
        active.tokens.append(token)
        active.ruling.accept(item.remembered, [0], active.rows)


def _last(active: Active) -> int:
    return active.tokens[-1] if active.tokens else active.rows[TARGET].prompt[-1]
