"""safetensors of a model folder: which files, what is in them, who they are."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from ragdecode.errors import InputError, RunError
from ragdecode.models.files import CODE_OR_PICKLE

if TYPE_CHECKING:
    import torch

_BLOCKS, _BLOCK = 64, 4096
#: Numbers of each weight that tell one model's heads from another's.
_NUMBERS = 64


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, in order.

    Raises:
        InputError: There are none (pickled weights are not read), or a shard is missing or outside the folder.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{index} is damaged: {error}") from error
        if unsafe := [name for name in names if Path(name).name != name]:
            raise InputError(f"{index} names a file outside the folder: {unsafe[0]!r}")
        files = [folder / name for name in names]
    else:
        files = sorted(folder.glob("*.safetensors"))
        single = folder / "model.safetensors"
        if single in files:
            files = [single]
    if missing := [file.name for file in files if not file.is_file()]:
        raise InputError(f"{folder} lacks {', '.join(missing)}")
    if not files:
        pickled = sorted(file.name for file in folder.iterdir() if file.name.endswith(CODE_OR_PICKLE))
        raise InputError(
            f"{folder} has no safetensors weights"
            + (f"; {', '.join(pickled)} can run code and is not read" if pickled else ""),
            hint="save the model with save_pretrained (safetensors), or name a .gguf file",
        )
    return files


def header(file: Path) -> dict[str, dict[str, object]]:
    """Name, dtype and shape of each tensor in a safetensors file, without reading the tensors.

    Raises:
        RunError: The file is damaged.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError("the header is longer than the file")
            tensors: dict[str, dict[str, object]] = json.loads(stream.read(length))
        tensors.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in tensors.values()]  # type: ignore[index]
        if 8 + length + max(ends, default=0) != file.stat().st_size:
            raise ValueError("the file is cut off")
    except (ValueError, struct.error, KeyError, TypeError, IndexError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
    return tensors


def check_weights(folder: Path) -> int:
    """Check that all weights are whole.

    Returns:
        Number of tensors.

    Raises:
        InputError: There are no weights.
        RunError: A file is damaged.
    """
    return sum(len(header(file)) for file in weight_files(folder))


def read_tensors(folder: Path, *, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All tensors of a model folder on ``device``; floating-point ones as ``dtype``.

    Raises:
        InputError: There are no weights.
        RunError: A file is damaged, or memory runs out.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        try:
            loaded = load_file(file, device=str(device))
        except SafetensorError as error:
            raise RunError(f"{file} is damaged: {error}") from error
        for name, tensor in loaded.items():
            tensors[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return tensors


def weights_fingerprint(folder: Path) -> str:
    """Identity of the weights: 16 hexadecimal digits.

    Headers and 64 blocks of 4 KiB spread evenly over each file are hashed, not every byte: loading must stay fast,
    and training moves all of them.
    """
    digest = hashlib.sha256()
    for file in weight_files(folder):
        size = file.stat().st_size
        digest.update(json.dumps(header(file), sort_keys=True).encode())
        with file.open("rb") as stream:
            for block in range(_BLOCKS):
                stream.seek(max(size - _BLOCK, 0) * block // (_BLOCKS - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()[:16]


def heads_fingerprint(folder: Path) -> str:
    """Identity of the attention heads: 16 hexadecimal digits.

    The first numbers of every attention weight are hashed with the shapes, as bfloat16: it does not depend on how the
    tensors lie in the files, nor much on the precision in which they were saved.
    """
    import torch
    from safetensors import safe_open

    found: dict[str, tuple[tuple[int, ...], bytes]] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - the object is no mapping
                part = tensors.get_slice(name)
                shape = tuple(part.get_shape())
                if len(shape) == 2 and ("attn" in name or "attention" in name):
                    numbers = part[:1].flatten()[:_NUMBERS].to(torch.bfloat16).view(torch.int16)
                    found[name] = shape, numbers.numpy().tobytes()
    text = "".join(f"{name} {shape} {numbers.hex()};" for name, (shape, numbers) in sorted(found.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
