"""The numbers that describe a Llama-shaped model, read from its ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Families that are the Llama block with or without query/key biases and norms.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class LlamaShape:
    """Sizes and constants of a Llama-shaped decoder.

    Attributes:
        vocab_size: Rows of the embedding (V).
        hidden_size: Width of the residual stream (H).
        layers: Number of blocks.
        heads: Query heads.
        kv_heads: Key and value heads; divides ``heads``.
        head_dim: Width of a head (D).
        norm_eps: Epsilon of the RMS norms.
        rope_theta: Base of the rotary frequencies.
        rope_scaling: Settings of the ``llama3`` frequency scaling, or empty.
        max_positions: Longest row.
        tied: Whether the output projection is the embedding.
        qk_norm: Whether queries and keys are RMS-normalised per head (Qwen3).
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope_theta: float
    rope_scaling: Mapping[str, Any]
    max_positions: int
    tied: bool
    qk_norm: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LlamaShape:
        """Read the shape; call `unsupported` first."""
        heads = int(config["num_attention_heads"])
        rope = _rope(config)
        scaling = rope if rope.get("rope_type", "default") == "llama3" else {}
        return cls(
            vocab_size=int(config["vocab_size"]),
            hidden_size=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope["rope_theta"]),
            rope_scaling=scaling,
            max_positions=int(config.get("max_position_embeddings", 2048)),
            tied=bool(config.get("tie_word_embeddings", False)),
            qk_norm=config["model_type"] == "qwen3",
        )


def unsupported(config: Mapping[str, Any]) -> str | None:
    """Why the own forward cannot run a model of this configuration, or None if it can."""
    family = config.get("model_type")
    if family not in FAMILIES:
        return f"model type {family!r} is not one of {', '.join(FAMILIES)}"
    if config.get("hidden_act", "silu") != "silu":
        return f"activation {config['hidden_act']!r} is not 'silu'"
    rope_type = _rope(config).get("rope_type", "default")
    if rope_type not in ("default", "llama3"):
        return f"rotary scaling {rope_type!r} is neither 'default' nor 'llama3'"
    windowed = family == "mistral" or bool(config.get("use_sliding_window"))
    if windowed and config.get("sliding_window") is not None:
        return "it uses a sliding attention window"
    if "quantization_config" in config:
        return "its weights are quantised"
    return None


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings, from the present and the older spelling of the configuration."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if "type" in rope:
        rope.setdefault("rope_type", rope["type"])
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return rope
