"""Causal language models: a folder of weights, opened as far as it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError, RunError
from ragdecode.models.config import auto_config, read_config, text_config
from ragdecode.models.opening import locate
from ragdecode.models.progress import Progress, silent
from ragdecode.models.store import ModelStore
from ragdecode.models.tokenizer import Tokenizer
from ragdecode.models.weights import check_weights, heads_fingerprint, read_tensors, weights_fingerprint
from ragdecode.spec.model import ModelSpec

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")


class CausalModel:
    """A causal language model on disk. Opening it reads the configuration and the tokenizer; weights come when asked.

    Attributes:
        spec: What YAML says of it.
        path: Its folder.
        device: Where its tensors go.
        dtype: What its floating-point tensors become.
        raw_config: ``config.json``, the part about text, without loading a framework.
        tokenizer: Its tokenizer.
    """

    def __init__(self, spec: ModelSpec, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.spec = spec
        self.path = path
        self.device = device
        self.dtype = dtype
        self.raw_config: Mapping[str, Any] = text_config(read_config(path))
        self.tokenizer = Tokenizer(path)

    @cached_property
    def config(self) -> PretrainedConfig:
        """The configuration as transformers reads it, defaults filled in."""
        return auto_config(self.path, self.spec)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Ids that end an answer: those of tokenizer, configuration and generation config, and the end of a turn."""
        known = self.tokenizer.special_tokens
        ends = {self.tokenizer.end_of_turn, known.get(self.tokenizer.named_tokens.get("eos_token", ""))}
        for config in (self.raw_config, read_config(self.path, "generation_config.json", required=False)):
            ids = config.get("eos_token_id")
            ends |= set(ids) if isinstance(ids, list) else {ids}
        return frozenset(id_ for id_ in ends if isinstance(id_, int) and id_ >= 0)

    @property
    def vocab_size(self) -> int:
        """Ids that both the tokenizer and the model know (V without padding rows)."""
        rows = self.raw_config.get("vocab_size") or self.config.vocab_size
        return min(self.tokenizer.vocab_size, int(rows))

    @property
    def max_positions(self) -> int:
        """Longest text, in tokens, that the model was made for.

        Raises:
            InputError: The configuration does not say.
        """
        for name in _POSITIONS:
            if isinstance(value := self.raw_config.get(name), int):
                return value
        for name in _POSITIONS:
            if isinstance(value := getattr(self.config, name, None), int):
                return value
        raise InputError(f"{self.path / 'config.json'} does not say how many positions the model has")

    @cached_property
    def fingerprint(self) -> str:
        """Identity of weights and tokenizer: 16 hexadecimal digits."""
        text = weights_fingerprint(self.path) + self.tokenizer.fingerprint
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def heads_fingerprint(self) -> str:
        """Identity of the attention heads, for lists of them: 16 hexadecimal digits; the files' layout is not in it."""
        return heads_fingerprint(self.path)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Read the tensors of the safetensors files, on `device`, floating-point ones in `dtype`.

        Tied weights are there once, as on disk. Nothing is kept: call it once.
        """
        return read_tensors(self.path, device=self.device, dtype=self.dtype)

    def hf_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer as transformers loads it (slow; for interoperation)."""
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            self.path, local_files_only=True, trust_remote_code=self.spec.trust_remote_code
        )
        return tokenizer

    @cached_property
    def _hf_model(self) -> PreTrainedModel:
        import torch
        from transformers import AutoModelForCausalLM

        from ragdecode.models.config import quiet_loading

        try:
            with quiet_loading():
                model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                    self.path,
                    config=self.config,
                    dtype=self.dtype,
                    attn_implementation="sdpa",
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=self.spec.trust_remote_code,
                )
            model.to(self.device)  # type: ignore[arg-type]
            model.train(False)
            return model
        except torch.OutOfMemoryError as error:
            raise RunError(f"no memory for {self.path.name} on {self.device}", hint="device: cpu") from error
        except (ValueError, OSError, KeyError) as error:
            raise InputError(f"{self.path} cannot be loaded as a causal language model: {error}") from error

    def hf_model(self) -> PreTrainedModel:
        """The model as transformers builds it: sdpa attention, evaluation mode; built once.

        Raises:
            InputError: The folder holds no causal language model that transformers knows.
            RunError: Memory runs out.
        """
        return self._hf_model


def load_causal(
    spec: ModelSpec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    store: ModelStore | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> CausalModel:
    """Open a causal language model.

    Args:
        spec: The model.
        device: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:1``, ``xpu``, ...
        dtype: ``auto``, ``float32``, ``bfloat16``, ``float16`` or ``float64``.
        store: Cache of models; the user's own if left out.
        fetch: Fetch weights that are not on this machine.
        progress: Told what is done, if something is fetched.

    Raises:
        InputError: The weights are not there, or are not a causal language model's; no such device or dtype.
        RunError: The weights are damaged, or fetching failed.
    """
    path, where, precision = locate(
        spec, "causal", device=device, dtype=dtype, store=store, fetch=fetch, progress=progress
    )
    check_weights(path)
    return CausalModel(spec, path, where, precision)
