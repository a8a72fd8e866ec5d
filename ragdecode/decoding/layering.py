"""Which blocks of the target a rule reads, where its settings name them or a region of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend

#: Blocks after which a rule reads the target, counted from 0.
Blocks = tuple[Annotated[int, Field(ge=0)], ...]

#: Regions of a model: every other block of its lower or of its upper half, or all but the last.
Region = Literal["low", "high", "all"]


def settle(rule: str, wanted: Region | Blocks, model: Backend) -> tuple[int, ...]:
    """The blocks that a rule reads of this model.

    Raises:
        InputError: There is no such block before the last, or the backend does not tell the states of blocks.
    """
    if "exit" not in model.interventions:
        why = getattr(model, "lacks", {}).get("exit")
        raise InputError(
            f"'{rule}' reads early layers, which this backend does not tell" + (f": {why}" if why else ""),
            hint="engine.backend: llama if the model is Llama-shaped",
        )
    last = model.blocks - 1
    if last < 1:
        raise InputError(f"'{rule}' compares early layers with the last one, and this model has one block only")
    if isinstance(wanted, str):
        return region(wanted, model.blocks)
    beyond = [block for block in wanted if block >= last]
    if beyond:
        raise InputError(
            f"'{rule}' reads block {beyond[0]}; the model's early blocks are 0 to {last - 1}, "
            f"{last} is the last, which they are compared with",
            hint="count blocks from 0; the layer j of a paper is block j - 1",
        )
    return tuple(sorted(set(wanted)))


def region(name: Region, blocks: int) -> tuple[int, ...]:
    """The blocks of a region of a model with so many.

    ``low`` and ``high`` are those of transformers' DoLa, whose layer j is block j - 1 and whose layer 0, the embedding,
    is left out: with tied weights it predicts the token that it was given. In models of more than 40 blocks they are
    the first and the last twenty.
    """
    if name == "all":
        return tuple(range(blocks - 1))
    if name == "low":
        layers = range(2, blocks // 2 if blocks <= 40 else 20, 2)
    else:
        layers = range(blocks // 2 if blocks <= 40 else blocks - 20, blocks, 2)
    return tuple(layer - 1 for layer in layers if layer >= 1) or (max(blocks // 2 - 1, 0),)
