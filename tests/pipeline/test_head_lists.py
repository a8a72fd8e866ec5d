"""Head lists and detectors in a pipeline: refused for other models, quiet where there is nothing to look at."""

from __future__ import annotations

import json

import pytest

from ragdecode.errors import InputError
from ragdecode.models.catalogue import find_model
from ragdecode.models.causal import load_causal
from ragdecode.models.weights import heads_fingerprint
from tests.models import tiny

LIST = [{"layer": 0, "head": 1}, {"layer": 1, "head": 0}]
DETECTOR = {"intercept": 0.5, "heads": [{"layer": 1, "head": 0, "coefficient": 1.0}]}
PASSAGES = ["The bridge of Tollin has 12 arches.", "The cheese of Morvan is blue."]


@pytest.mark.parametrize(
    "decode",
    [
        {"rule": {"decore": {"heads": {"model": "feedfeedfeedfeed", "heads": LIST}}}},
        {"rule": {"dagcd": {"detector": {"model": "feedfeedfeedfeed", **DETECTOR}}}},
        {
            "rule": {"contrast": {"amateur": "off"}},
            "views": {"off": {"intervention": {"heads": {"list": {"model": "feedfeedfeedfeed", "heads": LIST}}}}},
        },
    ],
)
def test_what_was_made_for_another_model_is_refused(make, decode):
    pipeline = make(decode)
    with pytest.raises(InputError, match="made for another model: its fingerprint is feedfeedfeedfeed, the model's"):
        pipeline.ask("What is blue?", passages=PASSAGES)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ({"rule": {"decore": {"heads": {"heads": [{"layer": 9, "head": 0}]}}}}, "head 0 of layer 9"),
        ({"rule": {"dagcd": {"detector": {**DETECTOR, "heads": [{"layer": 0, "head": 99, "coefficient": 1}]}}}},
         "head 99 of layer 0"),
    ],
)  # fmt: skip
def test_heads_that_do_not_exist_are_refused(make, decode, message):
    with pytest.raises(InputError, match=message):
        make(decode).ask("What is blue?", passages=PASSAGES)


def test_a_backend_that_cannot_do_it_is_refused(make):
    engine = {"device": "cpu", "dtype": "float64", "backend": "transformers"}
    for rule in ({"decore": {"heads": {"heads": LIST}}}, {"dagcd": {"detector": DETECTOR}}):
        with pytest.raises(InputError, match="this backend"):
            make({"rule": rule}, engine=engine).ask("What is blue?", passages=PASSAGES)


def test_the_models_own_lists_are_taken(make, tiny_model):
    mark = heads_fingerprint(tiny_model)
    rules = [
        {"decore": {"heads": {"model": mark, "heads": LIST}, "how": "uniform"}},
        {"dagcd": {"detector": {"model": mark, **DETECTOR}, "alpha": 50}},
    ]
    plain = make().ask("What is blue?", passages=PASSAGES).answer
    for rule in rules:
        answer = make({"rule": rule}).ask("What is blue?", passages=PASSAGES)
        assert answer.answer != plain
        assert not answer.notes


def test_without_passages_dagcd_leaves_the_model_alone_and_says_so(make):
    pipeline, plain = make({"rule": {"dagcd": {"detector": DETECTOR, "alpha": 50}}}), make()
    found = pipeline.ask("What is blue?", passages=[])
    assert found.answer == plain.ask("What is blue?", passages=[]).answer
    assert any("not known where the prompt shows passages" in note for note in found.notes)


def test_fingerprints_tell_models_apart_and_not_files(tmp_path, tiny_model):
    from safetensors.torch import load_file, save_file

    tensors = load_file(tiny_model / "model.safetensors")
    for name, change in (("same", {}), ("half", {}), ("other", {"model.layers.1.self_attn.q_proj.weight": 1.01})):
        folder = tmp_path / name
        tiny.write_llama(folder, 0)
        changed = {key: tensor * change.get(key, 1) for key, tensor in reversed(tensors.items())}
        if name == "half":
            changed = {key: tensor.bfloat16() for key, tensor in changed.items()}
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt", "note": name})
    own = heads_fingerprint(tiny_model)
    assert heads_fingerprint(tmp_path / "same") == heads_fingerprint(tmp_path / "half") == own
    assert heads_fingerprint(tmp_path / "other") != own
    (tmp_path / "m.yaml").write_text(json.dumps({"kind": "causal", "source": {"path": {"path": str(tiny_model)}}}))
    assert load_causal(find_model(str(tmp_path / "m.yaml"))).heads_fingerprint == own
