from __future__ import annotations

import importlib.util

import pytest
import torch
from safetensors.torch import load_file

from ragdecode.errors import InputError, RunError
from ragdecode.models.causal import load_causal
from ragdecode.models.store import ModelStore
from tests.models import tiny


@pytest.mark.parametrize("quantise", [True, False])
def test_converted_tensors_equal_what_was_written_bit_for_bit(tmp_path, quantise, capfd):
    expected = tiny.write_gguf(tmp_path / "tiny.gguf", quantise=quantise)
    path = ModelStore(tmp_path / "cache").require(tiny.path_spec(tmp_path / "tiny.gguf"))
    tensors = load_file(path / "model.safetensors")
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        assert tensors[name].dtype == torch.float32
        assert torch.equal(tensors[name], tensor), name
    assert capfd.readouterr() == ("", "")


def test_a_converted_model_computes_what_the_original_does_and_knows_its_tokens(tmp_path):
    tiny.write_gguf(tmp_path / "tiny.gguf", quantise=False)
    model = load_causal(tiny.path_spec(tmp_path / "tiny.gguf"), device="cpu", store=ModelStore(tmp_path / "cache"))
    ids = torch.tensor([model.tokenizer.encode("The capital of Italy", special=True)])
    with torch.no_grad():
        expected = tiny.tiny_llama(0, model.vocab_size)(ids).logits
        assert torch.allclose(model.hf_model()(ids).logits, expected, atol=1e-6)
    assert model.end_tokens == {2}
    assert model.tokenizer.special_tokens == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    assert model.tokenizer.chat_template == tiny.TEMPLATE
    assert model.max_positions == 128


def test_digits_are_split_as_the_files_pre_tokenizer_says(tmp_path):
    tiny.write_gguf(tmp_path / "tiny.gguf")
    model = load_causal(tiny.path_spec(tmp_path / "tiny.gguf"), store=ModelStore(tmp_path / "cache"))
    ids = model.tokenizer.encode("metres,  12", special=True)
    # the two spaces stay together and apart from the digits
    assert [model.tokenizer.token_text(id_) for id_ in ids[-3:]] == ["  ", "1", "2"] or [
        model.tokenizer.token_text(id_) for id_ in ids[-4:]
    ] == [" ", " ", "1", "2"]
    assert model.tokenizer.fast.pre_tokenizer.pre_tokenize_str("a  12")[1:] == [
        ("ĠĠ", (1, 3)),
        ("1", (3, 4)),
        ("2", (4, 5)),
    ]


def test_a_changed_file_is_converted_again(tmp_path):
    file, store = tmp_path / "tiny.gguf", ModelStore(tmp_path / "cache")
    tiny.write_gguf(file, quantise=True)
    first = store.require(tiny.path_spec(file))
    tiny.write_gguf(file, seed=1, quantise=False)
    assert store.require(tiny.path_spec(file)) != first


def test_a_missing_reader_is_named_with_the_extra_to_install(tmp_path, monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else original(name))
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(RunError, match="needs gguf") as caught:
        ModelStore(tmp_path / "cache").require(tiny.path_spec(tmp_path / "x.gguf"))
    assert caught.value.hint == 'pip install "ragdecode[gguf]"'


@pytest.mark.parametrize("content", [b"", b"GGUF", b"nothing of the kind" * 100, b"GGUF\x03\0\0\0" + b"\xff" * 64])
def test_a_file_that_is_no_gguf_or_is_damaged_is_refused(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    store = ModelStore(tmp_path / "cache")
    with pytest.raises(InputError, match=r"x\.gguf"):
        store.require(tiny.path_spec(tmp_path / "x.gguf"))
    assert store.list() == []
