"""``configs/decoding/*.yaml`` and ``decode:``: what acts while each token is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ragdecode.spec.heads import HeadListSpec, check_top
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.part import Constraints, Drafters, Monitors, Rules, Search
from ragdecode.spec.prompt import PromptSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.settings import Settings


class SamplingSpec(Settings):
    """Transforms of the composed distribution, applied once, in this order."""

    repetition_penalty: float = Field(default=1.0, ge=1.0, le=10.0)
    """Multiplies the composed log-probability of tokens that the answer already holds; 1 is off."""
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    """0 takes the most probable token; above 0 samples."""
    top_k: int = Field(default=0, ge=0)
    """Keep the k most probable tokens; 0 keeps all."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Keep the smallest set of tokens that holds this mass; 1 keeps all."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Keep tokens with at least this share of the most probable token's probability; 0 keeps all."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the position-keyed noise."""


class ViewPassages(Settings):
    """Which of the retrieved passages a view sees."""

    top_k: int = Field(default=4, ge=0)
    """The best k; 0 shows none."""
    by: Literal["place", "relevance"] = "place"
    """What the best are. ``place``: the first as the target shows them. ``relevance``: those with the best scores of
    the retriever, or, where passages came with the request and have none, those that share most words with the
    question (BM25); they are shown in the order in which the target shows them."""
    tokens: int | None = Field(default=None, ge=8)
    """Split passages that are longer first, so that a part of a long document can be shown; ``top_k`` then counts
    parts. They have no scores: where any was split, the words of the question decide which are relevant."""
    only: int | None = Field(default=None, ge=1)
    """The passage of this rank alone, counted from 1 as the target shows them; a request with fewer lacks the view."""

    @model_validator(mode="after")
    def _one_choice(self) -> ViewPassages:
        others = self.model_fields_set - {"only"}
        if self.only is not None and others:
            raise ValueError(f"'only' shows one passage whole, so it does not go with {', '.join(sorted(others))}")
        return self


class HeadsSpec(Settings):
    """Query heads that are switched off."""

    list: Annotated[HeadListSpec, Reference("heads")]
    """Heads in order of their score, as `ragdecode heads` writes them."""
    top: int = Field(default=10, ge=1)
    """How many of them, from the best."""
    how: Literal["zero", "uniform"] = "zero"
    """``zero``: a head adds nothing. ``uniform``: it attends to all that it sees alike."""
    prompt: bool = False
    """Whether the prompt is read without them too; else it is shared with the target, but for its last token."""

    @model_validator(mode="after")
    def _has_them(self) -> HeadsSpec:
        if "top" in self.model_fields_set:
            check_top(self.top, self.list)
        return self


class InterventionSpec(Settings):
    """What a view changes inside the model: one of these."""

    exit: int | None = Field(default=None, ge=0)
    """Leave the model after this block, counted from 0. Such a view has no row of its own: it reads the target's."""
    heads: HeadsSpec | None = None
    """Switch these heads off."""

    @model_validator(mode="after")
    def _one(self) -> InterventionSpec:
        if (self.exit is None) == (self.heads is None):
            raise ValueError("name one: 'exit' or 'heads'")
        return self


class ViewSpec(Settings):
    """One more way of showing the model the same request."""

    model: Annotated[ModelSpec | None, Reference("models")] = None
    """Another model with the same vocabulary; the pipeline's own if left out."""
    prompt: Annotated[PromptSpec | None, Reference("prompts")] = None
    """Another prompt; the pipeline's own if left out."""
    passages: ViewPassages | None = None
    """Another choice of passages; the target's if left out."""
    role: Literal["rule", "draft", "both"] = "both"
    """Used by rules, by drafters, or by both; a draft-only view is not verified."""
    intervention: InterventionSpec | None = None
    """Something that it changes inside the model."""

    @model_validator(mode="after")
    def _exit_reads_the_target(self) -> ViewSpec:
        leaves = self.intervention is not None and self.intervention.exit is not None
        if leaves and (self.model or self.prompt or self.passages):
            raise ValueError("an early exit reads the target's row: it has no model, prompt or passages of its own")
        return self


class DecodeSpec(Settings):
    """The decoding stage. All left out: plain rule, no draft, no monitor, no constraint, temperature 0."""

    description: str = ""
    """One line about the recipe."""
    rule: Rules = ()
    """Chain of rules that compose the views; none takes the target view as it is."""
    draft: Drafters = ()
    """Drafters, fused into one tree; they change speed only."""
    constraint: Constraints = ()
    """Forbidden tokens."""
    monitor: Monitors = ()
    """Watch accepted tokens, and may act."""
    search: Search | None = None
    """Decodes more than one continuation and chooses by what a monitor scores; one answer if left out."""
    views: dict[str, ViewSpec] = Field(default_factory=dict)
    """More views, by name, for rules and drafters that ask for them."""
    sampling: SamplingSpec = SamplingSpec()
    """How the next token is picked from the composed distribution."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end the answer; not part of it."""
    max_new_tokens: int = Field(default=96, ge=1, le=1_000_000)
    """Longest answer, in tokens."""
    max_draft_nodes: int = Field(default=16, ge=1, le=512)
    """Largest draft tree a step verifies, its root included; 1 is no drafting."""
    governor: Literal["throughput", "ucb", "off"] = "throughput"
    """How much is drafted: ``throughput`` asks the drafters and feeds the nodes that pay by step costs measured once
    on this machine, down to none; ``ucb`` learns it by trial; ``off`` always feeds the largest tree."""
    verification: Literal["noise", "rejection"] = "noise"
    """How drafts are verified when sampling: ``noise`` gives the same tokens as no draft, with any drafters;
    ``rejection`` gives the same distribution, with one drafter that draws."""
    max_rewinds: int = Field(default=3, ge=0)
    """How often monitors may rewind one answer."""
