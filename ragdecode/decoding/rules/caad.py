"""Context-aware adaptive decoding: what the model predicted in true answers that read like this one nudges it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from ragdecode.decoding.contrasting import finite, only_possible
from ragdecode.decoding.rule import Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.reference import ExistingPath, Reference
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.grounding.guidance import Guide, Predictions
    from ragdecode.decoding.request import Request

_TARGET = "with_context"


class CaadSettings(Settings):
    """Settings of context-aware adaptive decoding."""

    file: ExistingPath
    """The grounding space, as `ragdecode memory ground` writes it."""
    encoder: Annotated[ModelSpec, Reference("models")] = Field(default="minilm", validate_default=True)
    """Sentence encoder of the space."""
    alpha: float = Field(default=0.5, ge=0.0, le=10.0)
    """Strength; 0 is off. From 0 to 1 in the forms ``delta`` and ``prob_interp``."""
    threshold: float = Field(default=0.7, ge=-1.0, le=1.0)
    """Entries count whose cosine with the present window is above; 0.7 in the paper, 0.8 for instructions."""
    most: int = Field(default=2048, ge=1, le=1 << 20)
    """Entries that count at a token, at most: the most similar."""
    weights: Literal["similarity", "mean"] = "similarity"
    """Entries count in proportion to their cosines, or all alike."""
    form: Literal["linear", "delta", "prob_interp"] = "linear"
    """``z + alpha g``, ``(1 - alpha) z + alpha g``, or ``(1 - alpha) p + alpha softmax(g)``."""

    @field_validator("encoder")
    @classmethod
    def _encodes(cls, encoder: ModelSpec) -> ModelSpec:
        if encoder.kind != "encoder":
            raise ValueError(f"'{encoder.name}' is a model of kind {encoder.kind}; windows need one of kind encoder")
        return encoder

    @field_validator("form")
    @classmethod
    def _shares(cls, form: str, info: object) -> str:
        alpha = getattr(info, "data", {}).get("alpha", 0.0)
        if form != "linear" and alpha > 1.0:
            raise ValueError(f"alpha ({alpha}) is a share in this form: at most 1")
        return form


@register("rule", "caad", CaadSettings)
class Caad(Rule):
    """Context-aware adaptive decoding (CAAD, later called RAD): a small memory of true answers shapes the logits.

    ``z' = z + alpha g`` with ``g = sum_A (c_i / sum_A c) L_i``. The entries of A are those whose vector has a cosine
    ``c_i > threshold`` with that of the last ``window`` tokens of the text, prompt included; ``L_i`` is what the model
    predicted behind the entry's window. Where A is empty, nothing changes, in every form. Source: arXiv 2508.02184,
    the formula of its second version; the released code keeps far neighbours in place of near ones, for it searches
    an index of distances. The first version (no threshold, softmax of the cosines, tokens under 1 % left out) is
    unconfirmed and not here. Values are log-probabilities of the most probable tokens; the others of an entry share
    what is left.
    """

    strength = "alpha"

    def __init__(self, settings: CaadSettings) -> None:
        super().__init__(settings)
        self._backend: Backend | None = None
        self._guide: Guide | None = None
        self._predictions: Predictions | None = None
        self._window = 0
        self._text: Callable[[int, Nodes], str] | None = None

    @property
    def views(self) -> Sequence[str]:
        """None besides the target."""
        return ()

    def meet(self, models: Mapping[str, Backend]) -> None:
        """Read the space for this model, and open its encoder.

        Raises:
            InputError: The file is damaged or another model's, or the encoder is not the one that made it.
        """
        from ragdecode.decoding.grounding.guidance import Guide, Predictions
        from ragdecode.decoding.grounding.space import GroundingSpace
        from ragdecode.models.encoder import load_encoder

        backend, settings = models[_TARGET], self.settings
        if backend is self._backend:
            return
        path = Path(settings.file)
        space = GroundingSpace.load(path)
        space.refuse_misfit(path, backend.fingerprint, backend.vocab_size)
        encoder = load_encoder(settings.encoder)
        if encoder.fingerprint != space.encoder:
            raise InputError(
                f"the grounding space {path} was made with another encoder: {space.encoder_name or space.encoder}, its "
                f"fingerprint is {space.encoder}, that of '{settings.encoder.name}' is {encoder.fingerprint}",
                hint="name the encoder that made it, or make it again: ragdecode memory ground",
            )
        even = settings.weights == "mean"
        self._guide = Guide(space, partial(encoder.encode, role="query"), settings.threshold, settings.most, even)
        self._predictions = Predictions(space, backend.device)
        self._window = space.window
        self._backend = backend

    def start(self, request: Request) -> Rule:
        """The rule with the end of this request's prompt, which the first windows reach into.

        Raises:
            InputError: The request cannot turn tokens into text.
        """
        detokenize = request.detokenize
        if detokenize is None:
            raise InputError("the rule 'caad' compares texts: the request cannot turn tokens into text")
        started, window = copy.copy(self), self._window
        head = list(request.views[_TARGET].prompt[-window:])

        def text(node: int, nodes: Nodes) -> str:
            return detokenize([*head, *nodes.path(node, window)][-window:])

        started._text = text
        return started

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """Composed scores ``[N, V]``, not normalised; a node that reads like no entry stays as it is."""
        import torch

        assert self._guide is not None
        assert self._predictions is not None
        assert self._text is not None
        alpha = self.settings.alpha
        if alpha == 0:
            return nodes.composed
        taken = self._guide.find([self._text(node, nodes) for node in range(len(nodes.composed))])
        guided = [at for at, one in enumerate(taken) if len(one.rows)]
        if not guided:
            return nodes.composed
        own = nodes.composed[guided]
        given = self._predictions.mixed([taken[at] for at in guided], own)
        if self.settings.form == "linear":
            shaped = finite(own) + alpha * given
        elif self.settings.form == "delta":
            shaped = torch.log_softmax((1 - alpha) * finite(own) + alpha * given, dim=-1)
        else:
            shaped = torch.log((1 - alpha) * own.exp() + alpha * torch.softmax(given, dim=-1))
        composed = nodes.composed.clone()
        composed[guided] = only_possible(shaped, own)
        return composed
