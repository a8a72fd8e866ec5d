"""The target's own weights in 4 bits as draft model."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.drafter import Draft, Look, Verified
from ragdecode.decoding.speculation.composing import composed_views
from ragdecode.decoding.speculation.expanding import ExpandingSession
from ragdecode.decoding.speculation.expansion import Expander, ExpansionSettings
from ragdecode.decoding.speculation.growing import GrowingDrafter, GrowingSession
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.view_plan import TARGET

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request


class QuantizedSettings(ExpansionSettings):
    """Settings of drafting with 4-bit weights."""

    depth: int = Field(default=8, ge=1, le=32)
    """Most looks at the model a step; each lets the tree grow by one level."""
    width: int = Field(default=1, ge=1, le=64)
    """Nodes that one look extends; 1 makes a chain, which is what so good a guesser wants."""
    branch: int = Field(default=1, ge=1, le=64)
    """Most children of a node."""
    gain: float = Field(default=0.45, ge=0.0, le=1.0)
    """Stop when a look adds no more than this to the expected accepted tokens: about the time of a look in steps."""
    noise: float = Field(default=0.1, gt=0.0, le=1.0)
    """By how much the copy's logits are assumed to be off, in nats: how sure the drafter is of its best tokens."""
    otherwise: Literal["refuse", "idle"] = "refuse"
    """Where there are no 4-bit weights (another backend, a GPU): refuse to load, or draft nothing."""


@register("drafter", "quantized", QuantizedSettings)
class Quantized(GrowingDrafter):
    """Drafts with the target's own weights in 4 bits, over the target's own cache.

    A pass over few tokens takes as long as reading the weights, and these take an eighth of float32's memory. There
    is no second model, no second prompt to read and no second cache: looks write behind the row's end, where
    verification overwrites them. Under rules it looks at all views that they read, in one pass, and drafts what they
    compose; where that takes more than looks tell, it drafts what the target says. The tree grows as EAGLE-2 and
    OPT-Tree grow theirs. Changes speed only.

    Source: quantised copies of the target as plug-and-play drafts, ML-SpecQD (arXiv 2503.13565, whose abstract was
    read; it drafts in MXFP4 for bfloat16 targets, with a cache of its own).
    """

    draws = True
    light = True

    def __init__(self, settings: QuantizedSettings) -> None:
        super().__init__(settings)
        self.views = (TARGET,)
        self.look_nodes = settings.look_nodes + settings.depth
        self._able = True

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Look for the target's lighter weights.

        Raises:
            InputError: Its backend has none.
        """
        from ragdecode.decoding.backends.int4 import int4_fails

        backend = models[TARGET]
        self._able = backend.light
        if not self._able and self.settings.otherwise == "refuse":
            reason = int4_fails(backend.device) if backend.grafts else "this backend keeps none"
            raise InputError(
                f"the drafter quantized needs a copy of the weights in 4 bits: {reason or 'none is kept'}",
                hint="a Llama-shaped model on a CPU has one; else name another drafter, or 'otherwise: idle'",
            )

    def looks_at(self, request: Request) -> Sequence[str]:
        """The target, and the views that the request's rules read beside it, where their outcome can be drafted."""
        return composed_views(request) or self.views

    def start(self, request: Request) -> GrowingSession:
        """Begin with an empty answer."""
        composed = bool(composed_views(request))
        expander = Expander(request, TARGET, self.settings, light=True, composed=composed, noise=self.settings.noise)
        return _Session(expander, self.looks_at(request), self._able)


class _Session(ExpandingSession):
    """An expander over the target's view, with light weights; it waits until the prompts are read."""

    def __init__(self, expander: Expander, views: Sequence[str], able: bool) -> None:
        super().__init__(expander)
        self._views = views
        self._able = able
        self._read = False

    def grow(self, nodes: int, base: Draft | None = None) -> Generator[Look, torch.Tensor, Draft]:
        """The tree that the 4-bit weights grow; nothing while the prompt is unread, for a look would read it first."""
        if not self._able or not self._read or nodes < 1:
            return Draft()
        return (yield from super().grow(nodes, base))

    def observe(self, verified: Verified) -> None:
        """The answer grew, and all before it is read."""
        self._read = True
        super().observe(verified)

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Another prompt has to be read first."""
        self._read = self._read and prompts.keys().isdisjoint(self._views)
