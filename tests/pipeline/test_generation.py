"""Short texts of the pipeline's own model for stages that rework a question."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread

import pytest
import torch

from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve
from ragdecode.decoding.request import TARGET
from ragdecode.errors import InputError, RunError
from ragdecode.pipeline.generation import Writer
from ragdecode.pipeline.question import Question
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.turn import Turn
from ragdecode.retrieval.generation import Generation
from ragdecode.spec.settings import NoSettings
from tests.pipeline import tiny_app
from tests.retrieval.writers import Recorded, last

ENGINE = {"device": "cpu", "dtype": "float64", "linear": "plain", "max_batch": 2}
CHATS = [
    (("user", "How many arches has the bridge?"),),
    (("system", "Be brief."), ("user", "Who lives in the tower?"), ("assistant", "Nobody."), ("user", "Why?")),
    (("user", "Is the cheese <|im_end|> blue?"),),
]
LLAMA, STOCK = {"backend": "llama"}, {"backend": "transformers", "linear": "auto"}


def writer_of(pipeline) -> Writer:
    return pipeline._source._chain.context.generate


def open_rows(pipeline) -> int:
    (backend,) = pipeline._models.backends.values()
    return len(backend._rows if hasattr(backend, "_rows") else backend._arena._capacity)


@pytest.fixture
def searching(make):
    def build(decode=None, engine=None, **settings):
        return make(decode, search=True, engine=ENGINE | (engine or {}), **settings)

    return build


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("engine", [LLAMA, STOCK])
def test_a_text_is_what_the_pipeline_decodes_for_the_same_chat(searching, engine, temperature):
    decode = {"sampling": {"temperature": temperature, "seed": 7}, "max_new_tokens": 12}
    pipeline = searching(decode, engine)
    writer = writer_of(pipeline)
    asked = [Generation(chat, 12, temperature=temperature, seed=7) for chat in CHATS]
    lines = [
        DecodeRequest(writer.request(one).id, messages=tuple(Turn(*message) for message in one.messages))
        for one in asked
    ]
    expected = [decoded.result.text for decoded in pipeline.decode(lines)]
    assert writer(asked) == expected
    assert [writer([one])[0] for one in asked] == expected
    assert len(set(expected)) == 3
    assert open_rows(pipeline) == 0


def test_equal_requests_get_equal_texts_and_seeds_other_ones(searching):
    writer = writer_of(searching())
    one = Generation(CHATS[0], 16, temperature=1.5, seed=1)
    texts = writer([one, replace(one, seed=2), one, replace(one, messages=CHATS[1]), one])
    assert texts[0] == texts[2] == texts[4] == writer([one])[0]
    assert len(set(texts)) == 3
    assert writer([]) == []


def test_a_text_ends_before_a_stop_string(searching):
    writer = writer_of(searching())
    (whole,) = writer([Generation(CHATS[0], 20)])
    stop = whole[6:9]
    assert writer([Generation(CHATS[0], 20, (stop,))]) == [whole[: whole.index(stop)]]
    assert whole.startswith(writer([Generation(CHATS[0], 4)])[0])


def test_an_answer_can_be_begun(searching):
    pipeline = searching({"max_new_tokens": 10})
    prompt = pipeline.tokenizer.render_chat([{"role": "user", "content": "Why?"}]) + "Because"
    (decoded,) = pipeline.decode([DecodeRequest("a", prompts={TARGET: prompt})])
    assert writer_of(pipeline)([Generation((("user", "Why?"),), 10, answer_prefix="Because")]) == [decoded.result.text]


def test_no_content_can_end_its_own_message(searching):
    pipeline = searching()
    ids = writer_of(pipeline).request(Generation(CHATS[2])).views[TARGET].prompt
    assert ids.count(pipeline.tokenizer.special_tokens["<|im_end|>"]) == 1


def test_a_chat_that_is_too_long_loses_the_beginning_of_its_last_message(searching, caplog):
    pipeline = searching()
    words = [f"word{number}" for number in range(2000)]
    chat = (("user", "Rewrite."), ("assistant", "Yes."), ("user", " ".join(words)))
    prompt = writer_of(pipeline).request(Generation(chat, 100)).views[TARGET].prompt
    room = tiny_app.WINDOW - 100
    assert room - 16 < len(prompt) <= room
    text = pipeline.tokenizer.decode(prompt)
    shown = text[text.index("word") : text.rindex("word1999") + 8].split()
    assert shown == words[-len(shown) :]
    assert "Rewrite." in text
    assert "were cut" in caplog.text
    assert len(writer_of(pipeline)([Generation(chat, 4)])) == 1


def test_a_chat_that_cannot_be_cut_enough_is_refused(searching):
    chat = (("system", "word " * 2000), ("user", "Why?"))
    with pytest.raises(InputError, match=r"too long: \d+ tokens without its last message; the model's window of 1024"):
        writer_of(searching())([Generation(chat)])


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (MemoryError(), RunError), (torch.OutOfMemoryError("no"), RunError)],
)
@pytest.mark.parametrize("engine", [LLAMA, STOCK])
def test_whatever_ends_it_leaves_no_row_open(searching, monkeypatch, engine, error, expected):
    pipeline = searching(engine=engine)
    writer = writer_of(pipeline)
    asked = [Generation(chat, 12) for chat in CHATS]
    before = writer(asked)
    (backend,) = pipeline._models.backends.values()
    forward, calls = backend.forward, []

    def failing(*args, **kwargs):
        calls.append(open_rows(pipeline))
        if len(calls) == 5:
            raise error
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(backend, "forward", failing)
        with pytest.raises(expected, match="out of memory" if expected is RunError else None):
            writer(asked)
    assert calls[-1] == 2  # max_batch
    assert open_rows(pipeline) == 0
    assert writer(asked) == before


def test_a_chain_that_needs_no_model_loads_none(searching):
    pipeline = searching()
    found = pipeline._source.find(["How many arches has the bridge?"], [()])
    assert found[0].passages[0].source == "bridge.md"
    assert "_backends" not in pipeline._models.__dict__
    assert found[0].notes == ()


class Again(Monitor):
    """Retrieves at its third token."""

    part_name = "again"

    def start(self, request):
        return AgainSession()


class AgainSession(MonitorSession):
    def __init__(self):
        self.seen = 0

    def observe(self, token):
        self.seen += 1
        return Retrieve("What does the cheese of Morvan smell of?") if self.seen == 3 else None

    def rewind(self, length):
        pass

    def record(self):
        return self.seen


@pytest.mark.parametrize(("engine", "temperature"), [(LLAMA, 1.0), (STOCK, 0.0)])
def test_the_model_may_be_asked_from_within_a_step(searching, engine, temperature):
    """What is written within a step, beside a batch in flight with drafts, disturbs neither cache nor answer."""
    retrieve = [
        {"multi_query": {"max_new_tokens": 8, "temperature": temperature}},
        {"decompose": {"by": {"lm": {"max_new_tokens": 8}}}},
        {"bm25": {"top_k": 2}},
    ]
    decode = {
        "rule": ["cad"],
        "draft": ["prompt_lookup"],
        "max_new_tokens": 12,
        "sampling": {"temperature": temperature, "seed": 2},
    }
    pipeline = searching(decode, engine | {"max_batch": 3}, retrieve=retrieve)
    pipeline._parts = replace(pipeline._parts, monitors=[Again(NoSettings())])
    questions = ["Who built the bridge of Tollin?", "How wide is the tower?", "Is the cheese blue?"]
    pipeline._source.open()
    chain = pipeline._source._chain
    said = {}

    def recording(asked):
        texts = writer(asked)
        said.update(zip(asked, texts, strict=True))
        return texts

    writer = chain.context.generate
    chain.context = replace(chain.context, generate=recording)
    nested = [pipeline.ask(question) for question in questions], pipeline.batch(questions)
    assert any("cheese" in last(asked) for asked in said)
    assert any(said.values())
    assert open_rows(pipeline) == 0

    chain.context = replace(chain.context, generate=Recorded(lambda asked: said[asked]))
    replayed = [pipeline.ask(question) for question in questions], pipeline.batch(questions)
    for real, doubled in zip(nested, replayed, strict=True):
        assert [answer.token_ids for answer in real] == [answer.token_ids for answer in doubled]
        assert [answer.passages for answer in real] == [answer.passages for answer in doubled]
        assert all(any(note.startswith("retrieved again") for note in answer.notes) for answer in real)
    assert [answer.token_ids for answer in nested[0]] == [answer.token_ids for answer in nested[1]]


def test_threads_may_ask_and_answer_at_the_same_time(searching):
    retrieve = [{"multi_query": {"max_new_tokens": 8}}, {"bm25": {"top_k": 2}}]
    pipeline = searching({"max_new_tokens": 12}, retrieve=retrieve)
    questions = [f"Question {number} about the bridge?" for number in range(4)]
    expected = [pipeline.ask(question).token_ids for question in questions]
    answers = {}

    def work(question):
        answers[question] = pipeline.ask(question).token_ids

    threads = [Thread(target=work, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answers[question] for question in questions] == expected
    assert open_rows(pipeline) == 0


def test_the_conversation_reaches_the_rewriting_and_the_answer_says_what_was_searched(searching):
    retrieve = [{"rewrite": {"keep": True}}, {"bm25": {"top_k": 1}}]
    pipeline = searching(retrieve=retrieve)
    history = [
        {"role": "user", "content": "Who built the bridge of Tollin?"},
        {"role": "assistant", "content": "Mr. Aven."},
    ]
    pipeline._source.open()
    writer = Recorded("When was the bridge of Tollin built?")
    pipeline._source._chain.context = replace(pipeline._source._chain.context, generate=writer)
    answer = pipeline.ask("When did they make it?", history)
    assert "user: Who built the bridge of Tollin?\nassistant: Mr. Aven.\n" in last(writer.asked[0])
    assert answer.passages[0].source == "bridge.md"
    assert answer.notes[:2] == (
        "the question was searched as 'When was the bridge of Tollin built?'",
        "searched beside it: 'When did they make it?'",
    )
    assert "When did they make it?" in answer.prompts[TARGET]
    together = pipeline.stream_batch([Question.of("Who lives there?"), Question.of("When did they make it?", history)])
    notes = {place: event.answer.notes for place, event in together if event.kind == "done"}
    assert (notes[0], len(notes[1])) == ((), 2)
