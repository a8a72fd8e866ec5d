"""The contract of rules: fold what the views predict into ONE next-token distribution, node by node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.constraint import Constraint
    from ragdecode.decoding.drafter import Drafter
    from ragdecode.decoding.monitor import Monitor
    from ragdecode.decoding.request import Request, Sampling
    from ragdecode.spec.decode import ViewSpec


class Company(Protocol):
    """What acts beside a rule: a request, or the decoding stage of a document.

    Attributes:
        rules: The chain, the rule itself included.
        drafters: The drafters.
        constraints: The constraints.
        monitors: The monitors.
        sampling: How the next token is picked.
        max_draft_nodes: Largest draft tree, root included; 1 is no drafting.
    """

    @property
    def rules(self) -> Sequence[Rule]: ...  # noqa: D102
    @property
    def drafters(self) -> Sequence[Drafter]: ...  # noqa: D102
    @property
    def constraints(self) -> Sequence[Constraint]: ...  # noqa: D102
    @property
    def monitors(self) -> Sequence[Monitor]: ...  # noqa: D102
    @property
    def sampling(self) -> Sampling: ...  # noqa: D102
    @property
    def max_draft_nodes(self) -> int: ...  # noqa: D102


class Path(Protocol):
    """Tokens generated up to and including a node."""

    def __call__(self, node: int, last: int | None = None, /) -> list[int]:
        """All of them, or the last few."""


class Past(Protocol):
    """What was remembered on the way to a node."""

    def __call__(self, node: int, last: int | None = None, /) -> torch.Tensor:
        """Of all nodes that predicted generated tokens, and of the node itself ``[t + 1, X]``; or the last few."""


class EarlyLayer(Protocol):
    """The target, or another view, after one of its early blocks, at N nodes.

    Attributes:
        states: Residual stream ``[N, H]``, before the final norm.
    """

    states: torch.Tensor

    def log_probs(self, *, normed: bool = True) -> torch.Tensor:
        """What it would predict ``[N, V]``: final norm, unless not ``normed``, head, log-softmax. Computed once."""

    def logits(self, columns: torch.Tensor, *, normed: bool = True) -> torch.Tensor:
        """Logits ``[N, C]`` of the token ids ``columns [N, C]`` alone; without the final norm if not ``normed``."""


#: What a rule tells of a token that was picked after a node: plain data, for people.
Explain = Callable[[int, int], Mapping[str, Any]]


def _no_past(node: int, last: int | None = None, /) -> torch.Tensor:
    raise ValueError("this rule remembers nothing")


@dataclass(frozen=True)
class Nodes:
    """What a rule may look at: N nodes, of one request's tree or of many.

    Attributes:
        composed: Log-probabilities so far ``[N, V]``: the target view's, or what the rule before in the chain made.
        log_probs: Each view's log-probabilities ``[N, V]``, normalised, float32 or better.
        hidden: Each view's last hidden states ``[N, H]``, for rules that declare ``hidden``.
        path: ``path(n)`` is the list of tokens generated up to and including node n, ``path(n, 8)`` its last 8;
            computed when called, in time proportional to the list.
        lengths: How many tokens these are ``[N]``.
        tokens: The last token that was read at each node ``[N]``; the prompt's, where none was generated.
        parents: The node above each node, -1 for the first of a tree ``[N]``; parents come before children.
        early: The target after the blocks that rules named in `Rule.layers`, by block.
        view_early: Other views after the blocks that rules named in `Rule.view_layers`, by view and block.
        taps: Vectors of the target's last block ``[N, W]`` that rules named in `Rule.taps`, by name.
        attention: Per node, attention weights ``[K, S]`` of the heads in `Rule.attends`, over the S tokens of the
            target's prompt; the softmax ran over all that the node sees.
        past: ``past(n)`` is what the rule had remembered of the accepted tokens' nodes and of node n's ancestors,
            node n last; for rules that remember.
        candidates: Children that the rule asked to see with `Rule.expand` ``[N, K]``.
        candidate_hidden: Their hidden states in the target view ``[N, K, H]``.
    """

    composed: torch.Tensor
    log_probs: Mapping[str, torch.Tensor]
    hidden: Mapping[str, torch.Tensor] = field(default_factory=dict)
    path: Path = lambda _node, _last=None: []
    lengths: Sequence[int] = ()
    tokens: Sequence[int] = ()
    parents: Sequence[int] = ()
    early: Mapping[int, EarlyLayer] = field(default_factory=dict)
    view_early: Mapping[str, Mapping[int, EarlyLayer]] = field(default_factory=dict)
    taps: Mapping[str, torch.Tensor] = field(default_factory=dict)
    attention: Sequence[torch.Tensor] = ()
    past: Past = _no_past
    candidates: torch.Tensor | None = None
    candidate_hidden: torch.Tensor | None = None


class Rule(ABC):
    """A pure function of a node's own ancestors and the rule's settings.

    It must not depend on the batch, on siblings, or on how often it was called: drafts are verified against it.

    Attributes:
        hidden: Whether it reads hidden states.
        strength: Its setting that says how strongly it sets the evidence, or the stronger view, against the other; 0 or
            null is none. Monitors raise it where a sentence is written again.
        reweighs: What it decides; two rules of a chain that decide the same thing are refused (``evidence``).
        on_trees: Whether it can be evaluated on drafted tokens before they are accepted. One that cannot (it depends on
            what was accepted outside of the node's own ancestors, say) is refused together with drafters.
        expand: How many candidate children of each node it wants to see before composing; 0 for none.
        verification: For replications of published acceptance tests only: ``rejection`` if draws are to be tested by
            `accepting` instead of the composed distribution, which such a request then no longer follows. It is the
            only rule of its request.
        evidence: Whether it wants to know where the prompts show the passages (`View.evidence`).
        declares: Views that it brings itself, so that YAML need not declare them.
        optional: Those of its views that a request may lack; `Nodes.log_probs` then lacks them too.
        layers: Blocks of the target whose predictions it reads, counted from 0; known once it met the model.
        view_layers: Blocks of other views' models that it reads, by view; known once it met them.
        taps: Vectors of the last block that it reads (`Backend.taps`): the target's at each node, and those of the
            prompt places that it reads; known once it met the model.
        attends: Pairs of layer and query head of the target whose attention it reads; known once it met the model.
        reads_hidden: Whether `read` gets hidden states.
        remembers: Whether it keeps something of every accepted node; see `remember`.
        switches: Whether one of its views runs at a time; see `running`. It is the first rule of its chain.
        notes: What a user should know of how it acts on a request; of a started rule.
        resources: Names of what it reads besides the request, such as a memory; see `Request.resources`.
        recalls: How many of the last rows that it remembered it reads, in `running` and by `Nodes.past`; older ones are
            not kept for longer than a rewind could ask for them. None is all.
    """

    hidden: ClassVar[bool] = False
    strength: ClassVar[str | None] = None
    reweighs: ClassVar[str | None] = None
    on_trees: ClassVar[bool] = True
    evidence: bool = False
    reads_hidden: ClassVar[bool] = False
    remembers: bool = False
    switches: ClassVar[bool] = False
    recalls: int | None = None
    expand: int = 0
    verification: Literal["rejection"] | None = None
    declares: Mapping[str, ViewSpec] = {}
    optional: Collection[str] = frozenset()
    layers: tuple[int, ...] = ()
    view_layers: Mapping[str, tuple[int, ...]] = {}
    taps: tuple[str, ...] = ()
    attends: tuple[tuple[int, int], ...] = ()
    notes: Sequence[str] = ()
    resources: Sequence[str] = ()

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    def check(self, company: Company) -> None:  # noqa: B027
        """Look at what acts beside it: asked when a document is read, of every request, and when a monitor changes one.

        Raises:
            InputError: The rule does not go with it; the message needs no place, it is shown with file and line.
        """

    def meet(self, models: Mapping[str, Backend]) -> None:  # noqa: B027
        """Look at the model of each view, before any request: settle what depends on it.

        Raises:
            InputError: The rule cannot work with these models.
        """

    def equip(self, resources: Mapping[str, Any]) -> None:  # noqa: B027
        """Look at its `resources`, before any request; requests bring them again (`Request.resources`).

        Raises:
            InputError: One is missing, or is not what its settings ask for.
        """

    def start(self, request: Request) -> Rule:
        """The rule at work for one request: itself, unless it needs data of the request's own (a memory, say).

        Requests whose rules are the same objects are composed together, so that only rules that must differ should.
        A monitor that retrieves again has it called once more, with the request's new prompts.
        """
        return self

    @property
    @abstractmethod
    def views(self) -> Sequence[str]:
        """Views that it reads besides the target; the engine runs a row for each."""

    @abstractmethod
    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed log-probabilities ``[N, V]``, not necessarily normalised (the engine normalises)."""

    def accepting(self, nodes: Nodes) -> torch.Tensor:
        """Log-probabilities ``[N, V]`` that draws are tested by; called where `verification` is set."""
        return nodes.composed

    def signals(self, nodes: Nodes) -> Mapping[str, torch.Tensor]:
        """Numbers of its own about each node, by name ``[N]``: what it saw, for the records of monitors.

        Called with what `compose` gets, and only where a monitor asks.
        """
        return {}

    def tally(self, nodes: Nodes) -> Mapping[str, Sequence[int]]:
        """Counts of its own at each node, by name ``[N]``: what the statistics of a request add up.

        Called with what `compose` gets.
        """
        return {}

    def explain(self, nodes: Nodes, count: int) -> Explain | None:
        """What can be told of tokens that will be picked after nodes, ``count`` pieces of evidence at most for each.

        Called with what `compose` gets, where a request asks to be explained. What it gives is called for accepted
        tokens only.
        """
        return None

    def reads(self, request: Request) -> Mapping[str, Sequence[range]]:
        """Places of each view's prompt whose predictions it wants while the prompt is read; not the last token's.

        A rule that wants any starts as an object of the request's own.
        """
        return {}

    def read(  # noqa: B027
        self, view: str, place: int, log_probs: torch.Tensor, hidden: torch.Tensor | None
    ) -> None:
        """What the prompt's tokens from ``place`` on predict: ``log_probs [n, V]``, last ``hidden [n, H]``.

        Called with every place of `reads` once, in order of place, before the first `compose`.
        """

    def read_taps(self, view: str, place: int, taps: Mapping[str, torch.Tensor]) -> None:  # noqa: B027
        """The `taps` of the same tokens ``[n, W]``, by name; called before `read`, where the rule has `taps`."""

    def remember(self, nodes: Nodes) -> torch.Tensor:
        """What is kept of each node if it is accepted ``[N, X]``; called before `compose`, where ``remembers``.

        A value may depend on the node and its ancestors. Here `Nodes.past` gives what was remembered of accepted tokens
        alone; of nodes above in the same tree the rule has just computed it (`Nodes.parents`).
        """
        raise NotImplementedError(f"the rule {self.part_name} says that it remembers, but not what")

    def running(self, past: torch.Tensor) -> str:
        """Which view predicts the next token, where ``switches``.

        ``past [t, X]`` is what was remembered so far, at least the last ``recalls`` rows of it; none at the beginning.
        """
        raise NotImplementedError(f"the rule {self.part_name} says that it switches, but not between what")
