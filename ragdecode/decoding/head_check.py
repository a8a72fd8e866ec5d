"""Refuses lists of heads that belong to another model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend


class Head(Protocol):
    """A query head; both are counted from 0."""

    @property
    def layer(self) -> int:
        """Its layer."""

    @property
    def head(self) -> int:
        """Which of the layer's query heads."""


def check_heads(what: str, fingerprint: str, heads: Iterable[Head], model: Backend) -> None:
    """Refuse heads that a model does not have, or that were found in another one.

    Args:
        what: Who names the heads, for the message.
        fingerprint: Of the model that they were found in; nothing is compared if it is empty, or the model's is.
        heads: The heads.
        model: The model.

    Raises:
        InputError: They do not belong to this model.
    """
    for one in heads:
        if one.layer >= model.blocks or one.head >= model.heads:
            raise InputError(
                f"{what} names head {one.head} of layer {one.layer}; the model has {model.blocks} layers of "
                f"{model.heads} heads, counted from 0",
                hint="make one for this model: ragdecode heads, ragdecode detector",
            )
    if fingerprint and model.fingerprint and fingerprint != model.fingerprint:
        raise InputError(
            f"{what} was made for another model: its fingerprint is {fingerprint}, the model's {model.fingerprint}",
            hint="make one for this model: ragdecode heads, ragdecode detector",
        )
