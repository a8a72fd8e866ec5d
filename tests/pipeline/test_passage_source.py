"""What the retrieval side of a pipeline lets its stages use."""

from __future__ import annotations

import pytest

from ragdecode.models.entailment import load_entailment
from ragdecode.spec.model import ModelSpec
from tests.models.test_entailment import write_nli

PAIRS = [("The bridge was built in 1889.", "The bridge is old."), ("It is blue.", "It is not blue.")]


def test_judges_of_entailment_are_opened_once(make, tmp_path):
    folder = write_nli(tmp_path / "nli", ["contradiction", "neutral", "entailment"])
    spec = ModelSpec.model_validate({"kind": "cross_encoder", "source": {"path": {"path": str(folder)}}})
    pipeline = make(search=True)
    pipeline._source.open()
    entailment = pipeline._source._chain.context.entailment
    judge = entailment(spec)
    assert judge(PAIRS) == pytest.approx(load_entailment(spec, device="cpu").probability(PAIRS).tolist())
    assert entailment(spec) is judge
    pipeline._source.close()
    assert entailment(spec) is not judge
