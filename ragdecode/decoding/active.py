"""A request in flight: its rows, its answer so far, and the state of its parts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ragdecode.decoding.constraint import ConstraintSession
from ragdecode.decoding.drafter import DraftSession
from ragdecode.decoding.monitor import MonitorSession
from ragdecode.decoding.overrides import apply_overrides
from ragdecode.decoding.prompts import check_prompt
from ragdecode.decoding.request import TARGET, FinishReason, Request, Result, Stats, TokenRecord, View
from ragdecode.decoding.row import Row
from ragdecode.decoding.rule import Rule
from ragdecode.decoding.ruling import Ruling
from ragdecode.decoding.speculation.catching_up import CatchingUp
from ragdecode.decoding.textstream import TextStream

if TYPE_CHECKING:
    from ragdecode.decoding.branch import Branch
    from ragdecode.decoding.speculation.governor import Slot


class Active:
    """The mutable state of one request between its first pass and its result.

    Attributes:
        request: What was asked.
        rows: Cache rows by view, the target first; none while the request waits.
        ruling: The rule chain in force, and its state; monitors may change its settings.
        sampling: The sampling in force.
        tokens: Accepted tokens.
        records: One record an accepted token.
        constraint_states: States of the constraints after 0, 1, ... accepted tokens.
        bans: Tokens that a rewind forbids, by position.
        epoch: Raised by every rewind, so that the same noise is not drawn twice.
        monitor_layers: Blocks of the target whose states monitors measure.
        shown: Characters that were announced.
        announced: Tokens that were announced.
        finished: Why the answer ended, once it did.
        failure: What one of its rules failed with while the prompt was read.
        slot: What the governor of drafts knows of it, from its first step on.
        branch: Its place in a search; None if it is the whole answer.
        closing: Text that is said after the answer's own.
    """

    def __init__(self, request: Request, vocab_size: int, trunk: Active | None = None) -> None:
        self.request = request
        self._vocab = vocab_size
        self.rows: dict[str, Row] = {}
        started = time.perf_counter()
        self.ruling: Ruling = Ruling(request) if trunk is None else trunk.ruling.fork(request)
        beginning = time.perf_counter() - started  # a rule may read passages then
        self.sampling = request.sampling
        self.tokens: list[int] = []
        self.records: list[TokenRecord] = []
        self.constraints: list[ConstraintSession] = (
            [part.start(request, vocab_size) for part in request.constraints] if trunk is None else trunk.constraints
        )
        self.constraint_states: list[list[Any]] = [[session.start() for session in self.constraints]]
        self.monitors: list[tuple[str, MonitorSession]] = (
            [(part.part_name, part.start(request)) for part in request.monitors] if trunk is None else []
        )
        begun = [(part.part_name, part.start(request)) for part in request.drafters]
        self.drafters: list[tuple[str, DraftSession]] = [
            (name, session if session.eager else CatchingUp(session)) for name, session in begun
        ]
        self.wants_entropy = any(part.entropy for part in request.monitors)
        self.wants_divergence = any(part.divergence for part in request.monitors)
        self.wants_rules = any(part.rules for part in request.monitors)
        self.wants_hidden = any(part.hidden for part in request.monitors) or any(part.hidden for part in request.rules)
        self.monitor_layers = sorted({layer for part in request.monitors for layer in part.layers})
        self.stream = TextStream(request.detokenize, request.stop_strings) if request.detokenize else None
        self.bans: dict[int, set[int]] = {}
        self.epoch = 0
        self.rewinds = 0
        self.shown = 0
        self.announced = 0
        self.finished: FinishReason | None = None
        self.failure: Exception | None = None
        self.notes: list[str] = [f"rule {rule.part_name}: {note}" for rule in self.ruling.rules for note in rule.notes]
        begun_with = zip(request.constraints, self.constraints, strict=True)
        self.notes += [f"constraint {part.part_name}: {note}" for part, session in begun_with for note in session.notes]
        self.slot: Slot | None = None
        self.branch: Branch | None = None
        self.closing = ""
        self.stats = Stats(prompt_tokens=len(request.views[TARGET].prompt))
        self._beginning = beginning
        self._seen: torch.Tensor | None = None
        self._started: float | None = None
        self._first: float | None = None

    @property
    def owner(self) -> str:
        """Id of the request whose answer it becomes, or may become."""
        return self.request.id if self.branch is None else self.branch.owner

    @property
    def rules(self) -> Sequence[Rule]:
        """The rule chain at work."""
        return self.ruling.rules

    def row_of(self, view: str) -> Row:
        """The row in which a view is read; that of an early exit is the target's."""
        return self.rows.get(view) or self.rows[TARGET]

    @property
    def verified(self) -> list[Row]:
        """The rows that every step advances."""
        return [row for row in self.rows.values() if row.verified]

    @property
    def tests_draws(self) -> bool:
        """Whether draws are verified by rejection; at temperature 0 nothing is drawn."""
        return self.request.verification == "rejection" and self.sampling.temperature > 0

    @property
    def text(self) -> str:
        """The answer so far."""
        return self.stream.text if self.stream else ""

    @property
    def remaining(self) -> int:
        """Tokens that may still be generated."""
        return self.request.max_new_tokens - len(self.tokens)

    @property
    def seconds(self) -> tuple[float, float]:
        """Time until the first token, and from then until now."""
        if self._started is None:
            return 0.0, 0.0
        end = time.perf_counter()
        return self._beginning + (self._first or end) - self._started, end - (self._first or end)

    def start_clock(self) -> None:
        """Called when the request first takes part in a pass."""
        if self._started is None:
            self._started = time.perf_counter()

    def append(self, record: TokenRecord) -> None:
        """Accept one token."""
        if self._first is None:
            self._first = time.perf_counter()
        self.tokens.append(record.token)
        self.records.append(record)
        states = self.constraint_states[-1]
        self.constraint_states.append(
            [session.advance(state, record.token) for session, state in zip(self.constraints, states, strict=True)]
        )
        if self._seen is not None:
            self._seen[record.token] = True
        if self.stream:
            self.stream.push(record.token)

    def seen(self, vocab_size: int, device: torch.device) -> torch.Tensor:
        """Which tokens the answer holds, bool ``[V]``; kept up to date from the first call on."""
        if self._seen is None:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            if self.tokens:
                self._seen[torch.tensor(self.tokens, device=device)] = True
        return self._seen

    def roll_back(self) -> None:
        """Forget what the last pass put into the caches without being committed."""
        for row in self.rows.values():
            row.clamp(self.tokens)

    def settle(self) -> None:
        """The answer is about to end: all its characters count, and tokens that a stop string cut off do not."""
        if self.stream is None:
            return
        self.stream.flush()
        keep = self.stream.tokens_covering_text()
        if keep < len(self.tokens):
            for _, monitor in self.monitors:
                monitor.rewind(keep)

    def rewind(self, to: int, overrides: Mapping[str, Any] | None = None, bans: Sequence[int] = ()) -> None:
        """Go back to the first ``to`` tokens; what was drawn after them is drawn afresh.

        Raises:
            InputError: The overrides are not possible; nothing has changed then.
        """
        self.adjust(overrides or {})
        del self.tokens[to:], self.records[to:], self.constraint_states[to + 1 :]
        self.ruling.rewind(to, self.rows)
        if self.stream:
            self.stream.rewind(to)
        self.roll_back()
        for _, drafter in self.drafters:
            drafter.rewind(to)
        for _, monitor in self.monitors:
            monitor.rewind(to)
        self.bans = {position: tokens for position, tokens in self.bans.items() if position <= to}
        if bans:
            self.bans.setdefault(to, set()).update(bans)
        self.epoch += 1
        self.rewinds += 1
        self._seen = None
        # what stays may leave no room, or hold a stop string
        self.finished = "length" if self.remaining <= 0 else None
        if self.stream and self.stream.stopped is not None:
            self.finished = "stop"

    def adjust(self, overrides: Mapping[str, Any]) -> None:
        """Change settings of rules and sampling from here on.

        Raises:
            InputError: The overrides are not possible; nothing has changed then.
        """
        parts, sampling = apply_overrides(self.ruling.parts, self.sampling, overrides)
        for part in parts if overrides else ():
            part.check(replace(self.request, rules=parts, sampling=sampling))
        self.sampling = sampling
        self.ruling.change(parts, self.rows)

    def replace_prompts(self, views: Mapping[str, View]) -> None:
        """Put other prompts before the answer, for the views that are in use.

        Raises:
            InputError: A prompt does not fit.
            RunError: There is no memory for a longer row.
        """
        mine = {name: view.prompt for name, view in views.items() if name in self.rows}
        for view, prompt in mine.items():
            row = self.rows[view]
            known = self._vocab if row.own is None else row.backend.vocab_size
            check_prompt(view, prompt, self.request.max_new_tokens, row.backend.max_positions, known)
        for view, prompt in mine.items():
            self.rows[view].replace_prompt(prompt, self.tokens)
        self.ruling.look_again(views)
        self.ruling.begin_rows(self.rows)
        for _, drafter in self.drafters:
            drafter.retrieved(mine)
        if passages := views[TARGET].passages if TARGET in views else ():
            for session in self.constraints:
                session.retrieved(passages)
        for _, monitor in self.monitors:
            monitor.retrieved(views)

    def result(self) -> Result:
        """The finished answer."""
        assert self.finished is not None
        keep = len(self.tokens)
        if self.stream:
            self.stream.flush()
            keep = self.stream.tokens_covering_text()
        stats = self.stats
        stats.new_tokens = keep
        stats.prefill_seconds, stats.decode_seconds = self.seconds
        return Result(
            id=self.request.id,
            tokens=self.tokens[:keep],
            text=self.text + self.closing,
            finish_reason=self.finished,
            records=self.records[:keep],
            stats=stats,
            monitors={name: session.record() for name, session in self.monitors},
            notes=tuple(self.notes),
            constraints={
                part.part_name: record
                for part, session in zip(self.request.constraints, self.constraints, strict=True)
                if (record := session.record(self.text)) is not None
            },
        )

    def cancelled(self) -> Result:
        """What there is of the answer."""
        self.finished = "cancelled"
        return self.result()

    def close(self) -> None:
        """Free the cache rows; once is enough."""
        while self.rows:
            _, row = self.rows.popitem()
            row.backend.close_row(row.handle)
