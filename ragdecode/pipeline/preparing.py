"""Makes engine requests out of questions, evidence and request lines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ragdecode.decoding.request import TARGET, Request, Sampling, View
from ragdecode.errors import InputError
from ragdecode.pipeline.parts import DecodeParts
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.prompts import Prompt, PromptRenderer
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.turn import Turn
from ragdecode.pipeline.views import ViewPlan, ViewPlans, select
from ragdecode.pipeline.window import Fitted, fit
from ragdecode.spec.decode import DecodeSpec

if TYPE_CHECKING:
    from ragdecode.pipeline.models import PipelineModels

#: Name under which rules ask for the passages of a request.
PASSAGES = "passages"
#: Query to passages, best first.
Retrieve = Callable[[str], Sequence[Passage]]


@dataclass
class Prepared:
    """A request that is ready for the engine.

    Attributes:
        request: What the engine is asked.
        prompts: The prompts by view.
        question: The question, or nothing where the prompt is given.
        passages: The evidence as the views show it; more is added when a monitor retrieves again.
        notes: What was cut or dropped.
    """

    request: Request
    prompts: Mapping[str, Prompt]
    question: str = ""
    passages: tuple[Passage, ...] = ()
    notes: tuple[str, ...] = ()


class Preparer:
    """Knows the pipeline's views, parts and models, and makes requests.

    Args:
        spec: The decoding stage.
        parts: Its parts, built.
        plans: Its views.
        models: The pipeline's models: tokenizers and end tokens.
        windows: Longest row of each backend key, in tokens.
        resources: What rules and drafters read besides the request, by name.
    """

    def __init__(
        self,
        spec: DecodeSpec,
        parts: DecodeParts,
        plans: ViewPlans,
        models: PipelineModels,
        windows: Mapping[str, int],
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        self._spec = spec
        self._resources = resources or {}
        self._parts = parts
        self._plans = plans
        self._tokenizer = models.tokenizer
        self._end_tokens = frozenset(models.main.end_tokens)
        foreign = {key: model.tokenizer for key, model in models.foreign.items()}
        self._renderer = PromptRenderer(plans.views, models.tokenizer, foreign)
        self._vocabularies = models.vocabularies
        self._vocabulary = models.vocabulary if parts.spells else None
        self._sampling = Sampling(**spec.sampling.model_dump())
        self._windows = {view.name: windows[view.model] for view in plans.views}

    def check(self, question: str) -> None:
        """Refuse a question that cannot be asked, before anything is searched for it.

        Raises:
            InputError: It is empty, or too long even without evidence.
        """
        self.question(question, ())

    def question(
        self,
        question: str,
        passages: Sequence[Passage],
        history: Sequence[Turn] = (),
        *,
        identity: str | None = None,
        alternatives: int = 0,
        explain: int = 0,
        retrieve: Retrieve | None = None,
        notes: Sequence[str] = (),
    ) -> Prepared:
        """A question under the pipeline's own prompt.

        Without an identity, the question itself keys the sampling noise. The notes come before those on what was cut.

        Raises:
            InputError: The question is empty or too long, or a template fails.
        """
        if not question.strip():
            raise InputError("the question is empty", hint="ask something")
        fitted = self._fit(question, passages, history)
        parts, told = self._parts, (*notes, *fitted.notes)
        if not fitted.passages:
            parts, dropped = parts.without_evidence(self._plans.mute)
            told = (*told, "no passages: the answer rests on the model alone", *dropped)
        parts, left_out = parts.with_views(fitted.prompts)
        told = (*told, *left_out)
        views = select(self._plans.views, parts.needs)
        prompts = {view.name: fitted.prompts[view.name] for view in views if view.name in fitted.prompts}
        if parts.reads_evidence:
            prompts = self._renderer.with_evidence(views, question, fitted.passages, fitted.history, prompts)
        request = replace(
            self._request(identity or uuid4().hex, parts, views, prompts, alternatives),
            key="" if identity else question_key(question),
            question=question,
            passages=[(passage.id, passage.text) for passage in fitted.passages],
            resources=self._with_passages(fitted.passages),
            explain=explain,
        )
        prepared = Prepared(request, prompts, question, fitted.passages, told)
        if retrieve is not None and parts.monitors:
            more = partial(self._retrieve_more, prepared, views, history, retrieve)
            prepared.request = replace(request, retrieve=more)
        return prepared

    def line(self, line: DecodeRequest, *, alternatives: int = 0) -> Prepared:
        """A request line.

        Raises:
            InputError: It does not fit, or lacks a view; the message names its line.
        """
        try:
            if line.question is not None:
                return self.question(line.question, line.passages, identity=line.id, alternatives=alternatives)
            if line.messages:
                prompts = {TARGET: self._renderer.turns(line.messages)}
            else:
                prompts = {name: self._renderer.exact(text) for name, text in line.prompts.items()}
            views = select(self._plans.views, self._parts.needs)
            following = [view for view in views if view.follows]
            if TARGET in prompts:  # what rules read must fit; a drafter may do without
                prompts |= {view.name: prompts[TARGET] for view in following if view.role != "draft"}
            free = {view.name for view in following if view.role == "draft"} | self._parts.optional - prompts.keys()
            self._check(prompts, [view for view in views if view.name not in free])
        except InputError as error:
            raise InputError(f"{line.place()}: {error.message}", hint=error.hint) from error
        for view in following:
            if view.role == "draft" and (own := self._followed(view, prompts[TARGET], line.messages)) is not None:
                prompts[view.name] = own
        parts, notes = self._parts.with_views(prompts)
        views = select(self._plans.views, parts.needs)
        request = self._request(line.id, parts, views, prompts, alternatives)
        return Prepared(request, prompts, notes=notes)

    def _fit(self, question: str, passages: Sequence[Passage], history: Sequence[Turn]) -> Fitted:
        """Prompts that fit. Views for drafts alone come second, for they must not change what the others show."""
        room = self._spec.max_new_tokens
        limits = {view.name: self._limit(view) for view in self._plans.views}
        render = partial(self._renderer.render, [view for view in self._plans.views if view.role != "draft"], question)
        fitted = fit(render, passages, history, limits, room)
        prompts, notes = dict(fitted.prompts), list(fitted.notes)
        for view in [view for view in self._plans.views if view.role == "draft"]:
            if view.follows and not self._renderer.is_foreign(view):
                if len(prompts[TARGET].ids) <= limits[view.name]:
                    prompts[view.name] = prompts[TARGET]
                continue
            try:
                own = fit(partial(self._renderer.render, [view], question), fitted.passages, history, limits, room)
            except InputError:
                continue
            prompts |= own.prompts
            notes += [f"view {view.name}, for drafts only: {note}" for note in own.notes]
        return replace(fitted, prompts=prompts, notes=tuple(notes))

    def _followed(self, view: ViewPlan, target: Prompt, turns: Sequence[Turn]) -> Prompt | None:
        """The prompt of a drafter's own view beside an exact one; None if there is none that fits."""
        try:
            prompt = self._renderer.follow(view, target, turns)
        except InputError:
            return None
        return prompt if 0 < len(prompt.ids) <= self._limit(view) else None

    def _limit(self, view: ViewPlan) -> int:
        """Longest prompt of a view, in tokens."""
        return self._windows[view.name] - self._spec.max_new_tokens

    def _check(self, prompts: Mapping[str, Prompt], views: Sequence[ViewPlan]) -> None:
        """Refuse exact prompts that lack a view, are empty, or leave no room for the answer."""
        room = self._spec.max_new_tokens
        for view in views:
            if view.name not in prompts:
                raise InputError(f"the prompt of the view {view.name} is missing, which the pipeline needs")
            tokens, window = len(prompts[view.name].ids), self._windows[view.name]
            if not tokens:
                raise InputError(f"the prompt of the view {view.name} has no tokens")
            if tokens + room > window:
                raise InputError(
                    f"the prompt of the view {view.name} is too long: it takes {tokens} tokens; the model's window "
                    f"of {window} less max_new_tokens {room} leaves {max(0, window - room)}",
                    hint="shorten the prompt or lower decode.max_new_tokens",
                )

    def _request(
        self,
        identity: str,
        parts: DecodeParts,
        views: Sequence[ViewPlan],
        prompts: Mapping[str, Prompt],
        alternatives: int,
    ) -> Request:
        spec, tokenizer = self._spec, self._tokenizer
        return Request(
            id=identity,
            views={view.name: _view(view, prompts[view.name]) for view in views if view.name in prompts},
            rules=parts.rules,
            drafters=parts.drafters,
            constraints=parts.constraints,
            monitors=parts.monitors,
            sampling=self._sampling,
            end_tokens=self._end_tokens,
            stop_strings=spec.stop,
            max_new_tokens=spec.max_new_tokens,
            max_draft_nodes=spec.max_draft_nodes,
            verification=spec.verification,
            max_rewinds=spec.max_rewinds,
            vocabularies=self._vocabularies,
            vocabulary=self._vocabulary,
            search=None if parts.extracts else parts.search,
            detokenize=tokenizer.decode,
            tokenize=partial(tokenizer.encode, special=False),
            alternatives=alternatives,
            resources=self._with_passages(()),
        )

    def _with_passages(self, passages: Sequence[Passage]) -> Mapping[str, Any]:
        """What parts read besides the request, its own passages included where a rule asks for them."""
        encoder = self._resources.get(PASSAGES)
        return self._resources if encoder is None else {**self._resources, PASSAGES: encoder.of(passages)}

    def _retrieve_more(
        self,
        prepared: Prepared,
        views: Sequence[ViewPlan],
        history: Sequence[Turn],
        retrieve: Retrieve,
        query: str,
    ) -> dict[str, View]:
        """New prompts with what another query finds, ahead of what is known; for a monitor's action."""
        known = {passage.id: passage for passage in (*retrieve(query), *prepared.passages)}
        passages = [replace(passage, rank=rank) for rank, passage in enumerate(known.values(), start=1)]
        fitted = self._fit(prepared.question, passages, history)
        prepared.passages = fitted.passages
        if (own := prepared.request.resources.get(PASSAGES)) is not None:
            own.passages = list(fitted.passages)
        # a view for drafts that does not fit any more goes on with what it has
        mine = [view for view in views if view.name in prepared.prompts]
        prompts = {view.name: fitted.prompts.get(view.name, prepared.prompts[view.name]) for view in mine}
        if self._parts.reads_evidence:
            prompts = self._renderer.with_evidence(mine, prepared.question, fitted.passages, fitted.history, prompts)
        prepared.prompts = prompts
        prepared.notes = (*prepared.notes, f"retrieved again for {query!r}", *fitted.notes)
        made = {view.name: _view(view, prompts[view.name]) for view in mine}
        evidence = [(passage.id, passage.text) for passage in fitted.passages]
        return made | {TARGET: replace(made[TARGET], passages=evidence)}


def _view(plan: ViewPlan, prompt: Prompt) -> View:
    return View(prompt.ids, plan.model, plan.role, plan.intervention, prompt.evidence)


def question_key(question: str) -> str:
    """Identity of a question: the same question under the same seed gets the same noise, alone or in a batch."""
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:16]
