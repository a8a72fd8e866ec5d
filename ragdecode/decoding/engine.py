"""The loop: requests join, draft, run, compose, verify, commit, leave.

A step makes one pass a model over all active requests and all their views. One request is a batch of one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import torch

from ragdecode.decoding import signals
from ragdecode.decoding.active import Active
from ragdecode.decoding.backend import Backend
from ragdecode.decoding.branch import fill_rows
from ragdecode.decoding.commit import commit
from ragdecode.decoding.compose import compose
from ragdecode.decoding.events import DoneEvent, Event, FailedEvent
from ragdecode.decoding.expand import expand
from ragdecode.decoding.intervention import EarlyExit, HeadMask
from ragdecode.decoding.passes import run
from ragdecode.decoding.prefixes import Prefixes
from ragdecode.decoding.prompts import check_prompt
from ragdecode.decoding.request import TARGET, Request
from ragdecode.decoding.row import Row
from ragdecode.decoding.schedule import Work, plan
from ragdecode.decoding.searching import Searching, Sent
from ragdecode.decoding.speculation.governor import FixedTree, Governor
from ragdecode.decoding.speculation.preconditions import (
    check_constraints,
    check_interventions,
    check_rules,
    check_search,
    check_verification,
)
from ragdecode.decoding.speculation.trees import draft_trees, settle
from ragdecode.errors import InputError, RunError


class Engine:
    """Decodes many requests at once over one or more models.

    Not thread-safe, except for `cancel`; whoever shares an engine puts a lock around it.

    Args:
        backends: Models by key; `View.model` names one. Their vocabularies must be the same, but for the foreign ones.
        max_batch: Requests that are decoded together; more wait in line.
        prefill_tokens: Prompt tokens that one step may read, over all requests.
        vocab_size: Tokens of the tokenizer; logits of padded embedding rows beyond are ignored.
        foreign: Keys of models with another vocabulary; they can only draft, with a drafter that translates.
        prefix_bytes: Memory for prefixes that later requests may begin with; 0 neither keeps nor shares any.
        governor: Decides how much is drafted; if none, every step verifies the largest tree that there is.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        max_batch: int = 8,
        prefill_tokens: int = 512,
        vocab_size: int | None = None,
        foreign: Collection[str] = (),
        prefix_bytes: int = 0,
        governor: Governor | None = None,
    ) -> None:
        native = [backend for key, backend in backends.items() if key not in foreign]
        if max_batch < 1 or prefill_tokens < 1 or not native:
            raise InputError("an engine needs a model, and max_batch and prefill_tokens of at least 1")
        self._backends = dict(backends)
        self._foreign = frozenset(foreign)
        self._max_batch = max_batch
        self._prefill_tokens = prefill_tokens
        self._prefixes = Prefixes(prefix_bytes)
        self._governor = governor or FixedTree()
        smallest = min(backend.vocab_size for backend in native)
        self.vocab_size = min(vocab_size or smallest, smallest)
        self._waiting: deque[Active] = deque()
        self._active: list[Active] = []
        self._searches: dict[str, Searching] = {}
        self._told: list[Event] = []
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether any request waits or is in flight."""
        return bool(self._waiting or self._active)

    def submit(self, request: Request) -> None:
        """Put a request in line.

        Raises:
            InputError: The request cannot be run: a view that a part needs is missing, a model is unknown, the
                prompt is empty or does not fit, a constraint cannot be met, or the id is taken.
        """
        self._validate(request)
        if request.search is None:
            begun: Sequence[Active] = [Active(request, self.vocab_size)]
        else:
            search = Searching(request, self.vocab_size)
            begun = search.start().begun
            self._searches[request.id] = search
        with self._lock:
            self._cancelled.discard(request.id)  # that was meant for an earlier one of this name
        self._waiting += begun

    def cancel(self, request_id: str) -> None:
        """End a request before the next step; it finishes as ``cancelled``. Safe from any thread."""
        with self._lock:
            self._cancelled.add(request_id)

    def forget_prefixes(self) -> None:
        """Let go of what was kept of earlier prompts; a measurement wants to begin so."""
        self._prefixes.clear()

    def run(self, requests: Iterable[Request]) -> Iterator[Event]:
        """Submit all requests and yield events until they are done; leaving the iterator cancels the rest.

        Raises:
            InputError: One of them cannot be run.
            RunError: The run failed.
        """
        own = []
        try:
            for request in requests:
                self.submit(request)
                own.append(request.id)
            while self.busy:
                for event in self.step():
                    if isinstance(event, FailedEvent) and event.request in own:
                        raise event.error
                    yield event
        finally:
            self._drop(set(own))

    def step(self) -> list[Event]:
        """Advance every active request by one pass a model.

        What fails in a request's own parts ends that request alone, with a `FailedEvent`.

        Raises:
            RunError: The pass failed for all. Nothing was committed; the requests are still in flight.
        """
        self._told += self._take_cancelled()
        self._admit()
        self._reuse()
        try:
            self._advance(plan(self._active, self._prefill_tokens))
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise RunError(
                "out of memory while decoding", hint="lower engine.max_batch or engine.prefill_tokens"
            ) from error
        finally:
            for active in self._active:
                active.roll_back()
        events, self._told = self._told, []
        return events

    def _advance(self, work: Sequence[Work]) -> None:
        """Draft, run, compose, verify and commit."""
        ready = [item.active for item in work if item.ready]
        guarded, failed = draft_trees(ready, self._backends, self.vocab_size, self._governor)
        work = [item for item in work if item.active.request.id not in failed]
        started = time.perf_counter()
        apart = not any(
            row.cached < row.length(item.active.tokens) - 1 for item in work for row in item.active.verified
        )
        predicted = run(work, guarded, self._backends, self.vocab_size)
        failed |= {item.active.request.id: item.active.failure for item in work if item.active.failure is not None}
        predicted = [item for item in predicted if item.active.request.id not in failed]
        composed = compose(predicted, expand, failed)
        nodes = signals.read(composed) if composed else []
        seconds = time.perf_counter() - started if apart else None  # no prompt was read in this pass
        for item, own_nodes in zip(composed, nodes, strict=True):
            active = item.predicted.active
            try:
                self._told += commit(item, own_nodes)
                if active.finished and active.branch is None:
                    self._told.append(DoneEvent(active.request.id, active.result()))
            except Exception as error:
                failed[active.request.id] = error
        settle(ready, self._governor, seconds)
        owners = {active.request.id: active.owner for active in self._active}
        for active in [active for active in self._active if active.finished and active.branch is None]:
            self._active.remove(active)
            self._close(active)
        self._fail({owners[name]: error for name, error in failed.items()})
        self._search()

    def _fail(self, failed: Mapping[str, Exception]) -> None:
        """End requests whose own parts failed."""
        self._drop(set(failed))
        self._told += [FailedEvent(name, error) for name, error in failed.items()]

    def _search(self) -> None:
        """Move the searches on whose branches have all come to rest."""
        for name, search in list(self._searches.items()):
            search.count_passes()
            resting = [one for one in self._active if one.owner == name and search.at_rest(one)]
            self._active = [one for one in self._active if one not in resting]
            if not search.complete:
                continue
            told: list[Event] = []
            try:
                sent = search.advance(told)
            except Exception as error:
                self._fail({name: error})
                continue
            if not search.branches:
                del self._searches[name]
            self._told += told
            self._send(sent)

    def _send(self, sent: Sent) -> None:
        """Branches of a search go before whatever else waits: those that are at rest hold memory."""
        for active in sent.dropped:
            self._close(active)
        self._active += sent.resumed
        self._waiting.extendleft(reversed(sent.begun))

    def _admit(self) -> None:
        """Give rows to waiting requests while there is room; one for which there never is room fails."""
        while self._waiting and len(self._active) < self._max_batch:
            active = self._waiting[0]
            try:
                self._open_rows(active)
            except Exception as error:
                active.close()
                if self._active and isinstance(error, RunError):
                    return  # memory comes back when one of them ends
                self._waiting.popleft()
                self._fail({active.owner: error})
                continue
            except BaseException:
                active.close()
                raise
            self._active.append(self._waiting.popleft())

    def _reuse(self) -> None:
        """Rows that still read their prompts take over what is known of them."""
        rows = [(active, row) for active in self._active for row in active.rows.values()]
        for active, row in rows:
            if row.cached < len(row.prompt) - 1 and not row.idle:
                active.stats.reused_tokens += self._prefixes.fill(row, (other for _, other in rows))

    def _close(self, active: Active) -> None:
        """Free the rows of a request that has ended; what they have read may serve others."""
        for row in active.rows.values():
            self._prefixes.keep(row, active.tokens)
        active.close()

    def _open_rows(self, active: Active) -> None:
        request = active.request
        widest = 1 + max((rule.expand for rule in request.rules), default=0)
        exits = [name for name, view in request.views.items() if isinstance(view.intervention, EarlyExit)]
        for name, verified in _needed_views(request).items():
            view = request.views[name]
            if isinstance(view.intervention, EarlyExit):
                continue  # it reads the target's row
            backend = self._backends[view.model]
            looking = [name, *exits] if name == TARGET else [name]
            looked = max(
                (part.look_nodes for part in request.drafters if not set(part.looks_at(request)).isdisjoint(looking)),
                default=0,
            )
            tree = max(request.max_draft_nodes * widest, 1 + looked)
            foreign = view.model in self._foreign
            # an answer may take more tokens of another vocabulary; beyond twice as many, no drafts are asked for
            answer = request.max_new_tokens * (1 + foreign)
            capacity = len(view.prompt) + answer + tree
            try:
                handle = backend.open_row(capacity)
            except RunError:
                if not self._prefixes.used:
                    raise
                self._prefixes.clear()  # those in flight come first
                handle = backend.open_row(capacity)
            own: list[int] | None = [] if foreign else None
            mask = view.intervention if isinstance(view.intervention, HeadMask) else None
            active.rows[name] = Row(
                name, view.model, backend, handle, view.prompt, capacity, verified, own=own, mask=mask
            )
        active.ruling.begin_rows(active.rows)
        if active.branch is not None:
            fill_rows(active)

    def _take_cancelled(self) -> list[Event]:
        with self._lock:
            cancelled, self._cancelled = self._cancelled, set()
        if not cancelled:
            return []
        gone: dict[str, Active | Searching] = {item.owner: item for item in (*self._active, *self._waiting)}
        gone |= self._searches
        events: list[Event] = []
        for name in [name for name in gone if name in cancelled]:
            try:
                events.append(DoneEvent(name, gone[name].cancelled()))
            except Exception as error:
                events.append(FailedEvent(name, error))
        self._drop(cancelled)
        return events

    def _drop(self, ids: set[str]) -> None:
        """Forget requests without events; their slots are free at once."""
        for active in [item for item in (*self._active, *self._waiting) if item.owner in ids]:
            self._close(active)
        for name in ids & self._searches.keys():
            self._searches.pop(name).close()
        self._active = [item for item in self._active if item.owner not in ids]
        self._waiting = deque(item for item in self._waiting if item.owner not in ids)
        self._told = [event for event in self._told if event.request not in ids]

    def _validate(self, request: Request) -> None:
        taken = {item.owner for item in (*self._active, *self._waiting)} | self._searches.keys()
        if request.id in taken:
            raise InputError(f"request id {request.id!r} is in flight already", hint="give every request its own id")
        if request.max_new_tokens < 1 or request.max_draft_nodes < 1:
            raise InputError("max_new_tokens and max_draft_nodes must be at least 1")
        if request.stop_strings and request.detokenize is None:
            raise InputError("stop strings need a detokenizer", hint="give the request `detokenize`")
        if min(request.alternatives, request.max_rewinds, request.explain) < 0:
            raise InputError("alternatives, explain and max_rewinds must not be negative")
        check_rules(request)
        check_constraints(request)
        check_verification(request)
        check_search(request)
        for name, verified in _needed_views(request).items():
            view = request.views.get(name)
            if view is None:
                raise InputError(
                    f"request {request.id!r} lacks the view {name!r}; it has {', '.join(request.views)}",
                    hint="give it a prompt for that view, or use a rule that does not need it",
                )
            if verified and view.role == "draft":
                raise InputError(f"view {name!r} is for drafting, but a rule or a monitor reads it")
            if view.model not in self._backends:
                raise InputError(f"view {name!r} names the unknown model {view.model!r}")
            foreign = view.model in self._foreign
            if foreign and (verified or any(name in set(part.views) - {*part.translates} for part in request.drafters)):
                raise InputError(
                    f"the model {view.model!r} of view {name!r} has another vocabulary; not all that read it translate"
                )
            model = self._backends[view.model]
            known = model.vocab_size if foreign else self.vocab_size
            check_prompt(name, view.prompt, request.max_new_tokens, model.max_positions, known)
        models = {name: backend for name, view in request.views.items() if (backend := self._backends.get(view.model))}
        check_interventions(request, models)
        _meet(request, models)


def _meet(request: Request, models: Mapping[str, Backend]) -> None:
    """Show the parts of a request the models of its views.

    Raises:
        InputError: One of them cannot work with these.
    """
    for rule in request.rules:
        rule.meet(models)
    for drafter in request.drafters:
        drafter.meet(models)
    for monitor in request.monitors:
        monitor.meet(models)


def _needed_views(request: Request) -> dict[str, bool]:
    """The views that the request's parts use, the target first, and whether each is verified."""
    verified = [TARGET]
    for rule in request.rules:
        verified += [name for name in rule.views if name in request.views or name not in rule.optional]
    for monitor in request.monitors:
        verified += monitor.views
    needed = dict.fromkeys(verified, True)
    for drafter in request.drafters if request.max_draft_nodes > 1 else ():  # else they are never asked
        for name in drafter.views:
            needed.setdefault(name, False)
    return needed
