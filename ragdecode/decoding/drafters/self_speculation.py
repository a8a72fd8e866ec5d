"""Self-speculation: the model drafts for itself with some of its sub-layers left out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ragdecode.decoding.drafter import Draft, Look, Verified
from ragdecode.decoding.speculation.expansion import Expander, ExpansionSettings
from ragdecode.decoding.speculation.growing import GrowingDrafter, GrowingSession
from ragdecode.spec.registry import register
from ragdecode.spec.view_plan import TARGET

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.skipping.choice import SkipChoice


class SelfSpeculationSettings(ExpansionSettings):
    """Settings of drafting with the model itself."""

    method: Literal["swift", "clasp", "fixed"] = "swift"
    """How the skipped sub-layers are chosen: searched for while text is generated (``swift``), chosen anew every few
    steps from the states of the last token (``clasp``), or as given (``fixed``)."""
    skip: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """For ``fixed``: the sub-layers to skip, 2 l for the attention and 2 l + 1 for the feed-forward part of layer l;
    every other layer, as far as ``ratio`` goes, if left out."""
    ratio: float = Field(default=0.45, gt=0.0, lt=1.0)
    """Share of sub-layers to skip; the first and the last layer are kept and not counted."""
    unit: Literal["layer", "part"] = "layer"
    """For ``clasp``: skip whole layers, as published, or attentions and feed-forward parts on their own."""
    refresh: int = Field(default=8, ge=1)
    """For ``clasp``: steps after which the choice is made anew; it costs about one pass."""
    window: int = Field(default=32, ge=4, le=512)
    """For ``swift``: how many of the latest generated tokens a set is measured on."""
    enough: float = Field(default=0.95, gt=0.0, le=1.0)
    """For ``swift``: share of these that a set must predict for the search to end."""
    patience: int = Field(default=300, ge=1)
    """For ``swift``: tries without gain after which the search ends."""
    tries: int = Field(default=1000, ge=0)
    """For ``swift``: tries after which the search ends in any case; 0 keeps every other layer."""
    budget: float = Field(default=4.0, ge=0.0)
    """For ``swift``: tokens that the search may feed for each generated token."""
    depth: int = Field(default=6, ge=1, le=32)
    """Most looks at the model a step; each lets the tree grow by one level."""
    width: int = Field(default=1, ge=1, le=64)
    """Nodes that one look extends: the most probable of those not extended yet."""
    gain: float = Field(default=0.55, ge=0.0, le=1.0)
    """Stop when a look adds no more than this to the expected accepted tokens: about the time of a look in steps."""

    @model_validator(mode="after")
    def _skip_is_for_fixed(self) -> SelfSpeculationSettings:
        if self.skip is not None and self.method != "fixed":
            raise ValueError(f"'skip' is for method 'fixed'; method '{self.method}' chooses by itself")
        return self


@register("drafter", "self", SelfSpeculationSettings)
class SelfSpeculation(GrowingDrafter):
    """Drafts with the target itself, some of its sub-layers left out.

    It needs no second model and reads no prompt of its own: it looks at the target's own cache. The tree grows as
    EAGLE-2 and OPT-Tree grow theirs. The sub-layers are found by SWIFT's search (arXiv 2410.06916), by CLaSp's
    dynamic programming (arXiv 2505.24196), or given. Changes speed only.
    """

    draws = True
    skips_layers = True

    def __init__(self, settings: SelfSpeculationSettings) -> None:
        super().__init__(settings)
        self.views = (TARGET,)
        self.looks += {"swift": 2, "clasp": 1, "fixed": 0}[settings.method]  # to choose the sub-layers
        self.look_nodes = settings.look_nodes
        self._choices: dict[int, SkipChoice] = {}  # by number of layers; kept between requests
        self._layers = 0

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Look at the target's layers.

        Raises:
            InputError: Its backend cannot skip layers, or the settings do not fit them.
        """
        from ragdecode.decoding.skipping.choice import SkipChoice

        self._layers = models[TARGET].layers
        if self._layers not in self._choices:
            self._choices[self._layers] = SkipChoice(self.settings, self._layers)
        self.look_nodes = max(self.settings.look_nodes, self._choices[self._layers].look_nodes)

    def start(self, request: Request) -> GrowingSession:
        """Begin with what earlier requests have learnt."""
        return _Session(Expander(request, TARGET, self.settings), self._choices[self._layers])


class _Session(GrowingSession):
    """An expander over the target's view, and the sub-layers that it leaves out."""

    def __init__(self, expander: Expander, choice: SkipChoice) -> None:
        self._expander = expander
        self._chosen = choice.start()
        self._answer: list[int] = []
        self._read = False

    def grow(self, nodes: int, base: Draft | None = None) -> Generator[Look, torch.Tensor, Draft]:
        """The tree that the model grows without the skipped sub-layers; nothing while its prompt is unread."""
        if not self._read or nodes < 1:
            # a look would read the whole prompt, and without those sub-layers
            return Draft()
        skip = yield from self._chosen.skip(self._answer)
        return (yield from self._expander.grow(nodes, len(self._answer), skip=skip, base=base))

    def judge(self, draft: Draft) -> list[tuple[float, int] | None]:
        """Estimated acceptance and rank where the skipped model was looked at."""
        return self._expander.judge(draft)

    def observe(self, verified: Verified) -> None:
        """The answer grew, and all before it is read."""
        self._read = True
        self._answer += verified.committed
        self._chosen.generated(len(verified.committed))
        self._expander.observe(verified)

    def rewind(self, length: int) -> None:
        """The answer is shorter again, under other noise."""
        del self._answer[length:]
        self._expander.rewind(length)

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Another prompt has to be read first."""
        self._read = self._read and TARGET not in prompts
