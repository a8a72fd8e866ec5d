"""Contrasting rules from YAML to the answer: the views they bring, what they do without evidence, what is refused."""

from __future__ import annotations

import json
import re

import pytest

from ragdecode.errors import InputError, SpecError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec import catalogue
from ragdecode.spec.explanation import explanation
from ragdecode.spec.load import load_document, load_pipeline
from ragdecode.spec.view_plan import planned_views, step_cost
from tests.pipeline import tiny_app

PASSAGES = tuple(
    Passage(f"p{rank}", "book", text, 0.0, rank)
    for rank, text in enumerate(["The bridge has twelve arches.", "The river floods in spring."], start=1)
)
QUESTION = "How many arches has the bridge?"
RECIPES = ["acd", "acd-plausible", "adacad", "coiecd", "cd", "cd-reasoning", "scd", "instructive", "induced",
           "leading_query"]  # fmt: skip
OWN = {"instructive": "noisy_instruction", "induced": "induced", "leading_query": "leading_query"}
#: of each rule with a view of its own, what its prompt says and no other does
SAYS = {"instructive": "the opposite of", "induced": "fabricated information", "leading_query": "agree with me"}


def plain(make):
    return make({"max_new_tokens": 14})


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_of_the_catalogue_decode_and_their_drafts_change_nothing(make, recipe):
    decode = load_document("decoding", recipe).spec.model_dump(mode="json")
    if "amateur" in decode["views"]:
        decode["views"]["amateur"]["intervention"] = {"exit": 0}  # the tiny model has two blocks
    decode |= {"max_new_tokens": 12}
    drafted = make(decode).ask(QUESTION, passages=PASSAGES)
    undrafted = make(decode | {"draft": []}).ask(QUESTION, passages=PASSAGES)
    assert drafted.token_ids == undrafted.token_ids
    assert sum(drafted.stats.asked.values()) > 0
    assert undrafted.token_ids != plain(make).ask(QUESTION, passages=PASSAGES).token_ids[:12]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_load_with_the_default_model(app, recipe):
    file = tiny_app.write_pipeline(app, "p", model="smollm2-135m", prompt="grounded", decode=recipe)
    spec = load_pipeline(file).spec
    cost = step_cost(spec)
    assert (cost.passes, cost.rows) == (1, 1 if "cd" in recipe.split("-") or recipe == "scd" else 2)


@pytest.mark.parametrize("rule", OWN)
def test_a_rule_brings_its_view_with_the_catalogues_prompt(make, rule):
    pipeline = make({"rule": rule})
    prompts = pipeline.prepare(DecodeRequest("a", question=QUESTION, passages=PASSAGES)).prompts
    assert list(prompts) == ["with_context", OWN[rule]]
    for text in (SAYS[rule], QUESTION, *(passage.text for passage in PASSAGES)):
        assert text in prompts[OWN[rule]].text
    assert SAYS[rule] not in prompts["with_context"].text


def without_instruction(prompt):
    """The messages of a catalogue prompt but for the words that differ from `grounded`."""
    spec = load_document("prompts", catalogue.find("prompts", prompt)).spec
    return [message.content for message in spec.messages]


def test_the_catalogues_weak_prompts_differ_from_grounded_in_the_instruction_alone():
    system, user = without_instruction("grounded")
    for name in ("opposite", "fabricate"):
        assert without_instruction(name)[1] == user
        assert without_instruction(name)[0] != system
    leading = without_instruction("leading")
    assert (leading[0], leading[1].startswith(user)) == (system, True)


@pytest.mark.parametrize("rule", OWN)
def test_own_prompts_models_and_views(make, app, tmp_path, rule):
    weak = tiny_app.write_model(tmp_path / "weak", seed=4)
    own = {"messages": [{"role": "user", "content": "Weakly: {{ question }}"}]}
    model = {"name": "weak", "source": {"path": {"path": str(weak)}}}
    request = DecodeRequest("a", question=QUESTION, passages=PASSAGES)
    prompts = make({"rule": {rule: {"prompt": own}}}).prepare(request).prompts
    assert "Weakly: How many" in prompts[OWN[rule]].text
    # a weak model reads the pipeline's own prompt
    taught = make({"rule": {rule: {"model": model}}})
    prepared = taught.prepare(request)
    assert prepared.prompts[OWN[rule]].ids == prepared.prompts["with_context"].ids
    assert prepared.request.views[OWN[rule]].model == OWN[rule]
    answer = taught.ask(QUESTION, passages=PASSAGES)
    assert answer.stats.forward_rows == 2 * answer.stats.steps
    # a declared view in its place
    declared = make({"rule": {rule: {"view": "mine"}}, "views": {"mine": {"prompt": own}}})
    assert list(declared.prepare(request).prompts) == ["with_context", "mine"]


def test_exact_prompts_bring_the_views_that_have_prompts_of_their_own(make, tmp_path):
    pipeline = make({"rule": "instructive"})
    line = DecodeRequest("a", prompts={"with_context": "So", "noisy_instruction": "Not so"})
    assert list(pipeline.prepare(line).prompts) == ["with_context", "noisy_instruction"]
    with pytest.raises(InputError, match="the view noisy_instruction is missing"):
        pipeline.prepare(DecodeRequest("a", prompts={"with_context": "So"}))
    # a weak model with the pipeline's prompt reads what the target reads
    weak = tiny_app.write_model(tmp_path / "weak", seed=4)
    model = {"name": "weak", "source": {"path": {"path": str(weak)}}}
    taught = make({"rule": {"induced": {"model": model}}})
    prompts = taught.prepare(DecodeRequest("a", prompts={"with_context": "So"})).prompts
    assert prompts["induced"].ids == prompts["with_context"].ids


def test_a_weak_model_with_a_shorter_window_refuses_a_prompt_that_it_cannot_read(make, tmp_path):
    weak = tiny_app.write_model(tmp_path / "weak", seed=4)
    config = json.loads((weak / "config.json").read_text()) | {"max_position_embeddings": 40}
    (weak / "config.json").write_text(json.dumps(config))
    model = {"name": "weak", "source": {"path": {"path": str(weak)}}}
    pipeline = make({"rule": {"induced": {"model": model}}})
    pipeline.prepare(DecodeRequest("a", prompts={"with_context": "So"}))
    with pytest.raises(InputError, match="the prompt of the view induced is too long"):
        pipeline.prepare(DecodeRequest("a", prompts={"with_context": "word " * 60}))


@pytest.mark.parametrize("rule", ["cad", "acd", "adacad", "coiecd", {"plausible": {"of": "union"}}])
def test_without_passages_contrasts_of_evidence_do_not_act(make, rule):
    answer = make({"rule": rule, "max_new_tokens": 14}).ask(QUESTION)
    assert answer.token_ids == plain(make).ask(QUESTION).token_ids
    assert any("did not act: there are no passages" in note for note in answer.notes)
    assert answer.stats.forward_rows == answer.stats.steps


@pytest.mark.parametrize("rule", OWN)
def test_without_passages_rules_with_prompts_of_their_own_act(make, rule):
    answer = make({"rule": rule, "max_new_tokens": 14}).ask(QUESTION)
    assert answer.token_ids != plain(make).ask(QUESTION).token_ids
    assert not any("did not act" in note for note in answer.notes)


def test_a_contrast_of_passages_alone_needs_them_and_an_early_exit_does_not(make):
    contrast = {"contrast": {"amateur": "amateur"}}
    passages = make({"rule": contrast, "views": {"amateur": {"passages": {"top_k": 0}}}}).ask(QUESTION)
    early = make({"rule": contrast, "views": {"amateur": {"intervention": {"exit": 0}}}}).ask(QUESTION)
    assert any("rule contrast did not act" in note for note in passages.notes)
    assert not any("did not act" in note for note in early.notes)


def test_a_contrast_of_two_models(make, tmp_path):
    weak = tiny_app.write_model(tmp_path / "weak", seed=4)
    views = {"amateur": {"model": {"name": "weak", "source": {"path": {"path": str(weak)}}}}}
    decode = {"rule": {"contrast": {"amateur": "amateur"}}, "views": views, "max_new_tokens": 14}
    answer = make(decode).ask(QUESTION, passages=PASSAGES)
    drafted = make(decode | {"draft": {"view": {"name": "amateur"}}}).ask(QUESTION, passages=PASSAGES)
    assert drafted.token_ids == answer.token_ids != plain(make).ask(QUESTION, passages=PASSAGES).token_ids
    assert drafted.stats.drafted > 0


def test_an_amateur_with_another_vocabulary_is_refused_when_models_open(make, tmp_path):
    weak = tiny_app.write_model(tmp_path / "weak", seed=4)
    tokenizer = json.loads((weak / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.get)[40:42]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (weak / "tokenizer.json").write_text(json.dumps(tokenizer))
    model = {"name": "weak", "source": {"path": {"path": str(weak)}}}
    for decode, place in (
        ({"rule": {"contrast": {"amateur": "amateur"}}, "views": {"amateur": {"model": model}}}, "views.amateur"),
        ({"rule": {"induced": {"model": model}}}, "rule.induced"),
    ):
        with pytest.raises(InputError, match="another vocabulary") as caught:
            make(decode).ask(QUESTION)
        assert re.search(rf"\.yaml:\d+: decode\.{place}: the model of the view", str(caught.value))
        assert "match: auto" not in str(caught.value)  # that is for drafters


def test_explain_names_the_views_that_rules_bring(app):
    loaded = load_pipeline(tiny_app.write_pipeline(app, "p", decode={"rule": ["cad", "instructive"]}))
    views = {view.name: view.rules for view in planned_views(loaded.spec.decode)}
    assert views == {"with_context": (), "without_context": ("cad",), "noisy_instruction": ("instructive",)}
    shown = [(view["name"], view["prompt"], view["passages"]) for view in explanation(loaded)["views"]]
    assert shown == [
        ("with_context", "inline", "all"),
        ("without_context", "inline", "none"),
        ("noisy_instruction", "opposite", "all"),
    ]
    assert explanation(loaded)["step"]["rows"] == 3


EXIT = {"amateur": {"intervention": {"exit": 0}}}
CONTRAST = {"contrast": {"amateur": "amateur"}}
HEADS = {"heads": [{"layer": 0, "head": 1}]}
BAD = [
    ({"rule": ["cad", "acd"]}, "'cad' and 'acd' cannot go together: both reweigh the evidence"),
    ({"rule": ["adacad", "plausible", "coiecd"]}, "'adacad' and 'coiecd' cannot go together"),
    ({"rule": {"acd": {"alpha": 1}}}, "alpha"),
    ({"rule": {"acd": {"against": "elsewhere"}}}, "asks for the view 'elsewhere', which is not declared"),
    ({"rule": CONTRAST}, "asks for the view 'amateur', which is not declared"),
    ({"rule": {"contrast": {"amateur": "amateur", "expert": "exprt"}}, "views": EXIT}, "the view 'exprt'"),
    ({"rule": {"contrast": {"amateur": "with_context"}}}, "is the expert itself"),
    ({"rule": "contrast"}, "amateur"),
    (
        {"rule": ["cad", {"contrast": {"amateur": "amateur", "expert": "e"}}], "views": EXIT | {"e": {}}},
        "begins from the view 'e': what 'cad' makes would be lost",
    ),
    ({"rule": {"contrast": {"amateur": "amateur", "form": "li", "ratio": 0}}, "views": EXIT}, "set a ratio"),
    ({"rule": {"instructive": {"epsilon": 1.5}}}, "epsilon"),
    ({"rule": {"instructive": {"prompt": "oposite"}}}, "opposite"),
    ({"rule": {"instructive": {"view": "mine"}}}, "asks for the view 'mine', which is not declared"),
    ({"rule": {"instructive": {"view": "mine", "prompt": "opposite"}}, "views": {"mine": {}}}, "decode.views.mine"),
    ({"rule": "instructive", "views": {"noisy_instruction": {}}}, "brings the view 'noisy_instruction' itself"),
    ({"rule": {"induced": {"model": "minilm"}}}, "is a model of kind encoder"),
    ({"rule": {"leading_query": {"neutral": "calm"}}}, "asks for the view 'calm', which is not declared"),
    ({"rule": {"plausible": {"of": "both"}}}, "union"),
    (
        {"rule": {"lol": {"view": "amateur"}}, "views": EXIT},
        "reads lower layers of the view 'amateur', which is an early",
    ),
    ({"rule": {"decore": {"heads": HEADS, "top": 3}}}, "top: 3 asks for more heads than the list has, which is 1"),
    ({"rule": CONTRAST, "views": {"amateur": {"intervention": {"heads": {"list": HEADS, "top": 2}}}}}, "top: 2 asks"),
]


@pytest.mark.parametrize(("decode", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_go_together_is_refused_with_its_file_before_anything_loads(app, decode, message):
    file = tiny_app.write_pipeline(app, "bad", decode=decode)
    with pytest.raises(SpecError, match=message) as caught:
        load_pipeline(file)
    assert "bad.yaml:1" in str(caught.value)


@pytest.mark.parametrize("layer", [2, 99])
def test_an_exit_that_the_model_does_not_have_is_refused_at_load(make, layer):
    with pytest.raises(InputError, match="the model has blocks 0 to 1"):
        make({"rule": CONTRAST, "views": {"amateur": {"intervention": {"exit": layer}}}}).ask(QUESTION)
