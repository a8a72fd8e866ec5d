"""The contract of drafters: guess a tree of continuations. They can change speed only, never the distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request


@dataclass(frozen=True)
class Draft:
    """A proposed tree under the last accepted token; parents before children.

    Attributes:
        tokens: Proposed ids [N - 1].
        parents: For each, the index of its parent in this list, or -1 for the last accepted token.
        scores: Estimated probability that the path down to each token is accepted; not above its parent's.
        sources: Who proposed each token, for drafters made of others [N - 1]; the drafter itself if empty.
        classes: A small number for each token [N - 1]: tokens of one source and class are accepted about equally
            often (length of the match, rank among siblings, bin of the confidence), and that is what acceptance is
            counted by. All of one class if empty.
        whole: Every token is wanted in the pass, whatever its score, because the drafter learns from what is
            predicted there; the room that is given is kept all the same.
        matched: How many of the last tokens were found elsewhere, for drafters that look for a match; 0 for others.
        drawn: For drafters with a distribution: by index of a parent (-1 for the last accepted token), the
            log-probabilities ``[V]`` from which its children were drawn without replacement, in their order here.
            Only such children may enter a rejection test.
    """

    tokens: Sequence[int] = ()
    parents: Sequence[int] = ()
    scores: Sequence[float] = ()
    sources: Sequence[str] = ()
    classes: Sequence[int] = ()
    whole: bool = False
    matched: int = 0
    drawn: Mapping[int, torch.Tensor] = field(default_factory=dict)

    @staticmethod
    def chain(tokens: Sequence[int], score: float = 1.0) -> Draft:
        """A draft without branches; the score is that of each step, multiplied along the chain."""
        return Draft(
            list(tokens),
            list(range(-1, len(tokens) - 1)),
            [score ** (depth + 1) for depth in range(len(tokens))],
        )


@dataclass(frozen=True)
class Look:
    """Asks the engine for a view's predictions after the nodes of a draft; yielded by drafters that use a model.

    The engine answers with log-probabilities ``[1 + len(draft.tokens), V]``: row 0 after the last accepted token,
    row i + 1 after ``draft.tokens[i]``; only those ``wanted``, if told. Looks of many requests share a pass. Beyond the
    model's window, where the answer cannot reach, the predictions are without meaning.

    Attributes:
        view: The view that is asked.
        draft: What stands below the last accepted token.
        skip: Sub-layers that are left out, 2 l for the attention and 2 l + 1 for the feed-forward part of layer l.
            Such a look reads the row's cache and leaves it as it is.
        light: The look is with the model's weights in lower precision. Such a look, too, leaves the row's cache.
        composed: The answer is what the request's rules compose of ``view``, which is the target, and of the views that
            they read: all are run over the draft in one pass. Only where `composed_by_looks` allows it.
        wanted: Rows of the answer that are wanted, in this order; all of them if None.
        answer: The answer in the tokens of the view's own model, if that has another vocabulary.
        back: The draft stands below the token this many places before the last accepted one, as if nothing had
            followed that token yet. Such a look, too, leaves the row's cache as it is.
        study: Gets the view's sub-layers one by one; the engine answers with what it returns, and the rest of the
            look does not count. The view must have been read up to the last accepted token.
    """

    view: str
    draft: Draft
    skip: frozenset[int] = frozenset()
    answer: Sequence[int] | None = None
    back: int = 0
    study: Callable[[Layers], torch.Tensor] | None = None
    light: bool = False
    composed: bool = False
    wanted: Sequence[int] | None = None


class Layers(Protocol):
    """The sub-layers of a view's model, at the place of the last accepted token.

    Attributes:
        parts: Number of sub-layers: 2 l is the attention of layer l, 2 l + 1 its feed-forward part.
        first: What enters the first one: the embedding of the last accepted token ``[1, H]``.
    """

    @property
    def parts(self) -> int:
        """Number of sub-layers."""

    @property
    def first(self) -> torch.Tensor:
        """The embedding of the last accepted token ``[1, H]``."""

    def run(self, part: int, states: torch.Tensor) -> torch.Tensor:
        """Run a sub-layer over alternative states of that token ``[m, H]``; m is at most ``1 + look_nodes``."""


@dataclass(frozen=True)
class Verified:
    """What verification told: the fed tree and which way was taken.

    Attributes:
        tokens: The fed nodes' tokens [N]; node 0 is the token that was last accepted before this step.
        parents: Their parents, -1 for node 0 [N].
        depths: Their depths, 0 for node 0 [N].
        sources: The drafters that proposed them [N].
        accepted: Nodes on the accepted path, node 0 first.
        committed: The tokens that were committed, the bonus token last.
        log_probs: Composed log-probabilities at all fed nodes ``[N, V]``, on the device.
    """

    tokens: Sequence[int]
    parents: Sequence[int]
    depths: Sequence[int]
    sources: Sequence[tuple[str, ...]]
    accepted: Sequence[int]
    committed: Sequence[int]
    log_probs: torch.Tensor
    _tops: dict[int, tuple[list[list[int]], list[list[float]]]] = field(default_factory=dict, repr=False)

    def top(self, k: int) -> tuple[list[list[int]], list[list[float]]]:
        """The k most probable tokens after each fed node and their log-probabilities ``[N][k]``, best first.

        Read from the device once a step for each k, whoever asks.
        """
        if k not in self._tops:
            best = self.log_probs.topk(min(k, self.log_probs.shape[-1]), dim=-1)
            self._tops[k] = best.indices.tolist(), best.values.tolist()
        return self._tops[k]


class DraftSession(ABC):
    """A drafter at work for one request.

    Attributes:
        eager: Whether it observes every step with all that was predicted, also those in which it was not asked.
    """

    eager: ClassVar[bool] = False

    @abstractmethod
    def propose(self, nodes: int) -> Draft | Generator[Look, torch.Tensor, Draft]:
        """Guess what follows everything accepted so far.

        The step has room for ``nodes`` tokens; of a larger draft, the engine keeps the best by score.

        A drafter that needs a model is a generator: it yields `Look` requests and returns the draft.
        """

    @abstractmethod
    def observe(self, verified: Verified) -> None:
        """Learn what was accepted, the prompt's first answer token included.

        Called once a step in which it was asked. Of all others it learns the tokens alone, before it is asked again,
        unless it is ``eager``.
        """

    @abstractmethod
    def rewind(self, length: int) -> None:
        """Forget all but the first ``length`` generated tokens."""

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:  # noqa: B027 - most do not care
        """New evidence: these views have other prompts from here on."""


class Drafter(ABC):
    """A drafter as declared; makes a session a request.

    Attributes:
        views: Views that it looks at; they are advanced even where no rule reads them.
        look_nodes: The most tokens that the draft of one `Look` holds; cache slots are reserved for them.
        looks: The most looks that it takes in a step, each a pass of a view's model unless others share it.
        declares: Views of its own that need no declaration in YAML (``ViewSpec`` by name).
        skips_layers: Whether its looks leave out sub-layers, which only some backends can.
        light: Whether its looks are with weights of lower precision, of which some backends keep a copy.
        resources: Names of what it reads besides the request, such as a datastore; see `Request.resources`.
        translates: Views whose model may have another vocabulary than the target's; `Request.vocabularies` has both.
        draws: Whether it can draw its tokens from a distribution and tell it (`Draft.drawn`), which it does where
            ``request.verification`` is ``rejection`` and the temperature is above 0. It then keeps to the room that
            `DraftSession.propose` gives before it draws, drops nothing by what was drawn, and takes its randomness
            from a stream of its own: never the noise of the verification, never the same again after a rewind.
        siblings: The most tokens that it draws below one node.
    """

    views: Sequence[str] = ()
    look_nodes: int = 0
    looks: int = 0
    skips_layers: bool = False
    light: bool = False
    declares: Mapping[str, Any] = MappingProxyType({})
    resources: Sequence[str] = ()
    translates: Sequence[str] = ()
    draws: bool = False
    siblings: int = 1

    part_name: ClassVar[str] = ""

    def __init__(self, settings: Settings) -> None:
        self.settings: Any = settings

    def meet(self, models: Mapping[str, Backend]) -> None:  # noqa: B027 - most do not care
        """Told the model of each view once models are open, and again with every request, before `start`.

        Drafters that are made of others pass it on.

        Raises:
            InputError: It cannot draft from these models; the message says why.
        """

    def looks_at(self, request: Request) -> Sequence[str]:
        """The views that its looks run for a request: ``views``, and others that are verified anyway."""
        return self.views

    @abstractmethod
    def start(self, request: Request) -> DraftSession:
        """Begin to draft for a request."""
