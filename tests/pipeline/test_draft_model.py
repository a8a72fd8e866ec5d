"""Draft models in a pipeline: their prompts, other vocabularies, what is refused."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from ragdecode.decoding.request import TARGET
from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.turn import Turn
from ragdecode.spec.report import SpecError
from tests.models import tiny
from tests.pipeline import tiny_app

EVIDENCE = [Passage("a", "a.md", "The bridge of Tollin has 12 arches.", 1.0, 1)]
SAMPLINGS = [{}, {"temperature": 0.7, "seed": 2}, {"temperature": 1.0, "top_p": 0.9}]
QUESTIONS = ["How many arches?", "Where is the café?", "Who is Mr. Aven, the builder?"]


def write_foreign(folder: Path, *, kind: str = "byte_level", template: str | None = None, window: int = 1024) -> Path:
    """A small random model whose tokenizer knows other words, with no chat template of its own unless given."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    folder.mkdir()
    text = ["Bridges, arches and towers; cheese smells of hay. Where is who, how many are there?"] * 3
    if kind == "byte_level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        special, alphabet = ["<s>", "</s>"], pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        special, alphabet = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))], []
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text, trainer)
    setup = json.loads(tokenizer.to_str())
    setup["added_tokens"] = [token for token in setup["added_tokens"] if not token["content"].startswith("<0x")]
    (folder / "tokenizer.json").write_text(json.dumps(setup))
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    size = 1 + max(setup["model"]["vocab"].values())
    model = tiny.tiny_llama(11, size)
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.max_position_embeddings = window
    model.config.to_json_file(str(folder / "config.json"))
    tensors = {
        name: tensor * 8 if tensor.dim() == 2 else tensor
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def draft(folder: Path, **settings) -> dict:
    model = {"name": "small", "source": {"path": {"path": str(folder)}}}
    return {"draft_model": {"model": model, **settings}}


def answers(pipeline: Pipeline) -> list[list[int]]:
    return [list(pipeline.ask(question, passages=EVIDENCE).token_ids) for question in QUESTIONS]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["T0", "T0.7", "T1"])
def test_a_model_of_the_same_vocabulary_reads_the_targets_own_prompt(make, app, tmp_path, sampling):
    small = tiny_app.write_model(tmp_path / "small", 7)
    (small / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    (app / "configs" / "models").mkdir(parents=True)
    (app / "configs" / "models" / "small.yaml").write_text(
        json.dumps({"name": "small", "source": {"path": {"path": str(small)}}})
    )
    pipeline = make({"draft": {"draft_model": {"model": "small"}}, "sampling": sampling})
    assert answers(pipeline) == answers(make({"sampling": sampling}))
    answer = pipeline.ask(QUESTIONS[0], passages=EVIDENCE)
    assert answer.prompts["draft_model"] == answer.prompts[TARGET]
    assert answer.stats.drafted > 0


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
@pytest.mark.parametrize("match", ["auto", "strings", "intersection"])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["T0", "T0.7", "T1"])
def test_a_model_of_another_vocabulary_changes_speed_only(make, tmp_path, kind, match, sampling):
    small = write_foreign(tmp_path / "small", kind=kind)
    pipeline = make({"draft": draft(small, match=match, gain=0.0), "sampling": sampling})
    assert answers(pipeline) == answers(make({"sampling": sampling}))
    answer = pipeline.ask(QUESTIONS[0], passages=EVIDENCE)
    assert answer.stats.sources["draft_model"]["proposed"] > 0
    assert answer.prompts["draft_model"].startswith("<s>Answer from the passages.\n\n[1] The bridge")


def test_the_foreign_model_has_its_own_chat_template(make, tmp_path):
    small = write_foreign(tmp_path / "small", template="{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}!")
    pipeline = make({"draft": draft(small)})
    answer = pipeline.ask("Is <s> a word?", passages=EVIDENCE)
    shown = answer.prompts["draft_model"]
    assert shown.startswith("<s>Answer from the passages.</s><s>[1] The bridge")
    assert shown.endswith("</s>!")
    assert shown.count("<s>") == 2  # the question cannot open a turn of the draft model
    assert "Is <s> a word" in answer.prompts[TARGET]


def test_request_lines_need_no_prompt_for_the_draft_model(make, tmp_path):
    small = write_foreign(tmp_path / "small")
    pipeline, plain = make({"draft": draft(small)}), make()
    lines = [
        DecodeRequest("a", prompts={TARGET: "<|im_start|>user\nA café?<|im_end|>\n"}),
        DecodeRequest("b", question="How many?", passages=tuple(EVIDENCE)),
        DecodeRequest("c", messages=(Turn("user", "Where?"),)),
    ]
    assert pipeline.needs == ()
    drafted, undrafted = list(pipeline.decode(lines)), list(plain.decode(lines))
    assert [item.result.tokens for item in drafted] == [item.result.tokens for item in undrafted]
    assert all(item.result.stats.drafted for item in drafted)
    request = pipeline.prepare(lines[0])
    assert request.prompts["draft_model"].text == request.prompts[TARGET].text
    assert request.prompts["draft_model"].ids != request.prompts[TARGET].ids


def test_a_short_window_of_the_draft_model_never_cuts_what_the_target_shows(make, tmp_path):
    """Its own prompt is cut, and where not even the question fits, it does not draft."""
    long = [Passage(str(i), "a.md", "The bridge has 12 arches. " * 6, 1.0, i + 1) for i in range(4)]
    expected = make().ask(QUESTIONS[0], passages=long)
    for window, note in ((160, "view draft_model, for drafts only:"), (24, "drafter draft_model did not act")):
        small = write_foreign(tmp_path / f"small{window}", window=window)
        pipeline = make({"draft": draft(small)})
        answer = pipeline.ask(QUESTIONS[0], passages=long)
        assert answer.token_ids == expected.token_ids
        assert answer.prompts[TARGET] == expected.prompts[TARGET]
        assert any(note in told for told in answer.notes), (window, answer.notes)
        line = DecodeRequest("a", question=QUESTIONS[0], passages=tuple(long))
        assert next(iter(pipeline.decode([line]))).result.tokens == list(
            next(iter(make().decode([line]))).result.tokens
        )  # fmt: skip


def test_matching_by_tokens_needs_the_same_vocabulary(make, tmp_path):
    small = write_foreign(tmp_path / "small")
    pipeline = make({"draft": draft(small, match="tokens")})
    with pytest.raises(InputError, match="the view 'draft_model' has another vocabulary") as caught:
        pipeline.ask("Why?", passages=EVIDENCE)
    assert "match: auto" in str(caught.value)


def test_a_tokenizer_that_cannot_be_compared_is_refused(make, tmp_path):
    small = write_foreign(tmp_path / "small")
    setup = json.loads((small / "tokenizer.json").read_text())
    setup["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    (small / "tokenizer.json").write_text(json.dumps(setup))
    with pytest.raises(InputError, match="decodes with WordPiece does not tell which bytes"):
        make({"draft": draft(small)}).ask("Why?", passages=EVIDENCE)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ({"draft": {"draft_model": {"match": "auto"}}}, "model"),
        ({"draft": {"draft_model": {"model": "smollm2-135m", "match": "sounds"}}}, "match"),
        ({"draft": {"draft_model": {"model": "minilm"}}}, "kind encoder"),
        (
            {"draft": {"draft_model": {"model": "smollm2-135m"}}, "views": {"draft_model": {"role": "draft"}}},
            "brings the view 'draft_model'",
        ),
        (
            {
                "draft": {"draft_model": {"model": "smollm2-135m", "match": "strings"}},
                "sampling": {"temperature": 1.0},
                "verification": "rejection",
            },
            "draws",
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_loads(make, decode, message):
    with pytest.raises(SpecError, match=message):
        make(decode)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("layer_cut").cut


def test_a_cut_copy_drafts(make, tiny_model, tmp_path, cut):
    """All layers and tokens are the model itself; fewer are another model, fewer tokens another vocabulary."""
    whole = cut(tiny_model, tmp_path / "whole", None, None)
    assert whole["num_hidden_layers"] == 2
    assert cut(tiny_model, tmp_path / "shallow", 1, None)["num_hidden_layers"] == 1
    assert cut(tiny_model, tmp_path / "narrow", None, 280)["cut_from"]["tokens"] == 304
    assert max(json.loads((tmp_path / "narrow" / "tokenizer.json").read_text())["model"]["vocab"].values()) == 279
    expected = answers(make())
    accepted = {}
    for name in ("whole", "shallow", "narrow"):
        pipeline = make({"draft": draft(tmp_path / name, width=1, branch=1, gain=0.0)})
        assert answers(pipeline) == expected
        stats = [pipeline.ask(question, passages=EVIDENCE).stats for question in QUESTIONS]
        accepted[name] = sum(item.accepted for item in stats) / sum(item.drafted for item in stats)
    assert accepted["whole"] == 1.0
    assert accepted["shallow"] < 1.0
    for wrong in ((3, None), (None, 305), (None, 2)):
        with pytest.raises(InputError, match=r"layers and|cannot be cut"):
            cut(tiny_model, tmp_path / "wrong", *wrong)
