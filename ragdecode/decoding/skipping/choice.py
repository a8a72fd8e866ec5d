"""Which sub-layers the drafter ``self`` leaves out, by each of its methods."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

from ragdecode.decoding.drafter import Draft, Look
from ragdecode.decoding.skipping.parts import alternate, check_skip, inner_parts, skip_count
from ragdecode.decoding.skipping.search import SkipSearch
from ragdecode.errors import InputError
from ragdecode.spec.view_plan import TARGET

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.drafters.self_speculation import SelfSpeculationSettings

Choosing = Generator[Look, "torch.Tensor", frozenset[int]]


class Chosen(Protocol):
    """The choice at work for one request."""

    def skip(self, answer: Sequence[int]) -> Choosing:
        """The sub-layers to leave out in this step, given the answer so far; may look at the model."""

    def generated(self, tokens: int) -> None:
        """So many tokens more were generated."""


class SkipChoice:
    """A method for a model of so many layers; what it learns serves all requests.

    Args:
        settings: Those of the drafter.
        layers: Layers of the model that may be left out; 0 if its backend cannot.

    Attributes:
        look_nodes: The most tokens that its looks hold.

    Raises:
        InputError: The method cannot work with such a model.
    """

    def __init__(self, settings: SelfSpeculationSettings, layers: int) -> None:
        if not layers:
            raise InputError(
                "the drafter 'self' skips layers of the model, which only the llama backend can do; this model runs "
                "on the transformers backend",
                hint="engine.backend: llama if the model is Llama-shaped, else another drafter",
            )
        if layers < 3 and settings.skip is None:
            raise InputError(
                f"the drafter 'self' keeps the first and the last layer, and this model has {layers}: none is left "
                "to skip",
                hint="name sub-layers: {method: fixed, skip: [...]}",
            )
        self._settings = settings
        self._layers = layers
        self.look_nodes = 0
        if settings.skip is not None:
            check_skip(settings.skip, layers)
            self._set = frozenset(settings.skip)
            return
        count = skip_count(layers, settings.ratio)
        self._set = alternate(layers, count)
        if settings.method == "swift":
            self.look_nodes = settings.window
            self._search = SkipSearch(
                inner_parts(layers),
                self._set,
                enough=settings.enough,
                patience=settings.patience,
                tries=settings.tries,
                budget=settings.budget,
            )
        elif settings.method == "clasp":
            self.look_nodes = count

    def start(self) -> Chosen:
        """Begin with a request."""
        if self._settings.method == "swift":
            return _Searched(self._search, self._settings.window)
        if self._settings.method == "clasp":
            return _Recomputed(self._settings, self._layers)
        return _Fixed(self._set)


class _Fixed:
    """The same set at each step."""

    def __init__(self, chosen: frozenset[int]) -> None:
        self._set = chosen

    def skip(self, answer: Sequence[int]) -> Choosing:
        yield from ()
        return self._set

    def generated(self, tokens: int) -> None:
        pass


class _Searched:
    """SWIFT: the best set so far; while the search goes on and its budget allows, another is tried."""

    def __init__(self, search: SkipSearch, window: int) -> None:
        self._search = search
        self._window = window

    def skip(self, answer: Sequence[int]) -> Choosing:
        text = answer[-self._window :]
        search = self._search
        if 2 * len(text) >= self._window and search.affords(len(text)):
            candidate = search.candidate()
            score = yield from self._matchness(candidate, text)
            if search.rivals(candidate, score):
                search.measure_best((yield from self._matchness(search.best, text)), len(text))
            search.tell(candidate, score, len(text))
        return search.best

    def generated(self, tokens: int) -> None:
        self._search.generated(tokens)

    def _matchness(self, skip: frozenset[int], text: Sequence[int]) -> Generator[Look, torch.Tensor, float]:
        """Share of the latest tokens that are predicted without the sub-layers, all in one pass."""
        # below the token before the first of them; the last one needs no successor
        log_probs = yield Look(TARGET, Draft.chain(text[:-1]), skip, back=len(text))
        predicted: list[int] = log_probs.argmax(dim=-1).tolist()
        return sum(a == b for a, b in zip(predicted, text, strict=True)) / len(text)


class _Recomputed:
    """CLaSp: chosen from the states of the last token, again every few steps."""

    def __init__(self, settings: SelfSpeculationSettings, layers: int) -> None:
        whole = settings.unit == "layer"
        self._units = [(2 * i, 2 * i + 1) for i in range(layers)] if whole else [(i,) for i in range(2 * layers)]
        edge = 1 if whole else 2
        self._free = [edge <= unit < len(self._units) - edge for unit in range(len(self._units))]
        count = skip_count(layers, settings.ratio)
        self._count = max(count // 2, 1) if whole else count
        self._refresh = settings.refresh
        self._age = 0
        self._set: frozenset[int] | None = None

    def skip(self, answer: Sequence[int]) -> Choosing:
        if self._set is None or self._age >= self._refresh:
            from ragdecode.decoding.skipping.clasp import choose_layers

            units, free, count = self._units, self._free, self._count
            chosen = yield Look(TARGET, Draft(), study=lambda layers: choose_layers(layers, units, free, count))
            self._set = frozenset(part for unit in chosen.tolist() for part in units[unit])
            self._age = 0
        self._age += 1
        return self._set

    def generated(self, tokens: int) -> None:
        pass
