"""The shipped list of retrieval heads and the shipped detector belong to the default model and mean something."""

from __future__ import annotations

import random

import pytest

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.intervention import HeadMask
from ragdecode.evaluation.heads.copying import all_heads
from ragdecode.evaluation.heads.haystack import documentation, trials
from ragdecode.models.catalogue import find_model
from ragdecode.models.causal import load_causal
from ragdecode.pipeline.models import open_backend
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.spec.load import load_document
from ragdecode.spec.pipeline import EngineSpec

pytestmark = pytest.mark.real


def test_without_its_retrieval_heads_the_model_copies_worse_than_without_others():
    model = load_causal(find_model("smollm2-135m"))
    backend = open_backend(model, EngineSpec())
    spec = load_document("heads", "smollm2-135m").spec
    assert spec.model == load_document("detectors", "smollm2-135m").spec.model == backend.fingerprint
    best = [(one.layer, one.head) for one in spec.heads[:10]]
    rest = [head for head in all_heads(backend) if head not in best]
    rng = random.Random(0)
    off = [best, *(rng.sample(rest, 10) for _ in range(3))]
    means = [0.0] * len(off)
    tried = list(trials(model.tokenizer, documentation(), [120], 1, 2))
    for trial in tried:
        prompt, tokens = list(trial.prompt), [trial.prompt[-1], *trial.answer[:-1]]
        row = backend.open_row(len(prompt) + len(tokens))
        backend.forward([Segment(row, 0, prompt[:-1], range(len(prompt) - 1), None, ())])
        for place, heads in enumerate(off):
            mask = HeadMask(frozenset(heads))
            n = range(len(tokens))
            out = backend.forward([Segment(row, len(prompt) - 1, tokens, n, None, n, mask=mask)])
            log_probs = out.logits.float().log_softmax(-1)[n, list(trial.answer)]
            means[place] += float(log_probs.mean()) / len(tried)
    assert means[0] < min(means[1:]) - 0.5


@pytest.mark.parametrize("rule", ["decore", "dagcd"])
def test_the_recipes_answer(rule):
    passages = ["The bridge of Tollin was opened in 1907 by the engineer Mara Vent."]
    with Pipeline.load("plain", [f"decode={rule}", "decode.max_new_tokens=24"]) as pipeline:
        answer = pipeline.ask("Who opened the bridge of Tollin?", passages=passages)
    assert "Mara Vent" in answer.answer
    assert not answer.notes
