from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ragdecode.errors import InputError
from ragdecode.models.cross_encoder import load_cross_encoder
from ragdecode.models.encoder import load_encoder
from tests.models import tiny

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "capital",
    "of",
    "france",
    "is",
    "paris",
    "and",
    "rome",
    "italy",
    "a",
    "passage",
    "question",
    "##s",
    ".",
    "?",
]
TEXTS = [
    "the capital of france",
    "",
    "Paris is the capital. " * 20,
    "rome",
    "passages and questions?",
    "xyz [SEP] rome",
]


def write_bert(folder: Path, *, kind: str = "encoder", labels: int = 1, seed: int = 0) -> Path:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: id_ for id_, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "unk_token": "[UNK]", "model_max_length": 40}))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
        num_labels=labels,
        initializer_range=0.5,
    )
    model = BertModel(config) if kind == "encoder" else BertForSequenceClassification(config)
    model.save_pretrained(folder)
    return folder


def write_modules(folder: Path, pooling: dict[str, object], *, normalise: bool, length: int = 24) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalise else [])]
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length, "do_lower_case": False}))


@pytest.fixture
def bert(tmp_path):
    folder = write_bert(tmp_path / "bert")
    write_modules(folder, {"pooling_mode_mean_tokens": True}, normalise=True)
    return folder


def by_hand(folder: Path, text: str, pooling: str, normalise: bool, length: int = 24) -> np.ndarray:
    """One text at a time, no padding, transformers' own BERT."""
    from tokenizers import Tokenizer
    from transformers import BertModel

    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    fast.encode_special_tokens = True
    fast.enable_truncation(length)
    with torch.no_grad():
        hidden = model(torch.tensor([fast.encode(text).ids])).last_hidden_state[0]
    vector = {
        "cls": lambda: hidden[0],
        "mean": lambda: hidden.mean(0),
        "max": lambda: hidden.max(0).values,
        "lasttoken": lambda: hidden[-1],
        "mean_sqrt_len_tokens": lambda: hidden.sum(0) / len(hidden) ** 0.5,
    }[pooling]()
    return (vector / vector.norm() if normalise else vector).numpy()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("own_forward", [True, False])
@pytest.mark.parametrize(
    ("pooling", "config"),
    [
        ("mean", {"pooling_mode_mean_tokens": True}),
        ("cls", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
        ("max", {"pooling_mode": "max"}),
        ("lasttoken", {"pooling_mode_lasttoken": True}),
        ("mean_sqrt_len_tokens", {"pooling_mode_mean_sqrt_len_tokens": True}),
    ],
)
@pytest.mark.parametrize("normalise", [True, False])
def test_vectors_equal_one_text_at_a_time_by_hand(tmp_path, monkeypatch, own_forward, pooling, config, normalise):
    folder = write_bert(tmp_path)
    write_modules(folder, config, normalise=normalise)
    if not own_forward:
        monkeypatch.setattr("ragdecode.models.bert.is_plain_bert", lambda _: False)
    encoder = load_encoder(tiny.path_spec(folder, kind="encoder"), device="cpu")
    vectors = encoder.encode(TEXTS, batch_size=4)
    expected = np.stack([by_hand(folder, text, pooling, normalise) for text in TEXTS])
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimension)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-5)
    assert encoder.normalised is normalise
    assert encoder.max_tokens == 24


def test_order_batches_and_progress(bert):
    encoder = load_encoder(tiny.path_spec(bert, kind="encoder"), device="cpu")
    together, seen = encoder.encode(TEXTS), []
    apart = encoder.encode(TEXTS, batch_size=1, progress=lambda stage, done, total: seen.append((done, total)))
    np.testing.assert_allclose(together, apart, atol=1e-6)
    assert seen == [(count, len(TEXTS)) for count in range(1, len(TEXTS) + 1)]
    assert encoder.encode([]).shape == (0, 32)


def test_text_cannot_write_the_separator(bert):
    encoder = load_encoder(tiny.path_spec(bert, kind="encoder"), device="cpu")
    plain, forged = encoder.encode(["xyz rome", "xyz [SEP] rome"])
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(bert / "tokenizer.json"))
    assert fast.encode("xyz [SEP] rome").ids.count(3) == 2
    (batch,) = encoder._inputs.batches(["xyz [SEP] rome"], 1)
    assert batch.ids[0].tolist().count(3) == 1
    assert not np.allclose(plain, forged)


def test_prompts_are_put_before_texts_by_role(bert):
    names = {"prompts": {"query": "question ", "document": ""}, "default_prompt_name": None}
    (bert / "config_sentence_transformers.json").write_text(json.dumps(names))
    encoder = load_encoder(tiny.path_spec(bert, kind="encoder"), device="cpu")
    np.testing.assert_array_equal(encoder.encode(["rome"], role="query"), encoder.encode(["question rome"]))
    assert not np.allclose(encoder.encode(["rome"], role="query"), encoder.encode(["rome"]))


def test_modules_that_are_not_known_are_refused(bert):
    entries = json.loads((bert / "modules.json").read_text())
    (bert / "modules.json").write_text(
        json.dumps([*entries, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}])
    )
    with pytest.raises(InputError, match="Dense"):
        load_encoder(tiny.path_spec(bert, kind="encoder"))
    entries[1]["path"] = "../elsewhere"
    (bert / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match="outside the model"):
        load_encoder(tiny.path_spec(bert, kind="encoder"))
    write_modules(bert, {"pooling_mode": "weightedmean"}, normalise=True)
    with pytest.raises(InputError, match="weightedmean"):
        load_encoder(tiny.path_spec(bert, kind="encoder"))


def test_fingerprint_follows_weights_and_modules(bert, tmp_path):
    first = load_encoder(tiny.path_spec(bert, kind="encoder")).fingerprint
    other = write_bert(tmp_path / "other", seed=1)
    write_modules(other, {"pooling_mode_mean_tokens": True}, normalise=True)
    assert load_encoder(tiny.path_spec(other, kind="encoder")).fingerprint != first
    write_modules(bert, {"pooling_mode_cls_token": True}, normalise=True)
    assert load_encoder(tiny.path_spec(bert, kind="encoder")).fingerprint != first


def test_another_kind_of_model_is_refused(bert):
    with pytest.raises(InputError, match="expected an encoder"):
        load_encoder(tiny.path_spec(bert))
    with pytest.raises(InputError, match="expected a cross-encoder"):
        load_cross_encoder(tiny.path_spec(bert))


@pytest.mark.parametrize("labels", [1, 2])
def test_cross_encoder_scores_equal_one_pair_at_a_time_by_hand(tmp_path, labels):
    from tokenizers import Tokenizer
    from transformers import BertForSequenceClassification

    folder = write_bert(tmp_path, kind="cross_encoder", labels=labels)
    pairs = [
        ("the capital of france?", "paris"),
        ("rome", "a passage " * 40),
        ("", ""),
        ("italy", "rome is the capital"),
    ]
    encoder = load_cross_encoder(tiny.path_spec(folder, kind="cross_encoder"), device="cpu")
    scores = encoder.score(pairs, batch_size=3)
    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    fast.enable_truncation(40)
    for score, pair in zip(scores, pairs, strict=True):
        encoding = fast.encode(*pair)
        with torch.no_grad():
            logits = model(torch.tensor([encoding.ids]), token_type_ids=torch.tensor([encoding.type_ids])).logits[0]
        expected = logits[0] if labels == 1 else torch.log_softmax(logits, -1).diff()[0]
        assert score == pytest.approx(float(expected), abs=1e-5)
    assert encoder.max_tokens == 40


def test_a_classifier_of_many_labels_is_no_cross_encoder(tmp_path):
    folder = write_bert(tmp_path, kind="cross_encoder", labels=3)
    with pytest.raises(InputError, match="3 labels"):
        load_cross_encoder(tiny.path_spec(folder, kind="cross_encoder"))
