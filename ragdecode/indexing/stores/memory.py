"""Memory: what the language model computes at each token of the corpus, and the token that follows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ragdecode.errors import InputError
from ragdecode.indexing.memory.key_model import Key
from ragdecode.indexing.memory.windows import PASS, Reading
from ragdecode.indexing.store import Built, Need
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.indexing.memory.datastore import MemoryDatastore
    from ragdecode.indexing.memory.key_model import KeyModel
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders

#: characters of a token, on the low side
_CHARACTERS = 3
#: settings that belong to one kind only
KIND_OF = {
    "lists": "ivfpq",
    "probes": "ivfpq",
    "code_bytes": "ivfpq",
    "refine": "ivfpq",
    "neighbours": "hnsw",
    "build_depth": "hnsw",
    "search_depth": "hnsw",
}


class MemorySettings(Settings):
    """Which vectors are kept, how the corpus is read, and how the nearest are found."""

    key: Key = "ffn_input"
    """Vector of the last block at a token: ``ffn_input`` is what enters its feed-forward part, after the norm (the
    paper's choice); ``block_output`` what the block gives, before the final norm; ``final`` what the head reads."""
    window: int = Field(default=1024, ge=2, le=1 << 17)
    """Tokens of a document that are read together."""
    stride: int = Field(default=768, ge=1, le=1 << 17)
    """Tokens from the start of a window to that of the next; each key has ``window - stride`` tokens of left context,
    or all that its document has."""
    context: int = Field(default=8, ge=1, le=1 << 16)
    """Tokens of left context without which there is no key."""
    kind: Literal["auto", "flat", "ivfpq", "hnsw"] = "auto"
    """``flat`` compares with every key: exact. ``ivfpq`` looks into the nearest of many lists of short codes, ``hnsw``
    walks a graph of neighbours; both compare what they find by the whole keys. ``auto``: flat up to 100,000 entries,
    ivfpq above."""
    lists: int | None = Field(default=None, ge=1, le=1 << 20)
    """Lists that the keys are sorted into; ``ivfpq``. Four times the root of their number, but at most 4096, if left
    out."""
    probes: int | None = Field(default=None, ge=1, le=1 << 20)
    """Lists that a query looks into; ``ivfpq``. A sixteenth of all, but at least 32, if left out."""
    code_bytes: int | None = Field(default=None, ge=1, le=1024)
    """Bytes of a key's code, a divisor of its width; ``ivfpq``. The largest up to 64 if left out."""
    refine: int | None = Field(default=None, ge=1, le=1000)
    """Candidates, as a multiple of the neighbours asked for, that are compared by their whole keys; ``ivfpq``. 4 if
    left out."""
    neighbours: int | None = Field(default=None, ge=4, le=512)
    """Neighbours of a key in the graph; ``hnsw``. 32 if left out."""
    build_depth: int | None = Field(default=None, ge=4, le=10_000)
    """Candidates for neighbours while the graph is built; ``hnsw``. 100 if left out."""
    search_depth: int | None = Field(default=None, ge=1, le=100_000)
    """Candidates that a query keeps on its walk; ``hnsw``. 128 if left out, and never fewer than are asked for."""

    @model_validator(mode="after")
    def _fits(self) -> MemorySettings:
        if self.stride > self.window:
            raise ValueError(f"stride ({self.stride}) must be at most window ({self.window}), or tokens are left out")
        if self.context > self.window:
            raise ValueError(f"context ({self.context}) must be at most window ({self.window})")
        for name, kind in KIND_OF.items():
            if getattr(self, name) is not None and self.kind != kind:
                raise ValueError(f"{name} has no place in kind {self.kind}; it belongs to {kind}")
        return self

    @property
    def reading(self) -> Reading:
        """Sizes of windows."""
        return Reading(self.window, self.stride, self.context)


@register("store", "memory", MemorySettings)
class MemoryStore:
    """What the language model computes at each token of the corpus, and the token that follows; no passages."""

    finds_passages = False
    #: files that an interrupted build goes on with
    resumes = frozenset({"keys.npy", "values.npy", "heads.npy", "starts.npy", "hashes.npy"})

    def __init__(self, settings: MemorySettings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Let the model read documents that are new, then build what finds keys quickly.

        Raises:
            InputError: The build was given no model, or it cannot read such windows.
        """
        from ragdecode.indexing.memory import building, faiss_index
        from ragdecode.indexing.tokens.texts import placed

        model = context.key_model() if context.key_model else None
        tokenizer = context.tokenizer() if context.tokenizer else None
        if model is None or tokenizer is None:
            raise _no_model()
        reading = self.settings.reading
        totals = building.build(placed(passages), folder, model, tokenizer, self.settings.key, reading, context)
        plan = faiss_index.plan(self.settings, totals.entries, totals.width)
        faiss_index.build(plan, folder, lambda done, total: context.progress("memory index", done, total))
        facts = {
            **building.facts(model, tokenizer, self.settings.key, reading),
            "width": totals.width,
            "documents": totals.documents,
            "entries": totals.entries,
            **plan.facts,
        }
        before = f", {totals.resumed} by an interrupted build" if totals.resumed else ""
        taken = totals.entries - totals.fresh - totals.resumed
        summary = f"{totals.fresh} keys computed{before}, {taken} taken over, of {totals.documents} documents"
        return Built(facts, f"{summary}, {plan.summary}")

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """Not without a model; see `need_of`.

        Raises:
            InputError: Always.
        """
        raise _no_model()

    def need_of(self, passages: int, characters: int, model: KeyModel) -> Need:
        """Key, norm and token of each place on disk, what the kind adds, and the tokens that the model must read."""
        from ragdecode.indexing.memory import faiss_index

        tokens, width = characters // _CHARACTERS, model.hidden_size
        plan = faiss_index.plan(self.settings.model_copy(update={"code_bytes": None}), tokens, width)
        index = faiss_index.size(plan, tokens, width)
        disk = tokens * (2 * width + 8) + index
        memory = index + faiss_index.workspace(plan, width) + 4 * width * PASS
        return Need(disk, max(memory, min(disk, 1 << 28)), read=tokens)

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Always; another model is noticed by `made_by`."""
        return True

    def made_by(self, facts: Mapping[str, Any], model: KeyModel) -> bool:
        """Whether this model, in this precision, made the keys."""
        return (facts["model"], facts["dtype"]) == (model.fingerprint, model.dtype)

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> MemoryDatastore:
        """Map the files."""
        from ragdecode.indexing.memory.datastore import MemoryDatastore

        return MemoryDatastore(folder, facts, folder.parents[2])


def _no_model() -> InputError:
    return InputError("the store 'memory' needs a language model", hint="give build_index(key_model=...)")
