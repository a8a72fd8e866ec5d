"""``indexes/*.yaml``: what is indexed, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from ragdecode.spec.model import ModelSpec
from ragdecode.spec.part import Loaders, Readers, Stores
from ragdecode.spec.reference import ExistingPath, Reference
from ragdecode.spec.settings import Settings


class CorpusSpec(Settings):
    """Which files are read."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["path"]}, {"required": ["loaders"]}]})

    path: ExistingPath | None = None
    """Folder or file; relative to the YAML file. It may be left out where ``loaders`` bring the documents."""
    include: tuple[str, ...] = (
        *("**/*.md", "**/*.markdown", "**/*.mdx", "**/*.txt", "**/*.text", "**/*.rst"),
        *("**/*.html", "**/*.htm", "**/*.xhtml", "**/*.pdf", "**/*.docx"),
        *("**/*.jsonl", "**/*.ndjson", "**/*.csv", "**/*.tsv"),
    )
    """Glob patterns of files to read, relative to the folder."""
    exclude: tuple[str, ...] = ()
    """Glob patterns of files to leave out."""
    readers: Readers = ()
    """Readers with settings of their own, or of formats beyond the built-in ones; they come before the built-in ones
    for the suffixes that they read."""
    loaders: Loaders = ()
    """Documents from elsewhere than ``path``, beside its files."""
    max_file_mb: float = Field(default=100.0, gt=0)
    """Larger files are skipped and reported, in megabytes."""

    @model_validator(mode="after")
    def _somewhere(self) -> CorpusSpec:
        if self.path is None and not self.loaders:
            raise ValueError("path is missing: expected a folder or file of documents, or loaders")
        return self


class SplitSpec(Settings):
    """How documents become passages."""

    tokens: int = Field(default=200, ge=16, le=8192)
    """Longest passage, in tokens of the pipeline's model."""
    overlap: int = Field(default=40, ge=0)
    """Tokens that neighbouring passages share."""

    @model_validator(mode="after")
    def _overlap_below_size(self) -> SplitSpec:
        if self.overlap * 2 > self.tokens:
            raise ValueError(f"overlap ({self.overlap}) must be at most half of tokens ({self.tokens})")
        return self


class IndexSpec(Settings):
    """An index: corpus, splitting, stores."""

    description: str = ""
    """One line about the index."""
    corpus: CorpusSpec
    """Which files are read."""
    split: SplitSpec = SplitSpec()
    """How documents become passages."""
    tokenizer: Annotated[ModelSpec | None, Reference("models")] = None
    """Model whose tokens are counted; the pipeline's model if left out."""
    stores: Stores = Field(default=("bm25",), validate_default=True)
    """What can be searched: one or more of the stores."""
