"""GGUF to a safetensors folder, once: the converted copy loads many times faster."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError, RunError
from ragdecode.models.disk import require_space
from ragdecode.models.progress import Progress

if TYPE_CHECKING:
    import gguf

#: 4-bit weights become 32-bit ones.
_GROWTH = 8

#: ``tokenizer.ggml.pre`` -> the pre-tokenizer that the model was trained with, where transformers ignores the field.
#: SmolLM splits every digit off before the byte-level pattern (llama.cpp, ``LLAMA_VOCAB_PRE_TYPE_SMOLLM``).
_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    }
}


def require_gguf() -> None:
    """Check that what reads GGUF is installed.

    Raises:
        RunError: It is not.
    """
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise RunError(f"reading GGUF weights needs {' and '.join(missing)}", hint='pip install "ragdecode[gguf]"')


def convert_gguf(file: Path, folder: Path, progress: Progress) -> None:
    """Write the model and tokenizer in ``file`` to ``folder``: float32 safetensors, tokenizer.json, chat template.

    transformers reads the tensors (dequantised, names mapped, rotary rows put back in order).

    Raises:
        InputError: The file is no GGUF, or its architecture or tokenizer is not supported.
        RunError: The reader is not installed, or the disk is too full.
    """
    require_gguf()
    require_space(folder, _GROWTH * file.stat().st_size)
    # the framework shows bars of its own on stderr, whatever it is told
    with contextlib.redirect_stderr(io.StringIO()):
        progress("read GGUF", 0, 3)
        pre = _pre_tokenizer_name(file)
        progress("convert GGUF", 1, 3)
        _convert(file, folder, progress)
    if pre in _PRE_TOKENIZERS:
        path = folder / "tokenizer.json"
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        tokenizer["pre_tokenizer"] = _PRE_TOKENIZERS[pre]
        path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    progress("convert GGUF", 3, 3)


def _convert(file: Path, folder: Path, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        place, name = str(file.parent), file.name
        model = AutoModelForCausalLM.from_pretrained(
            place, gguf_file=name, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name, local_files_only=True, trust_remote_code=False)
    except OSError:
        raise
    except (ValueError, KeyError, NotImplementedError, TypeError, RuntimeError) as error:
        raise InputError(f"{file.name}: {error}", hint="use the model's safetensors instead") from error
    progress("write safetensors", 2, 3)
    # save_pretrained refuses a model that still calls itself quantised, although it is not any more
    del model.config.quantization_config
    model.hf_quantizer = None  # type: ignore[assignment]
    model.is_quantized = False  # type: ignore[assignment]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _pre_tokenizer_name(file: Path) -> str | None:
    from gguf import GGUFReader

    try:
        reader: gguf.GGUFReader = GGUFReader(os.fspath(file))
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{file.name} is not a GGUF file, or is damaged: {error}") from error
    field = reader.get_field("tokenizer.ggml.pre")
    return None if field is None else str(field.contents())
