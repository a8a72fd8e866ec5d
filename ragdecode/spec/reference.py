"""Marks the fields where YAML may name a file of the app or the catalogue instead of an inline mapping."""

from __future__ import annotations

from dataclasses import dataclass

#: kind of reference -> folder, relative to the app's root or the catalogue's
FOLDERS: dict[str, str] = {
    "indexes": "indexes",
    "retrievers": "retrievers",
    "pipelines": "pipelines",
    "models": "configs/models",
    "prompts": "configs/prompts",
    "decoding": "configs/decoding",
}


@dataclass(frozen=True)
class Reference:
    """Field annotation: a bare name here means ``FOLDERS[kind]/NAME.yaml``."""

    kind: str
