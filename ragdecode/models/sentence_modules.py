"""What a sentence encoder does after its last layer, read from the files that sentence-transformers writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.models.config import read_config

if TYPE_CHECKING:
    import torch

#: ``pooling_mode_*`` switches -> name, in the order in which their results are joined.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class SentenceModules:
    """The modules of a sentence encoder.

    Attributes:
        transformer: Folder of the language model, relative to the encoder's.
        pooling: How token vectors become one; several are joined.
        normalise: Whether vectors are brought to length 1.
        max_tokens: Longest input in tokens, special ones included; None if only the model limits it.
        lower_case: Whether texts are lower-cased first.
        prompts: What is put before a text, by its role (``query``, ``document``).
    """

    transformer: str = ""
    pooling: tuple[str, ...] = ("mean",)
    normalise: bool = False
    max_tokens: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> SentenceModules:
        """Read the modules of the encoder in ``path``; without ``modules.json`` it is mean pooling, as is.

        Raises:
            InputError: The encoder has modules that are not known here.
        """
        transformer, normalise = "", False
        pooling: tuple[str, ...] = ("mean",)
        for entry in _entries(path):
            kind = str(entry.get("type", "")).rpartition(".")[2]
            folder = str(entry.get("path", ""))
            if ".." in Path(folder).parts or Path(folder).is_absolute():
                raise InputError(f"{path / 'modules.json'} names a folder outside the model: {folder!r}")
            if kind == "Transformer":
                transformer = folder
            elif kind == "Pooling":
                pooling = _pooling(path / folder)
            elif kind == "Normalize":
                normalise = True
            else:
                raise InputError(
                    f"{path}: the encoder has a {kind or 'nameless'} module, which is not supported",
                    hint="supported: Transformer, Pooling, Normalize",
                )
        settings = read_config(path / transformer, "sentence_bert_config.json", required=False)
        names = read_config(path, "config_sentence_transformers.json", required=False)
        prompts = {str(role): str(text) for role, text in (names.get("prompts") or {}).items() if text}
        if (default := prompts.get(str(names.get("default_prompt_name")))) is not None:
            prompts = {"query": default, "document": default, **prompts}
        length = settings.get("max_seq_length")
        return cls(transformer, pooling, normalise, length, bool(settings.get("do_lower_case", False)), prompts)

    def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Sentence vectors from token vectors.

        Args:
            hidden: Last hidden states ``[B, L, H]``.
            mask: True at tokens, False at padding on the right ``[B, L]``.

        Returns:
            One vector a text ``[B, D]``.
        """
        import torch

        weights = mask.unsqueeze(-1).to(hidden.dtype)  # [B, L, 1]
        lengths = weights.sum(dim=1).clamp(min=1)  # [B, 1]
        parts = []
        for mode in self.pooling:
            if mode == "cls":
                part = hidden[:, 0]
            elif mode == "lasttoken":
                part = hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
            elif mode == "max":
                part = hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1)
            else:
                total = (hidden * weights).sum(dim=1)
                part = total / (lengths if mode == "mean" else lengths.sqrt())
            parts.append(part)
        vectors = torch.cat(parts, dim=-1).float()
        return torch.nn.functional.normalize(vectors, dim=-1) if self.normalise else vectors


def _entries(path: Path) -> list[dict[str, Any]]:
    file = path / "modules.json"
    if not file.is_file():
        return []
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{file} is damaged: expected a list of mappings")
    return entries


def _pooling(folder: Path) -> tuple[str, ...]:
    config = read_config(folder)
    modes = config.get("pooling_mode")
    if modes is None:
        known = [name for switch, name in _SWITCHES.items() if config.get(switch)]
        others = [key for key, on in config.items() if key.startswith("pooling_mode_") and on and key not in _SWITCHES]
        modes = (known + others) or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if unknown := [mode for mode in modes if mode not in _SWITCHES.values()]:
        raise InputError(f"{folder}: pooling {unknown[0]!r} is not supported", hint=", ".join(_SWITCHES.values()))
    return tuple(modes)
