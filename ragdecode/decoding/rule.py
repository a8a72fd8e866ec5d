"""The contract of rules: fold what the views predict into ONE next-token distribution, node by node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request


class Path(Protocol):
    """Tokens generated up to and including a node."""

    def __call__(self, node: int, last: int | None = None, /) -> list[int]:
        """All of them, or the last few."""


@dataclass(frozen=True)
class Nodes:
    """What a rule may look at: N nodes, of one request's tree or of many.

    Attributes:
        composed: Log-probabilities so far ``[N, V]``: the target view's, or what the rule before in the chain made.
        log_probs: Each view's log-probabilities ``[N, V]``, normalised, float32 or better.
        hidden: Each view's last hidden states ``[N, H]``, for rules that declare ``hidden``.
        path: ``path(n)`` is the list of tokens generated up to and including node n, ``path(n, 8)`` its last 8;
            computed when called, in time proportional to the list.
        candidates: Children that the rule asked to see with `Rule.expand` ``[N, K]``.
        candidate_hidden: Their hidden states in the target view ``[N, K, H]``.
    """

    composed: torch.Tensor
    log_probs: Mapping[str, torch.Tensor]
    hidden: Mapping[str, torch.Tensor] = field(default_factory=dict)
    path: Path = lambda _node, _last=None: []
    candidates: torch.Tensor | None = None
    candidate_hidden: torch.Tensor | None = None


class Rule(ABC):
    """A pure function of a node's own ancestors and the rule's settings.

    It must not depend on the batch, on siblings, or on how often it was called: drafts are verified against it.

    Attributes:
        hidden: Whether it reads hidden states.
        reweighs: What it decides; two rules of a chain that decide the same thing are refused (``evidence``).
        on_trees: Whether it can be evaluated on drafted tokens before they are accepted. One that cannot (it depends on
            what was accepted outside of the node's own ancestors, say) is refused together with drafters.
        expand: How many candidate children of each node it wants to see before composing; 0 for none.
        verification: For replications of published acceptance tests only: ``rejection`` if draws are to be tested by
            `accepting` instead of the composed distribution, which such a request then no longer follows. It is the
            only rule of its request.
    """

    hidden: ClassVar[bool] = False
    reweighs: ClassVar[str | None] = None
    on_trees: ClassVar[bool] = True
    expand: int = 0
    verification: Literal["rejection"] | None = None

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    def start(self, request: Request) -> Rule:
        """The rule at work for one request: itself, unless it needs data of the request's own (a memory, say).

        Requests whose rules are the same objects are composed together, so that only rules that must differ should.
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
