"""DoLa: contrast the last layer with the early layer that disagrees with it most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragdecode.decoding.contrasting import divergence, finite, head, within
from ragdecode.decoding.layering import Blocks, settle
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend

_TARGET = "with_context"


class DolaSettings(Settings):
    """Settings of DoLa."""

    layers: Literal["low", "high"] | Blocks = Field(default="high", min_length=1)
    """The early layers to choose from: every other block of the ``low`` or of the ``high`` half, or blocks counted from
    0 (the paper's layer j is block j - 1). ``high`` suits short answers, ``low`` long ones."""
    ratio: float = Field(default=0.1, gt=0.0, le=1.0)
    """Tokens with less than this share of the best one's probability are out."""
    norm: bool = True
    """Whether early states go through the final norm before the head; the published code leaves it out."""


@register("rule", "dola", DolaSettings)
class Dola(Rule):
    """Decoding by contrasting layers: ``log q_last - log q_early``, normalised on ``q_last >= ratio max q_last``.

    ``q_j`` is what the head makes of the state after block j. The early layer is, at each token anew, the candidate
    whose prediction is farthest from the last one's by Jensen-Shannon divergence. Source: Chuang et al., ICLR 2024,
    arXiv 2309.03883, equations 1 to 5. The published code leaves the final norm out, averages the divergence over a
    batch and masks with -1000; here each token of each request has its own layer, and masked tokens are impossible.
    The paper's repetition penalty of 1.2 is a setting of ``sampling``. The contrast knows nothing of the scale of the
    probabilities, so that it is meant for temperature 0.
    """

    def __init__(self, settings: DolaSettings) -> None:
        super().__init__(settings)
        self.layers = settings.layers if isinstance(settings.layers, tuple) else (0,)  # until it meets a model

    @property
    def views(self) -> Sequence[str]:
        """None: the layers are the target's own."""
        return ()

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Find the candidate layers of this model."""
        self.layers = settle(self.part_name, self.settings.layers, models[_TARGET])

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Scores ``[N, V]``: the composed distribution so far over the early layer's, on its own plausible tokens."""
        import torch

        from ragdecode.decoding.early import read_together

        last = finite(nodes.log_probs[_TARGET])
        early = far = None
        layers = [nodes.early[layer] for layer in self.layers]
        for table in map(finite, read_together(layers, normed=self.settings.norm)):
            apart = divergence(last, table)  # [N, 1]
            if early is None or far is None:
                early, far = table, apart
            else:  # ties go to the lower layer
                early, far = torch.where(apart > far, table, early), torch.maximum(apart, far)
        assert early is not None
        return within(head(nodes.composed, self.settings.ratio), finite(nodes.composed) - early, nodes.composed)
