"""llama.cpp as a contender: the file that it reads holds the same weights, and it writes the same tokens."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.llama_gguf import check_shape, float32_gguf
from ragdecode.models.causal import load_causal
from ragdecode.spec.model import ModelSpec
from tests.pipeline import tiny_app

gguf = pytest.importorskip("gguf")


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    return tiny_app.write_app(tmp_path / "app", tiny_app.write_model(tmp_path / "model"))


def test_the_file_holds_the_weights_with_rotary_rows_as_neighbours(app):
    model = load_causal(ModelSpec.model_validate({"name": "tiny", "source": {"path": {"path": str(app / "model")}}}))
    file = float32_gguf(model)
    reader = gguf.GGUFReader(file)
    found = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    weights = load_file(app / "model" / "model.safetensors")
    config = model.raw_config
    assert all(tensor.dtype is torch.float32 for tensor in found.values())
    assert torch.equal(found["token_embd.weight"], weights["model.embed_tokens.weight"].float())
    assert torch.equal(found["blk.1.ffn_down.weight"], weights["model.layers.1.mlp.down_proj.weight"].float())
    assert torch.equal(found["blk.0.attn_v.weight"], weights["model.layers.0.self_attn.v_proj.weight"].float())
    for name, called, heads in (
        ("q_proj", "attn_q", config["num_attention_heads"]),
        ("k_proj", "attn_k", config["num_key_value_heads"]),
    ):
        ours = weights[f"model.layers.1.self_attn.{name}.weight"].float()
        width = len(ours) // heads
        for head in range(heads):
            for pair in range(width // 2):
                for half in range(2):
                    row = found[f"blk.1.{called}.weight"][head * width + 2 * pair + half]
                    assert torch.equal(row, ours[head * width + half * width // 2 + pair])
    assert ("output.weight" in found) != config.get("tie_word_embeddings", False)
    written = file.stat().st_mtime_ns
    assert float32_gguf(model) == file
    assert file.stat().st_mtime_ns == written  # once
    assert not list(file.parent.glob(".*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model type 'gpt2'"),
        ({"model_type": "qwen2"}, "neither 'llama' nor 'mistral'"),
        ({"attention_bias": True}, "biases"),
        ({"rope_scaling": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "rotary frequencies are scaled"),
    ],
)
def test_other_models_are_refused(app, change, message):
    config = json.loads((app / "model" / "config.json").read_text())
    check_shape(config)
    if "rope_scaling" in change:
        config.pop("rope_parameters", None)
    with pytest.raises(InputError, match=message):
        check_shape(config | change)


def test_it_writes_the_same_tokens(app):
    pytest.importorskip("llama_cpp")
    from ragdecode.evaluation.bench.benchmark import Benchmark
    from ragdecode.pipeline.pipeline import Pipeline
    from ragdecode.pipeline.request_lines import read_requests

    lines = [
        {"id": "a", "question": "How many arches?", "passages": [{"text": "The bridge of Tollin has 12 arches."}]},
        {"id": "b", "question": "How wide?", "passages": [{"text": "The tower is 3.5 metres wide."}]},
    ]
    (app / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    engine = {"device": "cpu", "dtype": "float32", "linear": "plain"}
    file = tiny_app.write_pipeline(app, "p", decode={"max_new_tokens": 12}, engine=engine)
    with Pipeline.load(file) as pipeline:
        requests = read_requests(app / "lines.jsonl")
        names = ("ragdecode", "hf-greedy", "llama-cpp")
        found = Benchmark(pipeline, names, requests, repeats=2, progress=lambda *_: None).run()
    row = found["contenders"]["llama-cpp"]
    assert row["tokens_equal"]["different"] == 0
    assert row["tokens_equal"]["same"] >= 1
    assert row["mean_accepted"] == 1.0
    assert row["first_token_seconds"] > 0
    assert "float32" in row["note"]
    assert "ragdecode/llama-cpp" in found["ratios"]
