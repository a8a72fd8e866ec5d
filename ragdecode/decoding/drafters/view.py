"""A view as draft model: the same request shown to a model in another way drafts for the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from ragdecode.decoding.speculation.expanding import ExpandingSession
from ragdecode.decoding.speculation.expansion import Expander, ExpansionSettings
from ragdecode.decoding.speculation.growing import GrowingDrafter, GrowingSession
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request


class ViewDrafterSettings(ExpansionSettings):
    """Settings of drafting with a view."""

    name: str
    """The view, as ``decode.views`` names it; or ``without_context``."""
    gain: float = Field(default=0.3, ge=0.0, le=1.0)
    """Stop when a look adds no more than this to the expected accepted tokens: about the time of a look in steps."""

    @field_validator("name")
    @classmethod
    def _another_view(cls, name: str) -> str:
        if name == "with_context":
            raise ValueError(
                "'with_context' is the view that is decoded: drafting with it costs a full pass for every token, "
                "which is what drafts are to save; name another view, or draft with 'quantized' or 'self', which take "
                "lighter passes of the same model"
            )
        return name


@register("drafter", "view", ViewDrafterSettings)
class ViewDrafter(GrowingDrafter):
    """Drafts with another view of the request: a shorter context, another prompt, another model.

    With a view over few retrieved passages before a target over long documents this is RAPID's drafter (Chen et al.,
    arXiv 2502.20330); with the weaker model of a contrast it is that of speculative contrastive decoding (Yuan et
    al., arXiv 2311.08981). The tree grows as EAGLE-2 and OPT-Tree grow theirs. Costs up to ``depth`` passes of the
    view's model a step; changes speed only.
    """

    draws = True

    def __init__(self, settings: ViewDrafterSettings) -> None:
        super().__init__(settings)
        self.views = (settings.name,)

    def start(self, request: Request) -> GrowingSession:
        """Begin with an empty answer."""
        return ExpandingSession(Expander(request, self.settings.name, self.settings))
