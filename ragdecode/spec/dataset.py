"""``configs/datasets/*.yaml``: questions with what an evaluation run knows of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragdecode.spec.part import Dataset
from ragdecode.spec.settings import Settings

#: Where a pipeline's evidence comes from. ``auto``: the pipeline's own retrieval if it has one, else what the data
#: set brings. ``given``: what the data set brings. ``retrieved``: the pipeline's own retrieval. ``none``: no evidence.
EvidenceSource = Literal["auto", "given", "retrieved", "none"]


class DatasetSpec(Settings):
    """A data set: how it is read, and what of it."""

    name: str = Field(default="", pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """Name in the run; that of the file if left out, else that of the reader."""
    description: str = ""
    """One line about it."""
    read: Dataset
    """The reader, with the files."""
    evidence: EvidenceSource = "auto"
    """``auto``: the pipeline's own retrieval if it has one, else what the data set brings; or ``given``, ``retrieved``,
    ``none``."""
    top_k: int | None = Field(default=None, ge=1)
    """Show only the first passages that the data set brings."""
    limit: int | None = Field(default=None, ge=1)
    """Use this many examples; a run's own limit holds too."""
    shuffle: int | None = Field(default=None, ge=0)
    """Seed of a random order before the limit is applied; the order of the file if left out."""
