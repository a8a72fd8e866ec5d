"""``pipelines/*.yaml``: whole apps."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.part import Retrievers
from ragdecode.spec.prompt import PromptSpec
from ragdecode.spec.reference import Reference
from ragdecode.spec.settings import Settings

_DEVICE = r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]+)?)$"


class EngineSpec(Settings):
    """How the model runs on this machine."""

    device: str = Field(default="auto", json_schema_extra={"pattern": _DEVICE})
    """``auto`` takes the accelerator if there is one, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    """``auto`` is float32 on CPU and MPS, bfloat16 on CUDA and XPU; float32 promises equal tokens under drafts."""
    linear: Literal["auto", "packed", "plain", "int4"] = "auto"
    """Linear layers: weights packed once for oneDNN (CPU), or plain; ``auto`` packs where a start-up check passes.
    ``int4`` keeps 4 bits of each weight (CPU): several times faster, other tokens."""
    backend: Literal["auto", "llama", "transformers"] = "auto"
    """Forward pass: our own for Llama-shaped models, or the general transformers adapter."""
    max_batch: int = Field(default=8, ge=1, le=1024)
    """Requests that are decoded together."""
    prefill_tokens: int = Field(default=512, ge=16)
    """Prompt tokens that one step may read, over all requests."""
    prefix_cache_mb: int = Field(default=512, ge=0)
    """Memory for prompts read before (a system prompt, a document asked about again); 0 keeps none."""

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if re.search(_DEVICE, device) is None:
            raise ValueError(f"expected auto, cpu, mps, cuda, xpu, or one of several: cuda:1; found {device!r}")
        return device


class AnswerSpec(Settings):
    """How an answer is shown."""

    citations: bool = False
    """Print the numbers of the passages that support a sentence behind it: ``... in 1889. [1][3]``. The answer itself
    stays as it is; a monitor that attributes sentences must be there (``monitor: syncheck``)."""


class PipelineSpec(Settings):
    """A whole app: index, retrieval, prompt, model, decoding."""

    description: str = ""
    """One line about the app."""
    index: Annotated[IndexSpec | None, Reference("indexes")] = None
    """What is searched; without it the passages come with the request."""
    retrieve: Annotated[Retrievers, Reference("retrievers")] = ()
    """Chain of retrievers, rerankers and filters."""
    prompt: Annotated[PromptSpec, Reference("prompts")] = Field(default="grounded", validate_default=True)
    """The chat template around question and passages."""
    model: Annotated[ModelSpec, Reference("models")]
    """The language model."""
    decode: Annotated[DecodeSpec, Reference("decoding")] = DecodeSpec()
    """What acts while each token is chosen."""
    answer: AnswerSpec = AnswerSpec()
    """How the answer is shown."""
    engine: EngineSpec = EngineSpec()
    """How the model runs on this machine."""
