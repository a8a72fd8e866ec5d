"""Which models the transformers backend takes, and which it turns away."""

import logging

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends import transformers_check
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.errors import InputError
from tests.decoding.stock import EXACT, assert_close, chain, stock_logits
from tests.decoding.tiny_models import tiny


@pytest.fixture(autouse=True)
def _quiet_transformers() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.mark.parametrize("family", EXACT)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_check_would_accept_what_is_proved(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(family, dtype=dtype)
    proved = TransformersBackend(model)
    monkeypatch.setattr(transformers_check, "PROVED", frozenset())
    checked = TransformersBackend(model)
    assert checked._plan == proved._plan
    assert not checked._arena._capacity


@pytest.mark.parametrize("family", ["starcoder2", "stablelm", "olmo2", "granite", "cohere"])
def test_unproved_families_that_pass_the_check_are_exact(family: str) -> None:
    model = tiny(family)
    backend = TransformersBackend(model)
    row = backend.open_row(16)
    backend.forward([chain(row, 0, [5, 6, 7])])
    got = backend.forward([Segment(row, 3, [8, 9, 10], [0, 1, 1], [-1, 0, 0], [2])]).logits
    assert_close(got[0], stock_logits(model, [5, 6, 7, 8, 10]))


def test_a_window_of_an_unproved_family_is_checked_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("starcoder2", sliding_window=100)
    backend = TransformersBackend(model)
    assert backend._plan.window == 100
    assert backend.max_positions == 256
    assert model.config.sliding_window == 100
    row = backend.open_row(200)
    text = [(7 * i) % 97 for i in range(150)]
    assert_close(backend.forward([chain(row, 0, text)]).logits[0], stock_logits(model, text))


def test_a_window_that_cannot_be_confirmed_limits_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that names a window which the model does not apply is right only for rows inside it."""
    model = tiny("stablelm")
    model.config.sliding_window = 100
    backend = TransformersBackend(model)
    assert backend.max_positions == 100
    row = backend.open_row(128)
    text = [(7 * i) % 97 for i in range(100)]
    assert_close(backend.forward([chain(row, 0, text)]).logits[0], stock_logits(model, text))
    with pytest.raises(InputError, match="101 tokens is longer than the 100"):
        backend.forward([chain(row, 0, [*text, 1])])


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("falcon_alibi", {}, "check of draft trees"),
        ("bloom", {"n_head": 4}, "check of draft trees"),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "check of draft trees"),
        ("mamba", {}, "recurrent state"),
        ("rwkv", {"attention_hidden_size": 32}, "recurrent state"),
        ("recurrent_gemma", {}, "recurrent state|check of draft trees"),
        ("jamba", {}, "recurrent state"),
        ("minimax", {}, "linear_attention"),
        ("gpt2", {"add_cross_attention": True}, "attend to an encoder"),
        ("gemma3", {"use_bidirectional_attention": True}, "looks ahead"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_that_cannot_be_exact_are_refused(
    family: str, settings: dict[str, object], reason: str, dtype: torch.dtype
) -> None:
    model = tiny(family, dtype=dtype, **settings)
    with pytest.raises(InputError, match=reason) as caught:
        TransformersBackend(model)
    assert type(model).__name__ in str(caught.value)
    assert caught.value.hint


def test_an_encoder_decoder_is_refused() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=32))
    with pytest.raises(InputError, match="encoder-decoder"):
        TransformersBackend(model)


def test_attention_without_4d_masks_is_refused_with_the_way_out() -> None:
    model = tiny("llama", attention="flex_attention")
    with pytest.raises(InputError, match="flex_attention") as caught:
        TransformersBackend(model)
    assert 'attn_implementation="sdpa"' in str(caught.value.hint)


def test_a_custom_class_under_a_proved_name_is_checked() -> None:
    """Only transformers' own classes are taken on trust; another module's namesake that ignores positions is not."""
    from transformers import LlamaForCausalLM as Stock

    class LlamaForCausalLM(Stock):
        def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, **options):
            return super().forward(
                input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values, **options
            )

    model = tiny("llama")
    model.__class__ = LlamaForCausalLM
    with pytest.raises(InputError, match="check of draft trees"):
        TransformersBackend(model)
