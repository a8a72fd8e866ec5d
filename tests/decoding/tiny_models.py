"""Tiny random causal language models of the common families, made on the fly."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_LLAMA_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
_GPT_SHAPE: dict[str, Any] = {**_LLAMA_SHAPE, "num_key_value_heads": 4}
_MOE_SHAPE: dict[str, Any] = {
    **_LLAMA_SHAPE,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "decoder_sparse_step": 1,
}

#: Name of a variant -> model type and settings. Variants of one type differ in what changes the attention mask.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _LLAMA_SHAPE),
    "llama_tied": ("llama", {**_LLAMA_SHAPE, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", _LLAMA_SHAPE),
    "qwen2_sliding": (
        "qwen2",
        {**_LLAMA_SHAPE, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {**_LLAMA_SHAPE, "head_dim": 8}),
    "mistral": ("mistral", {**_LLAMA_SHAPE, "sliding_window": None}),
    "mistral_sliding": ("mistral", {**_LLAMA_SHAPE, "sliding_window": 5}),
    "gemma": ("gemma", {**_LLAMA_SHAPE, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma2": (
        "gemma2",
        {**_LLAMA_SHAPE, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 5},
    ),
    "gemma3": (
        "gemma3_text",
        {
            **_LLAMA_SHAPE,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"],
            "final_logit_softcapping": 20.0,
        },
    ),
    "phi": ("phi", _GPT_SHAPE),
    "phi3": ("phi3", {**_LLAMA_SHAPE, "pad_token_id": 0}),
    "phi3_sliding": ("phi3", {**_LLAMA_SHAPE, "sliding_window": 5, "pad_token_id": 0}),
    "gpt2": (
        "gpt2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "tie_word_embeddings": True},
    ),
    "gpt_neox": ("gpt_neox", _GPT_SHAPE),
    "opt": ("opt", {**_GPT_SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "opt_projected": ("opt", {**_GPT_SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 16}),
    "falcon": ("falcon", {**_LLAMA_SHAPE, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon_alibi": (
        "falcon",
        {**_LLAMA_SHAPE, "alibi": True, "new_decoder_architecture": False, "multi_query": True},
    ),
    "mixtral": ("mixtral", _MOE_SHAPE),
    "qwen2_moe": ("qwen2_moe", _MOE_SHAPE),
    "qwen3_moe": ("qwen3_moe", {**_MOE_SHAPE, "head_dim": 8}),
}


def tiny(
    family: str,
    *,
    vocab_size: int = 97,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    attention: str | None = None,
    **settings: Any,
) -> PreTrainedModel:
    """A two-layer random model, in evaluation mode, the same for the same arguments.

    Weights are scaled so that attention and positions matter: logits spread over several units, and every
    earlier token changes them.

    Args:
        family: A key of `FAMILIES`, or any model type that transformers knows.
        vocab_size: Tokens (V).
        seed: Makes the weights.
        dtype: Of the weights.
        attention: Attention implementation; transformers' own choice if None.
        settings: Configuration keys that replace the family's.
    """
    model_type, shape = FAMILIES.get(family, (family, _LLAMA_SHAPE))
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(model_type, vocab_size=vocab_size, **{**ids, **shape, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # The grouped kernels of the mixture-of-experts layers know no float64.
        experts = {"experts_implementation": "eager"} if "num_experts_per_tok" in shape else {}
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32, **experts)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() >= 2:
                    parameter.normal_(0.0, 1.3 / parameter.shape[-1] ** 0.5)
                else:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(dtype).eval()
