"""The default models, as pulled."""

from __future__ import annotations

import numpy as np
import pytest

from ragdecode.models.catalogue import DEFAULT_MODELS, find_model
from ragdecode.models.causal import load_causal
from ragdecode.models.encoder import load_encoder
from ragdecode.models.store import ModelStore

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", autouse=True)
def _weights():
    for name in DEFAULT_MODELS:
        if ModelStore().locate(find_model(name)) is None:
            pytest.skip(f"the weights of {name} are not on this machine: ragdecode models pull {name}")


@pytest.fixture(scope="module")
def model():
    return load_causal(find_model("smollm2-135m"), device="cpu", dtype="float32")


QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_the_causal_model_answers_and_ends_its_turn(model):
    import torch

    ids = model.tokenizer.encode(model.tokenizer.render_chat(QUESTION), special=True)
    output = model.hf_model().generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0].tolist()
    assert model.tokenizer.decode(output[len(ids) :]) == "The capital of France is Paris."
    assert output[-1] in model.end_tokens


def test_its_facts(model):
    special = model.tokenizer.special_tokens
    assert (special["<|endoftext|>"], special["<|im_start|>"], special["<|im_end|>"]) == (0, 1, 2)
    assert model.tokenizer.named_tokens["bos_token"] == "<|im_start|>"
    assert model.tokenizer.named_tokens["eos_token"] == "<|im_end|>"
    assert model.end_tokens == {2}
    assert (model.vocab_size, model.max_positions) == (49152, 8192)
    assert model.config.eos_token_id == 2
    assert len(model.state_dict()) == 272


def test_its_chat_and_its_ids_equal_those_of_transformers(model):
    reference = model.hf_tokenizer()
    for messages in (QUESTION, [{"role": "system", "content": "Be brief."}, *QUESTION]):
        text = model.tokenizer.render_chat(messages)
        assert text == reference.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        expected = reference.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        assert model.tokenizer.encode(text, special=True) == expected


def test_digits_stand_alone(model):
    ids = model.tokenizer.encode("in  1889, 12", special=True)
    assert [model.tokenizer.token_text(id_) for id_ in ids] == ["in", "  ", "1", "8", "8", "9", ",", " ", "1", "2"]


def test_the_encoder_equals_sentence_transformers():
    import sentence_transformers

    encoder = load_encoder(find_model("minilm"), device="cpu", dtype="float32")
    texts = [
        "The Eiffel Tower is 330 metres tall.",
        "",
        "Zoë asked: how tall is it?",
        "retrieval-augmented generation " * 200,
    ]
    reference = sentence_transformers.SentenceTransformer(str(encoder.path), device="cpu").encode(
        texts, show_progress_bar=False
    )
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(vectors, reference, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (encoder.dimension, encoder.max_tokens) == (384, 256)


def test_the_encoder_finds_what_belongs_together():
    encoder = load_encoder(find_model("minilm"), device="cpu", dtype="float32")
    question, right, wrong = encoder.encode(
        ["How tall is the Eiffel Tower?", "The tower in Paris rises 330 metres.", "Bread is made of flour."]
    )
    assert question @ right > 0.4 > question @ wrong
