"""A model folder as one float32 GGUF file for llama.cpp: the same weights, only their rotary rows in its order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.backends.llama_shape import LlamaShape, unsupported
from ragdecode.errors import InputError
from ragdecode.models.disk import disk_errors, require_space
from ragdecode.models.store import cache_folder
from ragdecode.models.weights import read_tensors

if TYPE_CHECKING:
    import torch

    from ragdecode.models.causal import CausalModel

#: Name in a checkpoint of the Llama family -> name in GGUF.
_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def float32_gguf(model: CausalModel) -> Path:
    """The file for a model, in the user's cache folder; written when it is first asked for.

    It has no vocabulary: llama.cpp is given token ids.

    Raises:
        InputError: The model is not of the plain Llama shape.
        RunError: The disk is full.
    """
    check_shape(model.raw_config)
    folder = cache_folder() / "bench"
    file = folder / f"{model.path.name}-{model.fingerprint}-f32.gguf"
    if not file.exists():
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
            try:
                _write(model, partial)
                partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)
    return file


def check_shape(config: Mapping[str, Any]) -> None:
    """Refuse what the file could not say.

    Raises:
        InputError: The model is not of the plain Llama shape.
    """
    reason = unsupported(config)
    if reason is None and config.get("model_type") not in ("llama", "mistral"):
        reason = f"model type {config.get('model_type')!r} is neither 'llama' nor 'mistral'"
    if reason is None and LlamaShape.from_config(config).rope_scaling:
        reason = "its rotary frequencies are scaled"
    if reason is None and (config.get("attention_bias") or config.get("mlp_bias")):
        reason = "its linear layers have biases"
    if reason is not None:
        raise InputError(
            f"llama-cpp is given plain Llama-shaped models only: {reason}", hint="leave llama-cpp out of --against"
        )


def _write(model: CausalModel, file: Path) -> None:
    import gguf
    import torch

    shape = LlamaShape.from_config(model.raw_config)
    tensors = read_tensors(model.path, device=torch.device("cpu"), dtype=torch.float32)
    require_space(file.parent, sum(tensor.nbytes for tensor in tensors.values()))
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.max_positions)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(int(model.raw_config["intermediate_size"]))
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_tokenizer_model("none")
    for name, tensor in tensors.items():
        if (called := _name(name, shape)) is not None:
            heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(called.rsplit(".", 2)[-2])
            writer.add_tensor(called, (tensor if heads is None else _paired(tensor, heads)).numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _name(name: str, shape: LlamaShape) -> str | None:
    """The tensor's name in GGUF; None for one that it does not hold.

    Raises:
        InputError: The tensor is not known.
    """
    if name == "lm_head.weight" and shape.tied:
        return None
    if name in _WHOLE:
        return _WHOLE[name]
    if name.endswith("rotary_emb.inv_freq"):
        return None
    place, _, part = name.removeprefix("model.layers.").partition(".")
    called = _BLOCK.get(part.removesuffix(".weight"))
    if called is None or not place.isdigit() or not part.endswith(".weight"):
        raise InputError(f"llama-cpp: the tensor {name!r} has no place in a plain Llama", hint="leave llama-cpp out")
    return f"blk.{place}.{called}.weight"


def _paired(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows ``[heads x D, H]`` in the order of llama.cpp: it rotates neighbours, the checkpoint halves."""
    rows, width = weight.shape
    half = rows // heads // 2
    return weight.reshape(heads, 2, half, width).swapaxes(1, 2).reshape(rows, width).contiguous()
