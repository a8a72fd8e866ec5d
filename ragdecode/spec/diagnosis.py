"""``configs/diagnoses/*.yaml``: what ``ragdecode diagnose`` looks into."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ragdecode.spec.model import ModelSpec
from ragdecode.spec.part import Rule
from ragdecode.spec.reference import ExistingPath, Reference
from ragdecode.spec.settings import Settings


class GenerateSpec(Settings):
    """Texts that are written, with the memory and without."""

    texts: int = Field(default=64, ge=2, le=100_000)
    """How many, each way; fewer where the text has not so many stretches of prompt and continuation."""
    prompt: int = Field(default=64, ge=1, le=8192)
    """Tokens of held-out text that each begins with."""
    tokens: int = Field(default=128, ge=2, le=8192)
    """Tokens that are written, and of gold text that they are compared with."""
    temperature: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    """Sampling temperature; 0 takes the most probable token."""
    top_p: float = Field(default=0.95, gt=0.0, le=1.0)
    """Nucleus that is drawn from."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Keys the noise."""


class DiagnosisSpec(Settings):
    """Whether the votes of kNN-LM help on a text, where and how much."""

    description: str = ""
    """One line about it."""
    index: ExistingPath
    """YAML file of the index with the memory, or of the pipeline that has it; it must be built. Relative to this
    file."""
    text: ExistingPath
    """Held-out text: a .txt or .md file, or a folder of such files."""
    rule: Rule = Field(default={"knn_lm": {"store": "memory"}}, validate_default=True)
    """The rule `knn_lm` with ``store: memory``, as pipelines have it."""
    leave_out: tuple[str, ...] = ()
    """Files of the corpus whose tokens do not vote, such as those that hold the text."""
    tokens: int = Field(default=20_000, ge=16)
    """Tokens of the text that are read, at most; from the beginning of each file in equal parts."""
    generate: GenerateSpec | None = GenerateSpec()
    """Texts to write; null writes none."""
    encoder: Annotated[ModelSpec | None, Reference("models")] = None
    """Sentence encoder whose vectors tell how alike texts are; minilm if left out."""
