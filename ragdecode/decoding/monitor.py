"""The contract of monitors: watch accepted tokens and their signals, keep a record, and act if need be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request, View
    from ragdecode.decoding.rule import Company
    from ragdecode.spec.model import ModelSpec


@dataclass(frozen=True)
class Accepted:
    """A token about to be committed, with its signals.

    Attributes:
        position: Its 0-based place in the answer.
        token: Its id.
        text: The answer's text up to and including it (unfinished characters left out).
        logprob: Composed log-probability.
        views: Raw log-probability in each view.
        entropy: Entropy of the composed distribution, in nats, for monitors that declare ``entropy``.
        hidden: The target's last hidden state that predicted it ``[H]``, for monitors that declare ``hidden``.
        divergence: KL(target view || other view) in nats, by other view, for monitors that declare ``divergence``.
        rules: What rules tell of the node that predicted it, as ``rule.name``, for monitors that declare ``rules``.
        measured: What `Monitor.measure` made of the node that predicted it, by name.
    """

    position: int
    token: int
    text: str
    logprob: float
    views: Mapping[str, float]
    entropy: float | None = None
    hidden: torch.Tensor | None = None
    divergence: Mapping[str, float] = field(default_factory=dict)
    rules: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What a step has of N nodes of one request, on the device.

    Attributes:
        log_probs: Each view's log-probabilities ``[N, V]``.
        states: Residual stream of the target after the blocks of `Monitor.layers` ``[N, H]``, before the final norm.
    """

    log_probs: Mapping[str, torch.Tensor]
    states: Mapping[int, torch.Tensor]


@dataclass(frozen=True)
class Flag:
    """Note something and go on.

    Attributes:
        detail: For people and programs.
        more: Details of further flags at the same place.
    """

    kind: ClassVar[str] = "flag"

    detail: Mapping[str, Any] = field(default_factory=dict)
    more: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Stop:
    """End the answer after the first ``keep`` tokens; with more than there are, all of them stay."""

    kind: ClassVar[str] = "stop"

    keep: int
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Abstain:
    """End the answer after the first ``keep`` tokens and say ``text`` behind them, a blank between."""

    kind: ClassVar[str] = "abstain"

    text: str
    keep: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Adjust:
    """Change settings from here on, as a `Rewind` may, and go on.

    Attributes:
        overrides: Settings that change.
        flag: What is noted besides.
    """

    kind: ClassVar[str] = "flag"

    overrides: Mapping[str, Any]
    flag: Flag | None = None


@dataclass(frozen=True)
class Rewind:
    """Go back to the first ``to`` tokens and decode again.

    Attributes:
        to: Tokens that stay; all of them to go on where the answer would have ended.
        overrides: Settings changed from there on: ``sampling.temperature``, or ``cad.alpha`` for a rule.
        bans: Tokens forbidden as the first one after the rewind.
        detail: For people.
        otherwise: Makes what is done where no rewind is left; None flags.
    """

    kind: ClassVar[str] = "rewind"

    to: int
    overrides: Mapping[str, Any] = field(default_factory=dict)
    bans: Sequence[int] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    otherwise: Callable[[], Action] | None = None


@dataclass(frozen=True)
class Retrieve:
    """Look for more evidence with ``query`` and go on under the new prompts.

    Attributes:
        query: What to look for.
        detail: For people.
        to: Tokens that stay, to write the rest again under the new evidence, which counts as a rewind; all if None.
        otherwise: Makes what is done where that cannot be; None notes it.
    """

    kind: ClassVar[str] = "retrieve"

    query: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    to: int | None = None
    otherwise: Callable[[], Action] | None = None


Action = Flag | Stop | Abstain | Adjust | Rewind | Retrieve


class Judged(Protocol):
    """A sentence that a monitor has scored, as a search sees it.

    Attributes:
        text: The sentence.
        tokens: Its tokens, as positions in the answer.
        score: From 0 to 1, higher is better; None where it could not be scored.
    """

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def tokens(self) -> range: ...  # noqa: D102
    @property
    def score(self) -> float | None: ...  # noqa: D102


class MonitorSession(ABC):
    """A monitor at work for one request.

    Attributes:
        verdicts: The sentences judged so far, in order, of monitors that score them; `rewind` forgets them with their
            last token.
    """

    verdicts: Sequence[Judged] = ()

    @property
    def unfinished(self) -> bool:
        """Whether `finish` has more to say when it is asked again."""
        return False

    @abstractmethod
    def observe(self, token: Accepted) -> Action | None:
        """See the next accepted token; an action other than `Flag` ends the step's path there."""

    def ending(self, measured: Mapping[str, float]) -> None:  # noqa: B027
        """An end token was picked: what `Monitor.measure` made of the answer's last token's node; before `finish`."""

    def told(self) -> Sequence[Mapping[str, Any]]:
        """What became known since the last call, as plain data for an event each; asked after every step."""
        return ()

    def retrieved(self, views: Mapping[str, View]) -> None:  # noqa: B027
        """Other prompts were put before the answer, which show other passages."""

    def finish(self, text: str) -> Action | None:
        """See the whole text once the answer is about to end; may still act.

        Tokens of a stop string have been taken back (`rewind`) before, so that a record matches the answer.
        """
        return None

    def released(self) -> int | None:
        """How many tokens may be shown; None for all. Lets a monitor hold text back until its verdict."""
        return None

    @abstractmethod
    def rewind(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""

    def fork(self) -> MonitorSession | None:
        """A session that has seen the same and goes its own way from here on; searches ask for it.

        None has the engine start another one and show it every token again, which is slower.
        """
        return None

    @abstractmethod
    def record(self) -> Any:
        """What goes into the answer's record: plain JSON data."""


class Monitor(ABC):
    """A monitor as declared; makes a session a request.

    Attributes:
        entropy, hidden, divergence, rules: Signals that it needs.
        scores: Whether it scores sentences (`MonitorSession.verdicts`), for searches to read.
        retrieves: Whether it may ask for more evidence, which takes a pipeline that can retrieve.
        views: Views that it needs besides the target.
        measures: Whether it has a `measure`.
        layers: Blocks of the target whose states `measure` reads, counted from 0; known once it met the model.
        models: Models that it asks about texts, by the name under which `Request.resources` holds them: of an encoder
            a callable from n texts to vectors of length 1 ``[n, D]``, of an entailment model one from n pairs
            (premise, hypothesis) to probabilities ``[n]``. None is any sentence encoder that is at hand; there may be
            none.
    """

    entropy: ClassVar[bool] = False
    hidden: ClassVar[bool] = False
    divergence: ClassVar[bool] = False
    rules: ClassVar[bool] = False
    scores: ClassVar[bool] = False
    measures: ClassVar[bool] = False
    retrieves: bool = False
    views: Sequence[str] = ()
    layers: tuple[int, ...] = ()
    models: Mapping[str, ModelSpec | None] = {}

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    def check(self, company: Company) -> None:  # noqa: B027
        """Look at what acts beside it: asked when a document is read.

        Raises:
            InputError: The monitor does not go with it.
        """

    def meet(self, models: Mapping[str, Backend]) -> None:  # noqa: B027
        """Look at the model of each view, before any request: settle what depends on it.

        Raises:
            InputError: The monitor cannot work with these models.
        """

    def measure(self, seen: Seen) -> Mapping[str, torch.Tensor]:
        """Numbers of its own about each node ``[N]``, by name, on the device; they come with the step's one transfer.

        The token that a node predicts is observed with them; the node's own token is the one before.
        """
        return {}

    @abstractmethod
    def start(self, request: Request) -> MonitorSession:
        """Begin to watch a request."""
