from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ragdecode.errors import InputError
from ragdecode.models.encoder import Encoder, load_encoder
from ragdecode.models.long_inputs import LongText, positions
from ragdecode.spec.model import ModelSpec
from tests.models import tiny
from tests.models.test_encoder import TEXTS, write_bert, write_modules

WINDOW = 16
LONG = "the capital of france is paris and rome is of italy . " * 3  # 36 words
MODES = ("chunks_mean", "grouped", "recurrent", "interpolated")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bert(tmp_path_factory.mktemp("models") / "bert")
    write_modules(folder, {"pooling_mode_mean_tokens": True}, normalise=True, length=WINDOW)
    return folder


def encoder(folder: Path, **more: str) -> Encoder:
    spec = tiny.path_spec(folder, kind="encoder")
    return load_encoder(ModelSpec.model_validate({**spec.model_dump(), **more}), device="cpu")


def by_hand(folder: Path, ids: list[int], table: torch.Tensor) -> np.ndarray:
    """Transformers' own BERT with a table of positions as long as the text."""
    from transformers import BertConfig, BertModel

    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    state = model.state_dict()
    state["embeddings.position_embeddings.weight"] = table
    config = BertConfig.from_pretrained(folder)
    config.max_position_embeddings = len(table)
    longer = BertModel(config)
    longer.load_state_dict({name: value for name, value in state.items() if "position_ids" not in name}, strict=False)
    with torch.no_grad():
        vector = longer.eval()(torch.tensor([ids])).last_hidden_state[0].mean(0)
    return (vector / vector.norm()).numpy()


def ids_of(folder: Path, text: str) -> list[int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids


def trained_table(folder: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")["embeddings.position_embeddings.weight"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_stretched_positions_equal_a_model_with_a_stretched_table(folder: Path) -> None:
    table, ids = trained_table(folder), ids_of(folder, LONG)
    count = len(ids)
    factor = 3
    assert (factor - 1) * WINDOW < count <= factor * WINDOW
    tables = {
        "grouped": torch.stack([table[at // factor] for at in range(count)]),
        "recurrent": torch.stack([table[at % WINDOW] for at in range(count)]),
        "interpolated": torch.stack(
            [
                table[at // factor] * (1 - at % factor / factor) + table[at // factor + 1] * (at % factor / factor)
                for at in range(count)
            ]
        ),
    }
    for mode, stretched in tables.items():
        vectors = encoder(folder, long=mode).encode(["rome", LONG, "the capital"])
        np.testing.assert_allclose(vectors[1], by_hand(folder, ids, stretched), atol=1e-5, err_msg=mode)
        np.testing.assert_allclose(vectors[0], by_hand(folder, ids_of(folder, "rome"), table), atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_mean_of_chunks_is_that_of_their_texts(folder: Path) -> None:
    table, ids = trained_table(folder), ids_of(folder, LONG)
    inner = ids[1:-1]
    chunks = [inner[at : at + WINDOW - 2] for at in range(0, len(inner) - WINDOW + 2, WINDOW - 2)]
    chunks.append(inner[-(WINDOW - 2) :])
    made = [by_hand(folder, [ids[0], *chunk, ids[-1]], table) for chunk in chunks]
    mean = np.mean(made, axis=0)
    averaged = encoder(folder, long="chunks_mean")
    np.testing.assert_allclose(averaged.encode([LONG])[0], mean / np.linalg.norm(mean), atol=1e-5)
    parts, owners = averaged.encode_chunks(["rome", LONG, "italy"])
    assert owners.tolist() == [0, *[1] * len(chunks), 2]
    np.testing.assert_allclose(parts[1:-1], made, atol=1e-5)
    np.testing.assert_array_equal(parts[[0, -1]], averaged.encode(["rome", "italy"]))


@pytest.mark.parametrize("mode", MODES)
def test_texts_within_the_window_get_the_same_vectors_to_the_last_bit(folder: Path, mode: str) -> None:
    short = [text for text in TEXTS if len(ids_of(folder, text)) <= WINDOW] * 10
    assert len(short) == 50
    plain = encoder(folder).encode(short, role="query")
    np.testing.assert_array_equal(encoder(folder, long=mode).encode(short, role="query"), plain)


@pytest.mark.parametrize("mode", MODES)
def test_what_stands_beyond_the_window_matters_and_order_is_kept(folder: Path, mode: str) -> None:
    texts = ["rome", LONG, LONG + "rome rome rome", "", LONG * 3, "the capital of italy"]
    seen: list[int] = []
    together = encoder(folder, long=mode).encode(texts, progress=lambda stage, done, total: seen.append(done))
    assert seen[-1] == len(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder(folder, long=mode).encode([text])[0], vector, atol=1e-5)
    assert not np.allclose(together[1], together[2])
    cut = encoder(folder).encode(texts)
    np.testing.assert_array_equal(cut[1], cut[2])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    endless = [LONG * 40, LONG * 41]  # beyond the reach of positions; chunks have none
    one, other = encoder(folder, long=mode).encode(endless)
    assert np.allclose(one, other, atol=1e-6) == (mode != "chunks_mean")


def test_positions() -> None:
    assert positions(7, 3, "grouped").tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert positions(7, 3, "recurrent").tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert positions(5, 3, "interpolated").tolist() == [0, 0.5, 1, 1.5, 2]
    for length in (1, 17, 255, 256, 257, 4096):
        for mode in ("grouped", "recurrent", "interpolated"):
            assert float(positions(length, 256, mode).max()) < 256


def test_chunks_cover_a_text_with_full_windows() -> None:
    text = LongText(0, [1, *range(10, 31), 2], 1, 1)
    assert text.chunks(10) == [
        [1, *range(10, 18), 2],
        [1, *range(18, 26), 2],
        [1, *range(23, 31), 2],
    ]
    assert text.within(10) == [1, *range(10, 18), 2]
    assert LongText(0, [1, *range(16), 2], 1, 1).chunks(10) == [[1, *range(8), 2], [1, *range(8, 16), 2]]


def test_the_fingerprint_follows_precision_and_long_inputs(folder: Path) -> None:
    specs = [{}, {"dtype": "bfloat16"}, *({"long": mode} for mode in MODES)]
    assert len({encoder(folder, **more).fingerprint for more in specs}) == len(specs)


def test_half_precision_gives_nearly_the_same_vectors(folder: Path) -> None:
    exact, half = encoder(folder).encode(TEXTS), encoder(folder, dtype="bfloat16").encode(TEXTS)
    assert half.dtype == np.float32
    assert not np.array_equal(exact, half)
    assert (exact * half).sum(axis=1).min() > 0.995
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5)  # pooled in single precision


def test_models_without_a_table_of_positions_can_only_be_cut_or_chunked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = encoder(folder, long="chunks_mean").encode([LONG])
    monkeypatch.setattr("ragdecode.models.bert.is_plain_bert", lambda _: False)
    with pytest.raises(InputError, match="long: grouped needs a BERT") as error:
        encoder(folder, long="grouped")
    assert "chunks_mean" in (error.value.hint or "")
    np.testing.assert_allclose(encoder(folder, long="chunks_mean").encode([LONG]), own, atol=1e-5)


@pytest.mark.parametrize("more", [{"dtype": "bfloat16"}, {"long": "grouped"}])
def test_settings_of_encoders_have_no_place_elsewhere(folder: Path, more: dict[str, str]) -> None:
    spec = tiny.path_spec(folder).model_dump()
    with pytest.raises(ValidationError, match="belongs to kind encoder"):
        ModelSpec.model_validate({**spec, **more})
