"""Configuration files of a model folder, and what transformers makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: models that count positions from behind that of padding
_POSITIONS_FROM_PADDING = {
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "mpnet"),
    *("longformer", "ibert", "xmod"),
}


def read_config(path: Path, name: str = "config.json", *, required: bool = True) -> dict[str, Any]:
    """A JSON mapping of a model folder; empty if it is not there and not required.

    Raises:
        InputError: It is missing or no mapping.
    """
    file = path / name
    if not file.is_file():
        if required:
            raise InputError(f"{path} is not a model folder: it has no {name}")
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{file}: expected a mapping")
    return data


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that is about text, where a model does more than text."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def max_tokens(config: Mapping[str, Any], *limits: int | None) -> int:
    """Longest input, special tokens included: the least of what a model's files say, 512 if they say nothing.

    Args:
        config: ``config.json``, whose table of positions is a limit too. RoBERTa and its kin leave the first of them,
            up to that of padding, unused.
        limits: What other files say; None if they do not.
    """
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and str(config.get("model_type")) in _POSITIONS_FROM_PADDING:
        padding = config.get("pad_token_id")
        positions -= 1 + (padding if isinstance(padding, int) else 1)
    return min((limit for limit in (*limits, positions) if isinstance(limit, int) and limit > 0), default=512)


def auto_config(path: Path, spec: ModelSpec) -> PretrainedConfig:
    """The configuration as transformers reads it, the part about text.

    Raises:
        InputError: transformers does not know such a model, or it needs code of its own.
    """
    from transformers import AutoConfig

    needs_code = "auto_map" in read_config(path) and not spec.trust_remote_code
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=spec.trust_remote_code
        )
    except (ValueError, KeyError, OSError) as error:
        hint = "if you trust its code: trust_remote_code: true in the model's YAML" if needs_code else None
        raise InputError(f"{path}: transformers cannot read this model: {error}", hint=hint) from error
    return config.get_text_config()


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers from drawing bars on stderr inside the block."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
