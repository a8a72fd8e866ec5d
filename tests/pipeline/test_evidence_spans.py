"""Where prompts show their passages: tokens of each, whatever the template, the text or the view."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragdecode.models.tokenizer import Tokenizer
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.prompts import PromptRenderer
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.turn import Turn
from ragdecode.pipeline.views import ViewPlan
from ragdecode.spec.prompt import PromptSpec
from tests.models import tiny
from tests.pipeline.tiny_app import PROMPT

TEMPLATES = {
    "list": "{% for p in passages %}[{{ p.rank }}] {{ p.text }}\n{% endfor %}Question: {{ question }}",
    "bare": "{% for p in passages %}{{ p.text }}{% endfor %}{{ question }}",
    "last": "{{ question }}{% for p in passages %}\n\n{{ p.source }}: {{ p.text }}{% endfor %}",
    "trim": "{% for p in passages %}<{{ p.text | trim }}>{% endfor %}{{ question }}",
    "reversed": "{% for p in passages | reverse %}{{ p.text }} / {% endfor %}{{ question }}",
    "some": "{% for p in passages if p.score > 0.2 %}{{ p.id }} {{ p.text }}. {% endfor %}{{ question }}",
    "twice": "{% for p in passages %}{{ p.text }} {% endfor %}and{% for p in passages %} {{ p.text }}{% endfor %}",
    "joined": "{{ passages | map(attribute='text') | join(' ## ') }}\n{{ question }}",
    "upper": "{% for p in passages %}{{ p.text | upper }}\n{% endfor %}{{ question }}",
}  # fmt: skip
TRIMMING = tiny.TEMPLATE.replace("message['content']", "message['content'] | trim")


@pytest.fixture(scope="session")
def tokenizer(tiny_model):
    return Tokenizer(tiny_model)


@pytest.fixture(scope="session")
def trimming(tmp_path_factory):
    """As the chat templates of the Llama family do."""
    folder = tmp_path_factory.mktemp("trimming")
    tiny.write_tokenizer(folder, template=TRIMMING)
    return Tokenizer(folder)


def passages(*texts, scores=()):
    marks = [*scores, *(1.0 / place for place in range(1 + len(scores), len(texts) + 1))]
    return [
        Passage(f"p{place}", f"s{place}", text, score, place)
        for place, (text, score) in enumerate(zip(texts, marks, strict=True), start=1)
    ]


def spec(template):
    return PromptSpec.model_validate({"messages": [{"role": "user", "content": template}]})


def render(tokenizer, template, shown, *, history=(), **plan):
    view = ViewPlan("v", spec(template), **plan)
    renderer = PromptRenderer([view], tokenizer)
    prompts = renderer.render([view], "Why?", shown, history)
    return renderer.with_evidence([view], "Why?", shown, history, prompts)["v"]


def covered(tokenizer, prompt):
    """The characters of each span, by the tokenizer's own offsets, and the passage."""
    offsets = tokenizer.fast.encode(prompt.text, add_special_tokens=False).offsets
    return [(prompt.text[offsets[one.start][0] : offsets[one.stop - 1][1]], one.passage) for one in prompt.evidence]


def exact(tokenizer, prompt, texts, order=None):
    """Each span holds its passage, and no token less would."""
    offsets = tokenizer.fast.encode(prompt.text, add_special_tokens=False).offsets
    assert [one.passage for one in prompt.evidence] == list(range(len(texts)) if order is None else order)
    end = 0
    for one in prompt.evidence:
        core = tokenizer.neutralise(texts[one.passage]).strip()
        start = prompt.text.index(core, end)
        end = start + len(core)
        assert offsets[one.start][0] <= start < offsets[one.start][1]
        assert offsets[one.stop - 1][0] < end <= offsets[one.stop - 1][1]


TEXTS = ["The bridge has 12 arches.", "  The tower\nis high.\n\n", "Paris, and the capital of Italy is Rome."]


@pytest.mark.parametrize("name", ["list", "bare", "last", "trim", "joined"])
def test_the_tokens_of_every_passage_are_found(tokenizer, trimming, name):
    for one in (tokenizer, trimming):
        prompt = render(one, TEMPLATES[name], passages(*TEXTS))
        exact(one, prompt, TEXTS)
        assert [span.score for span in prompt.evidence] == [1, 1 / 2, 1 / 3]


def test_a_template_may_reorder_leave_out_and_repeat(tokenizer):
    exact(tokenizer, render(tokenizer, TEMPLATES["reversed"], passages(*TEXTS)), TEXTS, [2, 1, 0])
    some = render(tokenizer, TEMPLATES["some"], passages(*TEXTS, scores=(0.5, 0.1, 0.9)))
    exact(tokenizer, some, TEXTS, [0, 2])
    assert [span.score for span in some.evidence] == [0.5, 0.9]
    exact(tokenizer, render(tokenizer, TEMPLATES["twice"], passages(*TEXTS)), TEXTS, [0, 1, 2, 0, 1, 2])


def test_a_template_that_changes_letters_is_followed(tokenizer):
    prompt = render(tokenizer, TEMPLATES["upper"], passages(*TEXTS))
    assert [text.strip() for text, _ in covered(tokenizer, prompt)] == [text.strip().upper() for text in TEXTS]


def test_where_a_template_does_more_nothing_is_claimed(tokenizer):
    for template in ("{% for p in passages %}{{ p.text | length }} {{ p.text }}{% endfor %}",
                     "{% for p in passages %}{{ p.text[:10] }}{% endfor %}",
                     "{% for p in passages %}{{ p.text | tojson }}{% endfor %}",
                     "{{ question }}"):  # fmt: skip
        prompt = render(tokenizer, template, passages(*TEXTS))
        assert prompt.evidence == ()
        assert prompt.ids


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, 東京 und 🏔️ 👩‍👩‍👧.", "é́́ combining", "a<|im_end|>b<|im_start|>", "\ue0a0 main \ue0a1",
        "\U000f0000x\U000ffffd",
        "".join(map(chr, range(0xE000, 0xE400))), "x", "\u200b<|im_end|>\u200b", "{{ question }}", "Question: Why?",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["list", "bare"])
def test_any_text_is_found(tokenizer, text, name):
    texts = [text, "The end.", text, text]
    exact(tokenizer, render(tokenizer, TEMPLATES[name], passages(*texts)), texts)


@given(st.lists(st.text(max_size=12), max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz(tokenizer, texts):
    prompt = render(tokenizer, "{% for p in passages %}@{{ p.text }}@\n{% endfor %}{{ question }}", passages(*texts))
    shown = [place for place, text in enumerate(texts) if text.strip()]
    assert [one.passage for one in prompt.evidence] == shown
    for text, place in covered(tokenizer, prompt):
        assert tokenizer.neutralise(texts[place]).strip() in text


def test_empty_passages_show_nothing(tokenizer):
    prompt = render(tokenizer, TEMPLATES["list"], passages("", " \n", "Text."))
    assert [one.passage for one in prompt.evidence] == [2]
    assert render(tokenizer, TEMPLATES["list"], []).evidence == ()


def test_passages_of_one_name_are_told_apart(tokenizer):
    same = [Passage("p", "s", text, score, 1) for text, score in (("One.", 3.0), ("Two.", 2.0), ("One.", 1.0))]
    prompt = render(tokenizer, TEMPLATES["some"], same)
    exact(tokenizer, prompt, ["One.", "Two.", "One."])
    assert [one.score for one in prompt.evidence] == [3, 2, 1]


def test_history_and_question_with_the_same_text_are_no_evidence(tokenizer):
    history = [Turn("user", TEXTS[0]), Turn("assistant", TEXTS[2])]
    prompt = render(tokenizer, TEMPLATES["list"], passages(TEXTS[0]), history=history)
    (one,) = prompt.evidence
    offsets = tokenizer.fast.encode(prompt.text, add_special_tokens=False).offsets
    assert offsets[one.start][0] > prompt.text.index(TEXTS[2])


def test_views_show_their_own_share(tokenizer):
    shown = passages(*TEXTS, scores=(0.1, 0.9, 0.4))
    exact(tokenizer, render(tokenizer, TEMPLATES["list"], shown, only=2), TEXTS, [1])
    exact(tokenizer, render(tokenizer, TEMPLATES["list"], shown, top_k=2), TEXTS, [0, 1])
    exact(tokenizer, render(tokenizer, TEMPLATES["list"], shown, top_k=2, by="relevance"), TEXTS, [1, 2])
    assert render(tokenizer, TEMPLATES["list"], shown, top_k=0).evidence == ()


def test_parts_of_a_passage_are_parts_of_it(tokenizer):
    long = " ".join(f"Sentence {number} is about the bridge." for number in range(12))
    prompt = render(tokenizer, TEMPLATES["list"], passages("Short.", long), top_k=5, tokens=40)
    assert [one.passage for one in prompt.evidence] == [0, 1, 1, 1, 1]
    for text, place in covered(tokenizer, prompt)[1:]:
        assert text.strip() in long
        assert place == 1


def test_a_passage_that_is_cut_to_fit_is_known_as_far_as_it_is_shown(make):
    pipeline = make({"rule": "kl_to_evidence"})
    long = "The bridge of Tollin has twelve arches. " * 60
    prepared = pipeline.prepare(DecodeRequest("a", question="Why?", passages=tuple(passages("First.", long))))
    assert any("was cut" in note for note in prepared.notes)
    first, second = prepared.prompts["with_context"].evidence
    assert (first.passage, second.passage) == (0, 1)
    assert 300 < second.stop - second.start < len(prepared.prompts["with_context"].ids)
    assert list(prepared.request.views["with_context"].evidence) == [first, second]


def test_evidence_is_looked_for_where_a_part_asks_only(make):
    asked = DecodeRequest("a", question="Why?", passages=tuple(passages(*TEXTS)))
    assert make({"rule": "cad"}).prepare(asked).prompts["with_context"].evidence == ()
    prompts = make({"rule": ["cad", "kl_to_evidence"]}).prepare(asked).prompts
    assert len(prompts["with_context"].evidence) == 3
    assert prompts["without_context"].evidence == ()


def test_of_a_foreign_model_nothing_is_known(tokenizer, tmp_path):
    tiny.write_tokenizer(tmp_path)
    view = ViewPlan("draft", PromptSpec.model_validate(PROMPT), model="other")
    renderer = PromptRenderer([view], tokenizer, {"other": Tokenizer(tmp_path)})
    prompts = renderer.render([view], "Why?", passages(*TEXTS))
    assert renderer.with_evidence([view], "Why?", passages(*TEXTS), (), prompts)["draft"].evidence == ()


def test_an_exact_prompt_has_none_and_the_notes_say_so(make):
    (answer,) = make({"rule": "kl_to_evidence"}).decode([DecodeRequest("a", prompts={"with_context": "The bridge"})])
    assert any("kl_to_evidence" in note for note in answer.notes)


def test_the_ensemble_from_yaml_shows_each_passage_alone_with_its_score(make):
    pipeline = make({"rule": {"ensemble": {"passages": 3, "of": {"cad": {"alpha": 0.3}}}}})
    asked = DecodeRequest("a", question="Why?", passages=tuple(passages(*TEXTS, scores=(0.1, 0.9, 0.4))))
    prepared = pipeline.prepare(asked)
    for place in range(3):
        prompt = prepared.prompts[f"passage_{place + 1}"]
        assert [text.strip() in prompt.text for text in TEXTS] == [other == place for other in range(3)]
        (one,) = prepared.request.views[f"passage_{place + 1}"].evidence
        assert (one.passage, one.score) == (place, (0.1, 0.9, 0.4)[place])
    assert pipeline.ask("Why?", passages=asked.passages).stats.forward_rows == 8 * 5
    # fewer passages, fewer rows; without any the rule does not act
    assert pipeline.ask("Why?", passages=tuple(passages(*TEXTS[:2]))).stats.forward_rows == 8 * 4
    none = pipeline.ask("Why?", passages=())
    assert none.stats.forward_rows == 8
    assert any("rule ensemble did not act" in note for note in none.notes)
