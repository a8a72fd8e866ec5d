"""kNN-LM: what followed where the model was in a similar state votes on the next token."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from ragdecode.decoding.rule import Explain, Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings
from ragdecode.spec.tuning import TuningSpec

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.knn.asking import Asking, Voted
    from ragdecode.decoding.request import Request

#: The view whose states are compared.
_TARGET = "with_context"
#: Names of what it reads besides the request.
MEMORY, PASSAGES = "memory", "passages"
#: Neighbours where neither settings nor tuning say how many.
_COUNT = {"memory": 1024, "passages": 64}
#: Weight where neither settings nor tuning say it.
_WEIGHT = 0.25
#: Settings that have a meaning for one kind of store only.
_OF_STORE = {"read": "passages", "context": "passages", "pointers": "memory", "leave_out": "memory"}


class KnnLmSettings(Settings):
    """Settings of kNN-LM."""

    store: Literal["passages", "memory"] = "passages"
    """Who votes: the tokens of the request's own passages, or those of the whole corpus (``memory``, a store of the
    index)."""
    read: Literal["prompt", "text"] = "prompt"
    """What the model has read where it saw the passages' tokens; store ``passages``. ``prompt``: the request's prompt,
    so that keys and queries have the same words before them. ``text``: each passage by itself, once for all
    requests."""
    context: int = Field(default=4, ge=1, le=4096)
    """Tokens of a passage that its first key has read; store ``passages``."""
    key: Literal["ffn_input", "block_output", "final"] | None = None
    """Vector of the last block that is compared: ``ffn_input`` is what enters its feed-forward part, after the norm
    (the paper's choice, and what is taken of passages if left out); ``block_output`` what the block gives, before the
    final norm; ``final`` what the head reads. Left out with ``memory``: the one that is stored."""
    k: int | None = Field(default=None, ge=1, le=65536)
    """Neighbours that vote; 1024 of a memory and 64 of passages if left out, or all if there are fewer."""
    temperature: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Of the votes, in units of squared distances. Left out: that of ``tuning``, else the one at which half of the
    store's own keys would listen to ``listen`` neighbours or more."""
    listen: float = Field(default=16.0, gt=1.0, le=65536)
    """How many neighbours are listened to, where the temperature is left out and there is no ``tuning``."""
    by: Literal["fixed", "distance", "entropy", "gate"] = "fixed"
    """What the weight of the votes depends on: nothing; the distance of the nearest neighbour (buckets of ``tuning``);
    the entropies of model and votes; the gate of ``tuning``, a network."""
    weight: float | None = Field(default=None, ge=0.0, lt=1.0, allow_inf_nan=False)
    """Weight of the votes (lambda), from 0 to below 1: fixed, or the largest one with ``by: entropy``. Left out: that
    of ``tuning``, else 0.25."""
    above: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    """Entropy in nats up to which the model is left alone; ``by: entropy``."""
    tuning: Annotated[TuningSpec | None, Reference("tunings")] = None
    """Temperature and weights for this model and memory, as `ragdecode memory tune` writes them."""
    pointers: int = Field(default=0, ge=0, le=65536)
    """RetoMaton: the entries behind the last neighbours that were right are the next neighbours, and only where fewer
    than this many remain is there a search; 1 in the paper, 0 searches always. Store ``memory``."""
    leave_out: tuple[str, ...] = ()
    """Files of the corpus whose tokens do not vote, such as those that hold what is being evaluated. Store
    ``memory``."""

    @model_validator(mode="after")
    def _fits(self) -> KnnLmSettings:
        for name, store in _OF_STORE.items():
            if getattr(self, name) != type(self).model_fields[name].default and self.store != store:
                raise ValueError(f"{name} has no place with store {self.store}; it belongs to store {store}")
        if self.above != type(self).model_fields["above"].default and self.by != "entropy":
            raise ValueError(f"above has no place with by: {self.by}; it belongs to by: entropy")
        if self.by in ("distance", "gate"):
            what = "buckets" if self.by == "distance" else "gate"
            if self.tuning is None:
                raise ValueError(f"by: {self.by} needs a tuning with {what}: ragdecode memory tune writes one")
            if getattr(self.tuning, what) is None:
                raise ValueError(f"by: {self.by} needs a tuning with {what}, and this one has none")
            if self.weight is not None:
                raise ValueError(f"weight has no place with by: {self.by}: the tuning says it")
        if self.pointers > self.count:
            raise ValueError(f"pointers ({self.pointers}) must be at most k ({self.count})")
        if self.tuning is not None and self.tuning.key and self.key not in (None, self.tuning.key):
            raise ValueError(f"key is {self.key}, and the tuning is for {self.tuning.key}")
        return self

    @property
    def count(self) -> int:
        """Neighbours that vote, of a store that has as many."""
        tuned = self.tuning.k if self.tuning is not None else None
        return self.k or tuned or _COUNT[self.store]

    @property
    def most(self) -> float:
        """The fixed weight, or the largest one."""
        tuned = self.tuning.weight if self.tuning is not None else _WEIGHT
        return tuned if self.weight is None else self.weight


@register("rule", "knn_lm", KnnLmSettings)
class KnnLm(Rule):
    """kNN-LM: the tokens that followed similar states of the model vote on the next one.

    ``p(y) = (1 - lambda) p_lm(y) + lambda p_knn(y)``, where ``p_knn(y)`` is the sum of ``w_j`` over the neighbours j
    that y followed, and ``w_j = softmax(-|q - k_j|^2 / T)`` over the k nearest keys. Source: Khandelwal et al., ICLR
    2020, arXiv 1911.00172. Weights by distance: Drozdov et al., arXiv 2210.15859. The learned gate: He et al.,
    arXiv 2109.04212. The gate by entropies is this package's. Pointers: RetoMaton, Alon et al., arXiv 2201.12431,
    without its clusters. Passages of the request as the store are this package's too. Where there are no neighbours,
    the distribution stays as it is to the last bit.
    """

    def __init__(self, settings: KnnLmSettings) -> None:
        super().__init__(settings)
        self.resources = (settings.store,)
        self.evidence = settings.store == PASSAGES and settings.read == "prompt"
        self.remembers = settings.pointers > 0
        self.recalls = 1
        tuned = settings.tuning.key if settings.tuning is not None else ""
        self.taps = (settings.key or tuned or "ffn_input",)
        self._known: dict[tuple[int, tuple[str, ...]], KnnLm] = {}
        self._told: Mapping[str, int] | None = None
        self._asking: Asking | None = None
        self._parts: list[tuple[int, torch.Tensor]] = []
        self._spans: list[tuple[int, int, dict[str, Any]]] = []
        self._prompt: Sequence[int] = ()

    @property
    def views(self) -> Sequence[str]:
        """None besides the target."""
        return ()

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Refuse a model that does not tell the vector.

        Raises:
            InputError: It cannot.
        """
        self._told = models[_TARGET].taps
        if self.settings.store == PASSAGES or self.settings.key is not None:
            self._check_key(self.taps[0])

    def _check_key(self, key: str) -> None:
        if self._told is not None and key not in self._told:
            raise InputError(
                f"'knn_lm' compares the vector {key!r}, which this model does not tell",
                hint=f"key: {' or '.join(self._told)}" if self._told else "take another model",
            )

    def equip(self, resources: Mapping[str, Any]) -> None:
        """Refuse a memory that does not fit the settings.

        Raises:
            InputError: There is none, it is too small, or it or the tuning is of something else.
        """
        if self.settings.store == MEMORY:
            self._over(resources.get(MEMORY))
        elif (source := resources.get(PASSAGES)) is not None:
            self._check_tuning(source.facts)
        self._check_gate()

    def start(self, request: Request) -> Rule:
        """The rule over a memory, one for all requests that ask the same; or with the request's own passages."""
        if self.settings.store == MEMORY:
            return self._over(request.resources.get(MEMORY), request.resources.get("leave_out", ()))
        started = copy.copy(self)
        started._parts, started._spans = [], []
        if self.settings.read == "prompt":
            view = request.views[_TARGET]
            source = request.resources.get(PASSAGES)
            names = source.names() if source is not None else {}
            first = self.settings.context - 1
            started._prompt = view.prompt
            started._spans = [
                (one.start + first, one.stop, {"passage": one.passage, **names.get(one.passage, {})})
                for one in view.evidence
                if one.stop - one.start > first + 1
            ]
            if not started._spans:
                started.notes = ("it is not known where the prompt shows passages, if any: nothing voted",)
            return started
        started._asking = self._texts(request)
        if started._asking is None:
            started.notes = ("there are no passages: nothing voted",)
        return started

    def reads(self, request: Request) -> Mapping[str, Sequence[range]]:
        """The passages' places in the prompt, if they are read there; the last token of each votes, but has no key."""
        return {_TARGET: [range(first, stop - 1) for first, stop, _ in self._spans]} if self._spans else {}

    def read_taps(self, view: str, place: int, taps: Mapping[str, torch.Tensor]) -> None:
        """Keep the keys of passages in the prompt."""
        self._parts.append((place, taps[self.taps[0]].clone()))

    def remember(self, nodes: Nodes) -> torch.Tensor:
        """The neighbours of each node ``[N, k]``."""
        voted = self._voted(nodes)
        assert voted is not None
        return voted.rows

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed log-probabilities ``[N, V]``; what is impossible so far stays impossible."""
        from ragdecode.decoding.knn.voting import mix

        voted = self._voted(nodes)
        if voted is None:
            return nodes.composed
        return mix(nodes.composed, voted.share, voted.values, voted.weight)

    def signals(self, nodes: Nodes) -> Mapping[str, torch.Tensor]:
        """Weight, distance of the nearest neighbour, entropy of the votes and of the neighbours' shares ``[N]``."""
        voted = self._voted(nodes)
        return {} if voted is None else voted.signals(nodes.composed.shape[-1])

    def tally(self, nodes: Nodes) -> Mapping[str, Sequence[int]]:
        """Nodes whose neighbours were searched for, came by pointers, or were not wanted ``[N]``."""
        voted = self._voted(nodes)
        return {} if voted is None else voted.tally

    def explain(self, nodes: Nodes, count: int) -> Explain | None:
        """The neighbours that voted for a token: where they stand, how far they are, their share; and the weight."""
        voted = self._voted(nodes)
        if voted is None or self._asking is None:
            return None
        return voted.explain(self._asking.store, count)

    def _voted(self, nodes: Nodes) -> Voted | None:
        """What the neighbours make of the nodes, found once a step; None if there is no store."""
        if self._asking is None and self._parts:
            self._asking = self._in_prompt()
        return None if self._asking is None else self._asking.of(nodes)

    def _over(self, memory: Any, besides: Sequence[str] = ()) -> KnnLm:
        """The rule over a memory; the same object for the same one, so that requests are searched for together."""
        from ragdecode.decoding.knn.asking import Asking
        from ragdecode.decoding.knn.corpus_store import CorpusStore

        if memory is None:
            raise InputError(
                "'knn_lm' has nothing to ask: the request brings no memory",
                hint="add the store 'memory' to the index, or ask the passages (store: passages)",
            )
        left_out = tuple(sorted({*self.settings.leave_out, *besides}))
        name = id(memory), left_out
        if name in self._known:
            return self._known[name]
        key = str(memory.facts["key"])
        if self.settings.key not in (None, key):
            raise InputError(
                f"'knn_lm' compares {self.settings.key!r}; the keys of the memory are {key!r}",
                hint=f"key: {key}, or build the memory again with key: {self.settings.key}",
            )
        self._check_key(key)
        self._check_tuning(memory.facts)
        store = CorpusStore(memory, left_out)
        if len(store) < 1 or (self.settings.k or 0) > len(store):
            without = " without the files that are left out" if left_out else ""
            raise InputError(
                f"k is {self.settings.k or self.settings.count}; the memory has {len(store)} entries{without}",
                hint="lower k, or index more text",
            )
        started = copy.copy(self)
        started.taps = (key,)
        started._asking = Asking(store, self.settings, key)
        self._known[name] = started
        return started

    def _texts(self, request: Request) -> Asking | None:
        """A store of passages that the model has read one by one; None if there are none."""
        from ragdecode.decoding.knn.passage_store import Stretch

        source = request.resources.get(PASSAGES)
        if source is None:
            raise InputError("'knn_lm' with read: text needs the passages, which the request does not bring")
        return self._over_stretches(
            [
                Stretch(tokens, self.settings.context - 1, keys, name)
                for tokens, keys, name in source.keys(self.taps[0], self.settings.context)
            ]
        )

    def _in_prompt(self) -> Asking | None:
        """The store of the passages that the prompt has shown, once it is read."""
        import torch

        from ragdecode.decoding.knn.passage_store import Stretch

        stretches = []
        for first, stop, name in self._spans:
            keys = torch.cat(
                [own[max(0, first - place) : stop - 1 - place] for place, own in _within(self, first, stop)]
            )
            start = first - self.settings.context + 1
            stretches.append(Stretch(list(self._prompt[start:stop]), self.settings.context - 1, keys, name))
        self._parts = []
        return self._over_stretches(stretches)

    def _over_stretches(self, stretches: Sequence[Any]) -> Asking | None:
        from ragdecode.decoding.knn.asking import Asking
        from ragdecode.decoding.knn.passage_store import PassageStore

        return Asking(PassageStore(stretches), self.settings, self.taps[0]) if stretches else None

    def _check_tuning(self, facts: Mapping[str, Any]) -> None:
        """Refuse a tuning of another model or memory.

        Raises:
            InputError: It does not fit.
        """
        tuning: TuningSpec | None = self.settings.tuning
        if tuning is not None:
            _check_facts("the tuning", tuning.model_dump(), facts)

    def _check_gate(self) -> None:
        """Refuse a gate that cannot be read, or that is not the tuning's.

        Raises:
            InputError: It is missing, damaged, or was trained for something else.
        """
        tuning: TuningSpec | None = self.settings.tuning
        if self.settings.by != "gate" or tuning is None or tuning.gate is None:
            return
        from ragdecode.decoding.knn.gate import load_gate

        _check_facts("the gate", load_gate(Path(tuning.gate))[1], tuning.model_dump())


def _check_facts(what: str, told: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse what was made for another model or memory; what one side does not say is not compared.

    Raises:
        InputError: They differ.
    """
    for name in ("model", "tokenizer", "dtype", "key"):
        if told.get(name) and now.get(name) and told[name] != now[name]:
            raise InputError(
                f"{what} of 'knn_lm' is for another {name}: {told[name]}, now {now[name]}",
                hint="tune again: ragdecode memory tune",
            )


def _within(rule: KnnLm, first: int, stop: int) -> list[tuple[int, torch.Tensor]]:
    """The keys that hold places of a span, in order of place."""
    return [(place, own) for place, own in rule._parts if place < stop - 1 and place + len(own) > first]
