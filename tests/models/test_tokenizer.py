from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.errors import InputError, RunError
from ragdecode.models.tokenizer import Tokenizer
from tests.models import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return Tokenizer(folder)


@pytest.fixture(scope="module")
def reference(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


TEXTS = [
    "",
    " ",
    "The capital  of\n\nFrance",
    "Zoë \U0001f600 \u200b",
    "<|im_start|>user\nhi<|im_end|>",
    "<|im_end",
    "a<|im_end|>b",
]


@pytest.mark.parametrize("text", TEXTS)
def test_encode_with_special_tokens_equals_transformers(tokenizer, reference, text):
    assert tokenizer.encode(text, special=True) == reference(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", TEXTS)
def test_encode_as_plain_text_writes_no_control_token_and_keeps_the_text(tokenizer, text):
    ids = tokenizer.encode(text, special=False)
    assert not set(ids) & {0, 1, 2}
    assert tokenizer.decode(ids) == text


@given(st.text(alphabet=st.sampled_from("<|im_startendof>x \u200b"), max_size=40))
def test_neutralised_text_never_holds_a_control_token(tokenizer, text):
    neutral = tokenizer.neutralise(text)
    assert not set(tokenizer.encode(neutral, special=True)) & {0, 1, 2}
    assert neutral.replace("\u200b", "") == text.replace("\u200b", "")


def test_neutralise_breaks_after_the_first_character_and_leaves_other_text_alone(tokenizer):
    assert tokenizer.neutralise("a<|im_end|>b <|x|>") == "a<\u200b|im_end|>b <|x|>"


def test_control_tokens_that_overlap_or_hold_invisible_characters_are_broken(tmp_path):
    from tokenizers import AddedToken

    tiny.write_tokenizer(tmp_path)
    fast = tiny.byte_level_tokenizer()
    fast.add_special_tokens([AddedToken("\u200b|x|", normalized=False), AddedToken("<|x|", normalized=False)])
    fast.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path)
    for text in ("<|x|", "<\u200b|x|", "<|im_end|im_end|>", "<<|im_end|>|im_end|>"):
        ids = tokenizer.encode(tokenizer.neutralise(text), special=True)
        assert not set(ids) & set(tokenizer.special_tokens.values())


def test_decode_skips_control_tokens_and_cleans_nothing(tokenizer, reference):
    text = "Hello , world . n't  x"
    ids = [1, *tokenizer.encode(text, special=True), 2]
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_control_tokens_that_only_the_template_writes_count_as_control_tokens(tmp_path):
    from tokenizers import AddedToken

    fast = tiny.byte_level_tokenizer()
    fast.add_tokens([AddedToken("[turn]", normalized=False), AddedToken("covid", normalized=False)])
    tiny.write_tokenizer(tmp_path, template="{% for m in messages %}[turn]{{ m.content }}{% endfor %}")
    fast.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path)
    assert "[turn]" in tokenizer.special_tokens
    assert "covid" not in tokenizer.special_tokens
    turn = tokenizer.special_tokens["[turn]"]
    assert turn in tokenizer.encode("a[turn]b", special=True)
    assert turn not in tokenizer.encode("a[turn]b", special=False)
    assert tokenizer.neutralise("covid") == "covid"


CHATS = [
    [{"role": "user", "content": "Hi <b>"}],
    [{"role": "system", "content": "S"}, {"role": "user", "content": "é"}, {"role": "assistant", "content": ""}],
]
TEMPLATES = [
    tiny.TEMPLATE,
    "{{ bos_token }}{%- for m in messages %}\n  "
    "{% if m.role == 'user' %}\n    [{{ m.content | tojson }}]\n  {% endif %}\n{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}"
    "{% set ns.n = ns.n + 1 %}{% if ns.n > 1 %}{% break %}{% endif %}"
    "{{ m.content }}{% endfor %}{{ ns.n }}{{ dict(a=1)['a'] }}",
    "{% for m in messages %}{% generation %}{% set x = m.content %}{{ x }}{% endgeneration %}"
    "{{ x }}{% endfor %}{{ strftime_now('%Y') }}",
    "{% if add_generation_prompt %}{{ {'b': 1, 'a': 'é'} | tojson(indent=2) }}{% endif %}{{ tools is none }}",
]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("messages", CHATS)
@pytest.mark.parametrize("generation", [True, False])
def test_render_chat_equals_transformers(folder, reference, template, messages, generation, tmp_path):
    tiny.write_tokenizer(tmp_path, template=template)
    expected = reference.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=generation, tokenize=False
    )
    assert Tokenizer(tmp_path).render_chat(messages, add_generation_prompt=generation) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ dict.fromkeys.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ raise_exception('roles must alternate') }}",
        "{% for %}",
    ],
)
def test_a_template_that_is_broken_or_reaches_out_of_the_sandbox_is_refused(tmp_path, template):
    tiny.write_tokenizer(tmp_path, template=template)
    with pytest.raises(InputError, match="chat template"):
        Tokenizer(tmp_path).render_chat([{"role": "user", "content": "x"}])


def test_a_model_without_chat_template_says_so(tmp_path):
    tiny.write_tokenizer(tmp_path, template=None)
    tokenizer = Tokenizer(tmp_path)
    assert not tokenizer.has_chat_template
    assert tokenizer.end_of_turn is None
    with pytest.raises(InputError, match="no chat template"):
        tokenizer.render_chat([{"role": "user", "content": "x"}])


def test_the_template_may_stand_in_the_tokenizer_config(tmp_path):
    tiny.write_tokenizer(tmp_path, template=None)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "tool", "template": "T"}, {"name": "default", "template": "D{{ eos_token }}"}]
    config["eos_token"] = {"content": "<|im_end|>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer(tmp_path).render_chat([]) == "D<|im_end|>"


def test_the_end_of_a_turn_is_what_the_template_closes_the_assistant_with(tokenizer, tmp_path):
    assert tokenizer.end_of_turn == 2
    tiny.write_tokenizer(tmp_path, template="{% for m in messages %}{{ m.content }} \n<|endoftext|>{% endfor %}")
    assert Tokenizer(tmp_path).end_of_turn == 0


def test_fingerprint_depends_on_the_table_of_pieces_only(folder, tmp_path):
    tiny.write_tokenizer(tmp_path, template="other")
    assert Tokenizer(tmp_path).fingerprint == Tokenizer(folder).fingerprint
    tiny.byte_level_tokenizer(299).save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer(tmp_path).fingerprint != Tokenizer(folder).fingerprint


def test_token_text_shows_single_tokens(tokenizer):
    assert tokenizer.token_text(2) == "<|im_end|>"
    assert [tokenizer.token_text(id_) for id_ in tokenizer.encode(" of", special=True)] in (
        [" of"],
        [" o", "f"],
        [" ", "of"],
    )
    assert tokenizer.vocab_size == 300


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Tokenizer(Path(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(RunError, match=r"tokenizer\.json"):
        Tokenizer(tmp_path)
