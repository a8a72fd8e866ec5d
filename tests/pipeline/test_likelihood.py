"""Log-probabilities of texts, against the stock model."""

from __future__ import annotations

import pytest
import torch

from ragdecode.errors import InputError, RunError
from tests.pipeline.tiny_app import DOCUMENTS

PAIRS = [("The bridge of", " Tollin has 12 arches."), ("x", " y"), ("cheese " * 400, " blue")]


def test_log_probs_equal_the_stock_models(make, tiny_model):
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    pipeline = make()
    stock = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float64).eval()
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    for (prefix, text), values in zip(PAIRS, pipeline.log_probs(PAIRS), strict=True):
        text_ids = tokenizer.encode(text, add_special_tokens=False).ids
        # a prefix that is too long loses its beginning
        prefix_ids = tokenizer.encode(prefix, add_special_tokens=False).ids[-(1024 - len(text_ids)) :]
        with torch.no_grad():
            logits = stock(torch.tensor([[*prefix_ids, *text_ids]])).logits[0, :, : tokenizer.get_vocab_size()]
        expected = torch.log_softmax(logits[len(prefix_ids) - 1 : -1], -1)[range(len(text_ids)), text_ids]
        # the stock model normalises in float32
        assert values == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_text_longer_than_the_window_is_refused(make):
    pipeline = make()
    with pytest.raises(InputError, match="longer than the model's window of 1024"):
        pipeline.log_probs([("a", " b" * 3000)])
    pipeline.close()
    with pytest.raises(RunError, match="is closed"):
        pipeline.log_probs([("a", " b")])


def test_a_chain_of_all_passage_stages_answers(make):
    stages = [
        {"bm25": {"top_k": 3}},
        {"filter": {"where": {"source": "*.md"}, "within": 100}},
        {"near_duplicates": {"overlap": 0.5}},
        {"rerank": {"by": "yes_no", "top_k": 3}},
        {"evidence": {"back_off": False, "keep_at_least": 3, "max_new_tokens": 2}},
        {"compress": {"tokens": 60}},
        {"budget": {"tokens": 50, "cut": "shorten"}},
        {"order": {"by": "document"}},
    ]
    pipeline = make(search=True, retrieve=stages)
    answer = pipeline.ask("How many arches has the bridge of Tollin?")
    assert answer.passages
    assert [passage.rank for passage in answer.passages] == list(range(1, len(answer.passages) + 1))
    tokens = [len(pipeline.tokenizer.encode(passage.text, special=False)) for passage in answer.passages]
    assert sum(tokens) <= 50
    for passage in answer.passages:
        if kept := passage.metadata.get("kept"):
            spans = [part.split("-") for part in kept.split(" ")]
            document = DOCUMENTS[passage.source]
            assert passage.text == " … ".join(document[int(start) : int(end)] for start, end in spans)
