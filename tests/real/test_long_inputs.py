"""Finding a number in a long text with the default encoder."""

from __future__ import annotations

import pytest

from benchmarks.long_inputs import accuracy, accuracy_of_best_chunk, passkeys
from ragdecode.models.catalogue import find_model
from ragdecode.models.encoder import Encoder, load_encoder
from ragdecode.models.store import ModelStore

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _weights() -> None:
    if ModelStore().locate(find_model("minilm")) is None:
        pytest.skip("the weights of minilm are not on this machine: ragdecode models pull minilm")


def encoder(mode: str) -> Encoder:
    return load_encoder(find_model("minilm").model_copy(update={"long": mode}), device="cpu")


def test_what_stands_beyond_the_window_is_found_where_it_is_read() -> None:
    cut, recurrent = encoder("cut"), encoder("recurrent")
    asked = passkeys(cut.tokenizer, 4 * cut.max_tokens, 8)
    assert accuracy(cut, *asked) <= 0.5, "three quarters of the numbers stand beyond the window"
    assert accuracy(recurrent, *asked) >= 0.75
    assert accuracy_of_best_chunk(encoder("chunks_mean"), *asked) >= 0.75


def test_texts_within_the_window_are_found_alike() -> None:
    cut, recurrent = encoder("cut"), encoder("recurrent")
    asked = passkeys(cut.tokenizer, cut.max_tokens, 4)
    assert all(len(cut.tokenizer.encode(text, special=False)) <= cut.max_tokens - 2 for text in asked[1])
    assert (cut.encode(asked[1]) == recurrent.encode(asked[1])).all()
