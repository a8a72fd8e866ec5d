"""The manifest of a cached model: where it came from and what belongs to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ragdecode.errors import RunError
from ragdecode.spec.model import ModelSpec

#: Raised by one when cached copies of an older version cannot be used any more.
FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds.

    Attributes:
        name: The model's name in YAML.
        kind: ``causal``, ``encoder`` or ``cross_encoder``.
        source: The source as YAML names it, secrets left out.
        fingerprint: Identity of the source; part of the folder's name.
        licence: Licence of the weights.
        commit: Commit of the hub repository that was read.
        sha256: SHA-256 of each weights file that was fetched.
        versions: Libraries that converted the weights.
        tensors: Number of tensors.
        files: Size of each file in bytes, by its name relative to the folder.
        format: Version of this layout.
    """

    name: str
    kind: str
    source: Mapping[str, Any]
    fingerprint: str
    licence: str = ""
    commit: str | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    tensors: int = 0
    files: Mapping[str, int] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write to ``folder``."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, default=dict)
        (folder / NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read from ``folder`` and check that every file is there, whole.

        Raises:
            RunError: The copy is damaged, or of another format.
        """
        try:
            data = json.loads((folder / NAME).read_text(encoding="utf-8"))
            manifest = cls(**data)
            format_ = manifest.format
            sizes = {name: (folder / name).stat().st_size for name in manifest.files}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(f"{folder} is damaged: {error}") from error
        if format_ != FORMAT:
            raise RunError(f"{folder} has format {format_}, this version reads format {FORMAT}")
        if wrong := [name for name, size in manifest.files.items() if sizes[name] != size]:
            raise RunError(f"{folder} is damaged: {wrong[0]} does not have the size it was written with")
        return manifest


def source_of(spec: ModelSpec) -> dict[str, Any]:
    """The source as plain data, without secrets.

    A file on disk is identified by its size and time of change too.
    """
    data: dict[str, Any] = spec.source.model_dump(mode="json", exclude_none=True, exclude={"hub": {"token"}})
    if spec.source.path is not None:
        path = Path(spec.source.path.path).expanduser().resolve()
        data["path"] = {"path": str(path)}
        if path.is_file():
            stat = path.stat()
            data["path"] |= {"size": stat.st_size, "changed": stat.st_mtime_ns}
    if spec.trust_remote_code:
        data["trust_remote_code"] = True
    return data


def source_fingerprint(spec: ModelSpec) -> str:
    """Identity of the model's source: 12 hexadecimal digits."""
    text = json.dumps(source_of(spec), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
