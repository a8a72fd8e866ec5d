"""What the engine is asked to do, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ragdecode.decoding.constraint import Constraint
from ragdecode.decoding.drafter import Drafter
from ragdecode.decoding.intervention import Evidence, Intervention
from ragdecode.decoding.monitor import Monitor
from ragdecode.decoding.rule import Rule
from ragdecode.decoding.searcher import Search
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
from ragdecode.errors import InputError

#: Name of the view that every request has: the prompt with the evidence.
TARGET = "with_context"

FinishReason = Literal["stop", "length", "monitor", "constraint", "cancelled"]


@dataclass(frozen=True)
class View:
    """One way of showing a model the same request.

    Attributes:
        prompt: Token ids of the prompt, at least one.
        model: Key of the backend that runs it.
        role: Whether rules, drafters or both use it; a draft-only view is not verified.
        intervention: What it changes inside the model. An early exit has no row of its own: it reads the target's, and
            its prompt and model are the target's.
        evidence: Where its prompt shows the passages, in order of place; empty where that is not known.
        passages: Of the target as `Request.retrieve` makes it: the evidence from there on, as `Request.passages`.
    """

    prompt: Sequence[int]
    model: str = "main"
    role: Literal["rule", "draft", "both"] = "both"
    intervention: Intervention | None = None
    evidence: Sequence[Evidence] = ()
    passages: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Sampling:
    """Transforms of the composed distribution, applied once, in this order; see the YAML's ``sampling``.

    ``repetition_penalty`` multiplies composed log-probabilities (they are never positive, so it always lowers).

    Raises:
        InputError: A value is out of its range.
    """

    repetition_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what would break a step for a whole batch."""
        _in_range("repetition_penalty", self.repetition_penalty, above=0.0)
        _in_range("temperature", self.temperature)
        _in_range("top_k", self.top_k)
        _in_range("top_p", self.top_p, above=0.0, most=1.0)
        _in_range("min_p", self.min_p, most=1.0)


def _in_range(name: str, value: float, *, above: float | None = None, most: float | None = None) -> None:
    """Check one of the sampling settings.

    Raises:
        InputError: It is no finite number of at least 0 (more than ``above``, at most ``most``).
    """
    fine = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    if fine and (above is None or value > above) and (most is None or value <= most):
        return
    raise InputError(f"sampling.{name} is {value!r}", hint="see the ranges of the YAML's `sampling`")


@dataclass(frozen=True)
class Request:
    """One answer to decode.

    Attributes:
        id: Unique among the requests in flight.
        views: The views by name; `TARGET` is among them.
        rules: Chain of rules; empty takes the target view as it is.
        drafters: Fused into one tree.
        constraints: Forbid tokens.
        monitors: Watch accepted tokens.
        sampling: How the next token is picked.
        end_tokens: Ids that end the answer; never part of it.
        stop_strings: Strings that end the answer; never part of its text.
        max_new_tokens: Longest answer.
        max_draft_nodes: Largest draft tree, root included.
        verification: How drafts are verified at temperatures above 0: ``noise`` picks by position-keyed noise, which
            gives the same tokens as no draft; ``rejection`` tests the draws of one drafter against the composed
            distribution, which gives the same distribution.
        max_rewinds: How often monitors may rewind.
        detokenize: Token ids to text; without it there is no text, and no stop strings.
        tokenize: Text to token ids, as it would continue an answer; for constraints and drafters that need it.
        alternatives: How many of the best tokens to report at each position (a trace wants some).
        explain: How many pieces of evidence rules are to tell for each token, at most; 0 asks for none.
        resources: What parts read besides the request, by name: see `Drafter.resources` and `Rule.resources`.
        vocabularies: Vocabularies by model, where a drafter's view has another one than the target; else empty.
        retrieve: Called by a monitor's ``retrieve`` action: query to the views with their new prompts.
        search: Decodes more than one continuation and chooses; without it there is one answer.
        question: What was asked, where that is known; for actions that look for more evidence.
        vocabulary: The target's tokens as bytes, where a constraint or the search wants them (`Constraint.spells`).
        passages: The evidence, as pairs of id and text, in the order in which it is numbered for the model.
        key: Keys the sampling noise; the id if empty.
    """

    id: str
    views: Mapping[str, View]
    rules: Sequence[Rule] = ()
    drafters: Sequence[Drafter] = ()
    constraints: Sequence[Constraint] = ()
    monitors: Sequence[Monitor] = ()
    sampling: Sampling = Sampling()
    end_tokens: frozenset[int] = frozenset()
    stop_strings: Sequence[str] = ()
    max_new_tokens: int = 96
    max_draft_nodes: int = 8
    verification: Literal["noise", "rejection"] = "noise"
    max_rewinds: int = 3
    detokenize: Callable[[Sequence[int]], str] | None = None
    tokenize: Callable[[str], list[int]] | None = None
    alternatives: int = 0
    explain: int = 0
    resources: Mapping[str, Any] = field(default_factory=dict)
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    retrieve: Callable[[str], Mapping[str, View]] | None = None
    vocabulary: Vocabulary | None = None
    search: Search | None = None
    question: str = ""
    passages: Sequence[tuple[str, str]] = ()
    key: str = ""

    @property
    def noise_key(self) -> str:
        """What keys the sampling noise: requests with the same key draw alike, whatever their ids."""
        return self.key or self.id


@dataclass(frozen=True)
class Alternative:
    """One of the best tokens at a position.

    Attributes:
        token: Its id.
        logprob: Its composed log-probability.
        views: Its raw log-probability in each view.
    """

    token: int
    logprob: float
    views: Mapping[str, float]


@dataclass(frozen=True)
class TokenRecord:
    """One accepted token with what was known when it was chosen.

    Attributes:
        position: 0-based place in the answer.
        token: Its id.
        logprob: Composed log-probability: after the rules, before constraints and sampling.
        views: Raw log-probability of the token in each view.
        source: The drafter that proposed it, or ``model``.
        choices: Most probable token of each view; filled when alternatives are asked for.
        alternatives: The best tokens by composed probability; empty unless asked for.
        explained: By rule, what it tells of the token; empty unless asked for.
    """

    position: int
    token: int
    logprob: float
    views: Mapping[str, float]
    source: str
    choices: Mapping[str, int] = field(default_factory=dict)
    alternatives: Sequence[Alternative] = ()
    explained: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass
class Stats:
    """What an answer cost.

    Attributes:
        prompt_tokens: Tokens of the target view's prompt.
        reused_tokens: Prompt tokens, over all views, that had been read for an earlier request or beside another one.
        new_tokens: Tokens of the answer.
        committed: Tokens that passes of the target committed: end tokens and rewound ones count too.
        steps: Passes of the target model that committed tokens.
        forward_passes: Passes of any model that this request took part in, prefill included.
        forward_rows: Rows (request x view) that those passes advanced.
        drafted: Draft tokens that were verified.
        accepted: Draft tokens that were accepted.
        prefill_seconds: Time until the first token was known, from the start of the request's first pass, and what its
            rules took to begin before it.
        decode_seconds: Time from the first token to the end.
        sources: Per drafter: tokens proposed and accepted.
        nodes: Nodes that the verified trees had, the roots included.
        asked: Per drafter: steps in which it was asked.
        draft_seconds: Time from the start of each step until its tree was chosen, the passes of drafters included;
            of a step that requests share, each of them has its part.
        rules: Per rule: what it counted at the nodes of all steps, those of refused drafts included.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    new_tokens: int = 0
    committed: int = 0
    steps: int = 0
    forward_passes: int = 0
    forward_rows: int = 0
    drafted: int = 0
    accepted: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    nodes: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    draft_seconds: float = 0.0
    rules: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def mean_accepted(self) -> float:
        """Tokens committed per target pass, bonus included."""
        return self.committed / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Result:
    """A finished answer.

    Attributes:
        id: The request's id.
        tokens: Ids of the answer, without end tokens; with a stop string, the fewest that cover the text.
        text: The answer, if the request could detokenise.
        finish_reason: Why it ended.
        records: One record a token.
        stats: What it cost.
        monitors: What each monitor recorded, by its name.
        notes: Things a user should know, such as a rewind.
        constraints: What each constraint recorded, by its name; those that recorded nothing are left out.
        search: What the search recorded; None without one.
    """

    id: str
    tokens: list[int]
    text: str
    finish_reason: FinishReason
    records: list[TokenRecord]
    stats: Stats
    monitors: Mapping[str, Any]
    notes: Sequence[str] = ()
    constraints: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] | None = None
