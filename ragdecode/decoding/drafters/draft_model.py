"""A draft model: a smaller language model writes ahead, with the same vocabulary or with another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from ragdecode.decoding.speculation.expanding import ExpandingSession
from ragdecode.decoding.speculation.expansion import Expander, ExpansionSettings
from ragdecode.decoding.speculation.growing import GrowingDrafter, GrowingSession
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.vocabulary.shared import SharedTokens
    from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

#: The view that the drafter brings.
VIEW = "draft_model"


class DraftModelSettings(ExpansionSettings):
    """Settings of a draft model."""

    model: Annotated[ModelSpec, Reference("models")]
    """The model that drafts."""
    match: Literal["auto", "tokens", "strings", "intersection"] = "auto"
    """How its tokens become the pipeline's: ``tokens`` needs the same vocabulary; ``strings`` reads its text again;
    ``intersection`` lets it choose among the tokens that both have. ``auto``: by tokens if the vocabularies are the
    same, else by strings at temperature 0, and by intersection above."""


@register("drafter", "draft_model", DraftModelSettings)
class DraftModel(GrowingDrafter):
    """A second model reads the target's prompt and grows a tree of what may follow.

    Sources: speculative decoding (arXiv 2211.17192, 2302.01318), trees by EAGLE-2 (arXiv 2406.16858) and OPT-Tree
    (arXiv 2406.17276), other vocabularies by SLEM and TLI (arXiv 2502.05202). Changes speed only.
    """

    def __init__(self, settings: DraftModelSettings) -> None:
        from ragdecode.spec.decode import ViewSpec

        super().__init__(settings)
        self.views = (VIEW,)
        self.declares = {VIEW: ViewSpec(model=settings.model, role="draft")}
        self.translates = () if settings.match == "tokens" else (VIEW,)
        self.draws = settings.match != "strings"
        self._shared: tuple[Vocabulary, Vocabulary, SharedTokens] | None = None

    def start(self, request: Request) -> GrowingSession:
        """Begin to draft; the request knows the vocabularies if they are not the same."""
        from ragdecode.decoding.request import TARGET

        target = request.vocabularies.get(request.views[TARGET].model)
        draft = request.vocabularies.get(request.views[VIEW].model)
        if target is None or draft is None or target is draft:
            return ExpandingSession(Expander(request, VIEW, self.settings))
        from ragdecode.decoding.vocabulary.intersecting import IntersectingSession
        from ragdecode.decoding.vocabulary.rewritten import RewrittenSession
        from ragdecode.decoding.vocabulary.translation import Translation

        if self._by_strings(request, target, draft):
            return RewrittenSession(Expander(request, VIEW, self.settings, coupled=False), target, draft)
        expander = Expander(request, VIEW, self.settings)
        shared = self._in_common(target, draft)
        return IntersectingSession(expander, shared, Translation(target, draft), len(target.tokens))

    def _by_strings(self, request: Request, target: Vocabulary, draft: Vocabulary) -> bool:
        if self.settings.match != "auto":
            return bool(self.settings.match == "strings")
        if request.sampling.temperature == 0:
            return True
        return request.verification == "noise" and not self._in_common(target, draft).size

    def _in_common(self, target: Vocabulary, draft: Vocabulary) -> SharedTokens:
        """What both vocabularies have; found once for all requests."""
        from ragdecode.decoding.vocabulary.shared import SharedTokens

        known = self._shared
        if known is None or known[0] is not target or known[1] is not draft:
            known = self._shared = target, draft, SharedTokens(target, draft)
        return known[2]
