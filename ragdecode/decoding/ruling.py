"""The rules of one request at work: what they read in its prompts, what they remember, which view they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ragdecode.decoding.intervention import EarlyExit
from ragdecode.decoding.memory import Memory
from ragdecode.decoding.request import TARGET, Request, View
from ragdecode.decoding.rule import Rule

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.row import Row


class Ruling:
    """The rule chain of a request, and its state.

    Attributes:
        parts: The chain in force, as it would begin another request.
        rules: The chain at work.
        views: The request's views as they are now: a monitor may have retrieved again.
        exits: Verified views that leave the target early, and after which block.
        layers: Blocks of the target whose states the rules or the early exits read.
        taps: Vectors of the last block that the rules read.
        attends: Heads of the target whose attention the rules read.
        memories: Per rule, what it remembered at the node that predicted each accepted token.
        lead: The view that predicts the next token: the target, unless a rule switches.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.parts: list[Rule] = list(request.rules)
        self.views: Mapping[str, View] = request.views
        self.exits: dict[str, int] = {}
        self.lead = TARGET
        self._start()
        # without a monitor nothing is ever rewound
        self.memories = [Memory(None if request.monitors else rule.recalls) for rule in self.rules]
        if any(rule.switches for rule in self.rules):
            self._switch()

    def _start(self) -> None:
        """Begin all rules with the prompts in force."""
        request = replace(self._request, views=self.views)
        self.rules: list[Rule] = [rule.start(request) for rule in self.parts]
        self._reads = [(rule, self._places(rule.reads(request))) for rule in self.rules]
        read = [name for rule in self.rules for name in rule.views]
        read += [name for monitor in request.monitors for name in monitor.views]
        for name in read:
            view = self.views.get(name)
            if view is not None and isinstance(view.intervention, EarlyExit):
                self.exits[name] = view.intervention.layer
        self.layers = tuple(sorted({*self.exits.values(), *(layer for rule in self.rules for layer in rule.layers)}))
        self.taps = tuple(dict.fromkeys(name for rule in self.rules for name in rule.taps))
        self.attends = tuple(dict.fromkeys(head for rule in self.rules for head in rule.attends))

    def _places(self, reads: Mapping[str, Sequence[range]]) -> dict[str, list[range]]:
        """What a rule reads as ranges in order that do not overlap, the last token's place left out."""
        return {
            view: merged(spans, len(self.views[view].prompt) - 1) for view, spans in reads.items() if view in self.views
        }

    @property
    def reads_hidden(self) -> bool:
        """Whether a rule wants hidden states of the prompt."""
        return any(rule.reads_hidden for rule, reads in self._reads if reads)

    def wanted(self, view: str) -> list[range]:
        """Places of a view's prompt whose predictions the rules want."""
        return [span for _, reads in self._reads for span in reads.get(view, ())]

    def read(
        self,
        view: str,
        place: int,
        log_probs: torch.Tensor,
        hidden: torch.Tensor | None,
        taps: Mapping[str, torch.Tensor],
    ) -> None:
        """Give the rules what they want of consecutive places from ``place`` on; ``log_probs [n, V]``."""
        for rule, reads in self._reads:
            for span in reads.get(view, ()):
                first, stop = max(span.start, place), min(span.stop, place + len(log_probs))
                if first < stop:
                    own = slice(first - place, stop - place)
                    if rule.taps:
                        rule.read_taps(view, first, {name: taps[name][own] for name in rule.taps})
                    rule.read(view, first, log_probs[own], None if hidden is None else hidden[own])

    def fork(self, request: Request) -> Ruling:
        """The same rules for an answer that goes on from here under another name; what was remembered is copied."""
        twin = copy(self)
        twin._request = request
        twin.memories = [memory.fork() for memory in self.memories]
        return twin

    def begin_rows(self, rows: Mapping[str, Row]) -> None:
        """Tell the rows what has to be read in them, and which of them runs; what was not read yet is read again."""
        for name, row in rows.items():
            row.reading = self.wanted(name)
            if row.reading:
                row.cached = min([row.cached, *(span.start for span in row.reading)])
        self._run(rows)

    def change(self, parts: Sequence[Rule], rows: Mapping[str, Row]) -> None:
        """Other rules of the same kinds take over: a monitor changed their settings."""
        if list(parts) == self.parts:
            return
        for index, part in enumerate(parts):
            if part is not self.parts[index]:
                part.meet(self._models(rows))
        self.parts = list(parts)
        self._start()
        self.begin_rows(rows)

    def look_again(self, views: Mapping[str, View]) -> None:
        """The views have other prompts now; `begin_rows` follows once the rows know."""
        self.views = {**self.views, **views}
        self._start()

    def accept(self, remembered: Mapping[int, torch.Tensor], path: Sequence[int], rows: Mapping[str, Row]) -> None:
        """Keep what was remembered at the nodes that predicted accepted tokens: tables ``[N, X]`` by rule."""
        for index, table in remembered.items():
            self.memories[index].add(table[list(path)])
        self._run(rows)

    def rewind(self, to: int, rows: Mapping[str, Row]) -> None:
        """Forget what came after the first ``to`` tokens."""
        for memory in self.memories:
            memory.rewind(to)
        self._run(rows)

    def past(self, index: int) -> torch.Tensor:
        """What a rule that switches remembered of the accepted tokens, as far as it recalls ``[t, X]``."""
        return self.memories[index].last(self.rules[index].recalls)

    def _switch(self) -> None:
        for index, rule in enumerate(self.rules):
            if rule.switches:
                self.lead = rule.running(self.past(index))

    def _run(self, rows: Mapping[str, Row]) -> None:
        """Rows of the views that a rule switches between run one at a time; the others catch up when they do."""
        switching = [rule for rule in self.rules if rule.switches]
        if not switching:
            return
        self._switch()
        looked = {name for part in self._request.drafters for name in part.views}
        for rule in switching:
            for name in (TARGET, *rule.views):
                rows[name].verified = name == self.lead
                rows[name].idle = name != self.lead and name not in looked

    def _models(self, rows: Mapping[str, Row]) -> dict[str, Backend]:
        models = {name: row.backend for name, row in rows.items()}
        return {**models, **dict.fromkeys(self.exits, rows[TARGET].backend)}


def merged(spans: Sequence[range], stop: int) -> list[range]:
    """The places of ranges before ``stop``, in order, each in one range only."""
    found: list[range] = []
    for span in sorted(spans, key=lambda span: span.start):
        start, end = max(span.start, 0), min(span.stop, stop)
        if found and start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(end, found[-1].stop))
        elif start < end:
            found.append(range(start, end))
    return found
