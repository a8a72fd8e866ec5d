"""Knowledge transfer: move the long-context target towards what a view of the retrieved part predicts (RAPID)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field, field_validator

from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch


class TransferSettings(Settings):
    """Settings of RAPID's inference-time knowledge transfer."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    from_: str = Field(alias="from")
    """The view that teaches, such as one over the retrieved part of the documents."""
    eta: float = Field(default=10.0, ge=0.0, le=100.0)
    """Strength: no logit moves by more than eta times the temperature. 0 is the target alone; 5 to 20 where both
    views are of one model, up to 50 where the teacher's is larger."""
    temperature: float = Field(default=1.0, gt=0.0, le=10.0)
    """Temperature at which both views are compared; not that of sampling, which may be 0."""
    tail: float = Field(default=0.1, ge=0.0, le=1.0)
    """Tokens that the teacher gives less than this share of its best one's probability are not moved; 0 moves all."""
    mode: Literal["exact-p-hat", "exact-p", "paper"] = "exact-p-hat"
    """``exact-p-hat`` decodes from the moved distribution. ``exact-p`` decodes from the target: the view only drafts.
    ``paper``: the published acceptance test, which follows neither; it needs ``verification: rejection``."""

    @field_validator("from_")
    @classmethod
    def _another_view(cls, view: str) -> str:
        if view == "with_context":
            raise ValueError("'with_context' is the view that is decoded: it has nothing to learn from itself")
        return view


@register("rule", "transfer", TransferSettings)
class Transfer(Rule):
    """RAPID's knowledge transfer: one step of distillation from a view of the retrieved part, token by token.

    ``z' = z + eta T (q - p)`` with ``p = softmax(z / T)`` of the target (or of the rule before in the chain) and
    ``q = softmax(z_q / T)`` of the teacher: a step against the gradient of ``T^2 KL(q || p)`` by z, since that
    gradient is ``T (p - q)``. Source: Chen et al., arXiv 2502.20330, equations 7 and 8, with a temperature of its
    own; the tail is cut as their code does, by the teacher's probability, because equation 9 gives no distribution.
    """

    def __init__(self, settings: TransferSettings) -> None:
        super().__init__(settings)
        self.verification = "rejection" if settings.mode == "paper" else None

    @property
    def views(self) -> Sequence[str]:
        """The teacher; none where only the target decides."""
        return () if self.settings.mode == "exact-p" else (self.settings.from_,)

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Moved scores ``[N, V]``, or the given ones where only acceptance, or nothing, is moved."""
        return self._moved(nodes) if self.settings.mode == "exact-p-hat" else nodes.composed

    def accepting(self, nodes: Nodes) -> torch.Tensor:
        """The moved scores, which the published test accepts draws by ``[N, V]``."""
        return self._moved(nodes)

    def _moved(self, nodes: Nodes) -> torch.Tensor:
        settings = self.settings
        if settings.eta == 0:
            return nodes.composed
        p = (nodes.composed / settings.temperature).softmax(dim=-1)
        q = (nodes.log_probs[settings.from_] / settings.temperature).softmax(dim=-1)
        shift = q - p
        if settings.tail > 0:
            shift = shift.masked_fill(q < settings.tail * q.amax(dim=-1, keepdim=True), 0.0)
        moved: torch.Tensor = nodes.composed + settings.eta * settings.temperature * shift
        return moved
