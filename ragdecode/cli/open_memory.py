"""Opens the memory of a built index, with the model that it is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.errors import InputError
    from ragdecode.indexing.memory.datastore import MemoryDatastore
    from ragdecode.models.causal import CausalModel
    from ragdecode.models.progress import Progress


@dataclass(frozen=True)
class OpenedMemory:
    """A memory and its model.

    Attributes:
        model: The language model.
        backend: The same, ready to run.
        memory: The memory.
        content: Identity of the index's content.
    """

    model: CausalModel
    backend: Backend
    memory: MemoryDatastore
    content: str


def _as_it_is(error: InputError) -> InputError:
    return error


def open_memory(
    target: str, progress: Progress, *, fetch: bool, located: Callable[[InputError], InputError] = _as_it_is
) -> OpenedMemory:
    """The memory of an index or pipeline.

    Args:
        target: Name or YAML file of a pipeline or an index.
        progress: Told what is loaded.
        fetch: Whether missing weights are fetched.
        located: Says where a memory that does not fit was named.

    Raises:
        InputError: The index is not built, has no memory, or that is of another model.
    """
    from ragdecode.cli.index_target import locate, spec_of
    from ragdecode.errors import InputError
    from ragdecode.indexing.index import open_index
    from ragdecode.indexing.models import IndexModels
    from ragdecode.models.causal import load_causal
    from ragdecode.pipeline.models import open_backend
    from ragdecode.spec.pipeline import EngineSpec

    path, owner = locate(target, ())
    if owner is None:
        raise InputError(f"{target} is the folder of an index", hint="name its YAML file, or that of its pipeline")
    index_spec = spec_of(owner)
    index = open_index(path, index_spec)
    own = owner.spec.model if owner.kind == "pipelines" else None
    engine = owner.spec.engine if owner.kind == "pipelines" else EngineSpec()
    model = load_causal(
        IndexModels(index_spec, own).language_model,
        device=engine.device,
        dtype=engine.dtype,
        fetch=fetch,
        progress=progress,
    )
    dtype = str(model.dtype).removeprefix("torch.")
    try:
        memory = index.memory(model.fingerprint, model.tokenizer.fingerprint, dtype).on(str(model.device))
    except InputError as error:
        raise located(error) from error
    return OpenedMemory(model, open_backend(model, engine), memory, index.manifest.content)
