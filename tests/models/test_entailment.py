from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ragdecode.errors import InputError
from ragdecode.models.entailment import load_entailment
from tests.models import tiny
from tests.models.test_encoder import write_bert

PAIRS = [
    ("the capital of france is paris.", "paris is the capital"),
    ("rome and italy " * 30, "the capital of italy is rome."),
    ("", "a question?"),
]


def write_nli(folder: Path, labels: list[str]) -> Path:
    write_bert(folder, kind="cross_encoder", labels=len(labels))
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(at): label for at, label in enumerate(labels)}
    config["label2id"] = {label: at for at, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("labels", "refuted", "entailed"),
    [
        (["contradiction", "neutral", "entailment"], 0, 2),
        (["ENTAILMENT", "NEUTRAL", "CONTRADICTION"], 2, 0),
        (["entailment", "not_entailment"], 1, 0),
        (["Non-entailment", "Entailment"], 0, 1),
    ],
)
def test_probabilities_equal_those_of_the_stock_model(
    tmp_path: Path, labels: list[str], refuted: int, entailed: int
) -> None:
    from tokenizers import Tokenizer
    from transformers import BertForSequenceClassification

    folder = write_nli(tmp_path, labels)
    model = load_entailment(tiny.path_spec(folder, kind="cross_encoder"), device="cpu")
    made = model.probability(PAIRS, batch_size=2)
    stock = BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    fast.enable_truncation(40)
    for value, pair in zip(made, PAIRS, strict=True):
        encoding = fast.encode(*pair)
        with torch.no_grad():
            logits = stock(torch.tensor([encoding.ids]), token_type_ids=torch.tensor([encoding.type_ids])).logits[0]
        # the neutral logit is discarded before the softmax
        expected = torch.softmax(logits[[refuted, entailed]].double(), -1)[1]
        assert value == pytest.approx(float(expected), abs=1e-5)
    assert model.max_tokens == 40
    assert len(model.probability([])) == 0


@pytest.mark.parametrize(
    "labels",
    [
        ["LABEL_0", "LABEL_1", "LABEL_2"],
        ["entailment", "neutral"],
        ["entailment", "contradiction", "irrelevant"],
        ["relevance"],
    ],
)
def test_other_classifiers_are_refused(tmp_path: Path, labels: list[str]) -> None:
    folder = write_nli(tmp_path, labels)
    with pytest.raises(InputError, match=f"its labels are {', '.join(labels)}") as caught:
        load_entailment(tiny.path_spec(folder, kind="cross_encoder"))
    assert "id2label" in str(caught.value.hint)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a cross-encoder"):
        load_entailment(tiny.path_spec(write_nli(tmp_path, ["entailment", "contradiction"]), kind="encoder"))


@pytest.mark.parametrize("family", ["roberta", "mpnet", "bert"])
def test_long_pairs_are_cut_where_the_table_of_positions_ends(tmp_path: Path, family: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    write_nli(tmp_path, ["contradiction", "neutral", "entailment"])
    old = json.loads((tmp_path / "config.json").read_text())
    sizes = {name: old[name] for name in ("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers")}
    labels = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}, "num_labels": 3}
    config = AutoConfig.for_model(
        family, **sizes, **labels, intermediate_size=16, max_position_embeddings=34, pad_token_id=1, type_vocab_size=1
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer_config.json").read_text())
    tokenizer.pop("model_max_length", None)  # many do not say it
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    model = load_entailment(tiny.path_spec(tmp_path, kind="cross_encoder"), device="cpu")
    assert model.max_tokens == (34 if family == "bert" else 32)
    assert 0 < model.probability([("rome and italy " * 30, "the capital")])[0] < 1
