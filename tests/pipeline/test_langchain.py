"""A pipeline as a LangChain runnable."""

from __future__ import annotations

import asyncio
import functools
import operator

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from ragdecode.errors import InputError
from ragdecode.pipeline.langchain import PipelineRunnable

EVIDENCE = ["The bridge has 12 arches.", "It was built in 1889."]
INPUTS = [{"question": question, "passages": EVIDENCE} for question in ("Why?", "How?", "Who is it?")]


@pytest.fixture
def runnable(make):
    return PipelineRunnable(make({"rule": ["cad"]}))


@pytest.fixture
def expected(runnable):
    return [steady(runnable.pipeline.ask(item["question"], passages=EVIDENCE).to_json()) for item in INPUTS]


def steady(answer):
    """An answer without what differs from run to run."""
    return {key: value for key, value in answer.items() if key != "stats"}


class Recorder(BaseCallbackHandler):
    def __init__(self):
        self.starts, self.ends, self.errors = [], [], []

    def on_chain_start(self, serialized, inputs, *, tags=None, metadata=None, name=None, **kwargs):
        self.starts.append((name, tuple(tags or ()), dict(metadata or {}).get("who")))

    def on_chain_end(self, outputs, **kwargs):
        self.ends.append(outputs)

    def on_chain_error(self, error, **kwargs):
        self.errors.append(error)


def test_invoke_gives_the_object_of_ask(runnable, expected):
    assert steady(runnable.invoke(INPUTS[0])) == expected[0]
    assert runnable.invoke("Why?")["notes"][0].startswith("no passages")
    messages = {"question": "Why?", "history": [{"role": "user", "content": "x"}], "passages": []}
    assert runnable.invoke(messages)["question"] == "Why?"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "expected a question or a mapping"),
        ({}, "expected a question or a mapping with question, history, passages"),
        ({"question": "Why?", "context": "x"}, "unknown key 'context'"),
        ({"question": 4}, "expected the question as a string, found int"),
        ("", "the question is empty"),
    ],
)
def test_other_inputs_are_refused(runnable, value, message):
    with pytest.raises(InputError, match=message):
        runnable.invoke(value)
    with pytest.raises(TypeError, match="takes no argument 'stop'"):
        runnable.invoke("Why?", stop=["x"])


def test_batch_decodes_together(runnable, expected):
    backend = runnable.pipeline._models.backends["main"]
    forward, rows = backend.forward, []
    backend.forward = lambda segments, **kwargs: rows.append(len(segments)) or forward(segments, **kwargs)
    assert [steady(answer) for answer in runnable.batch(INPUTS)] == expected
    assert max(rows) == 6  # three requests of two views in one pass
    assert len(rows) < 3 * 8
    assert runnable.batch([]) == []


def test_batch_can_return_its_exceptions(runnable, expected):
    inputs = [INPUTS[0], "", {"question": "why " * 2000}, INPUTS[1]]
    first, blank, long, second = runnable.batch(inputs, return_exceptions=True)
    assert [steady(first), steady(second)] == expected[:2]
    assert isinstance(blank, InputError)
    assert "too long" in str(long)
    with pytest.raises(InputError, match="the question is empty"):
        runnable.batch(inputs)


def test_the_chunks_of_a_stream_add_up_to_the_answer(runnable, expected):
    chunks = list(runnable.stream(INPUTS[0]))
    assert list(chunks[0]) == ["question", "passages"]
    assert all(list(chunk) == ["answer"] for chunk in chunks[1:-1])
    assert len(chunks) > 4
    assert steady(functools.reduce(operator.add, chunks)) == expected[0]


def test_a_stream_that_is_left_frees_its_slots(runnable):
    stream = runnable.stream(INPUTS[0])
    next(stream), next(stream)
    stream.close()
    assert runnable.pipeline._models.backends["main"]._rows == {}


def test_it_composes_with_retrievers_and_functions(runnable):
    retriever = RunnableLambda(lambda question: [Document(text, metadata={"source": "s"}) for text in EVIDENCE])
    chain = (
        {"question": RunnablePassthrough(), "passages": retriever}
        | runnable
        | RunnableLambda(lambda out: out["answer"])
    )
    answer = runnable.pipeline.ask("Why?", passages=EVIDENCE).answer
    assert chain.invoke("Why?") == answer
    assert chain.batch(["Why?", "Why?"]) == [answer, answer]
    short = {"question": RunnablePassthrough(), "passages": retriever} | runnable
    assert functools.reduce(operator.add, list(short.stream("Why?")))["answer"] == answer


def test_the_config_reaches_callbacks(runnable):
    recorder = Recorder()
    config = {"callbacks": [recorder], "tags": ["t"], "metadata": {"who": "me"}}
    runnable.invoke(INPUTS[0], config)
    runnable.batch(INPUTS[:2], config)
    list(runnable.stream(INPUTS[0], config))
    assert recorder.starts == [("p0", ("t",), "me")] * 4
    assert len(recorder.ends) == 4
    with pytest.raises(InputError):
        runnable.invoke("", config)
    assert len(recorder.errors) == 1


def test_async_forms_agree(runnable, expected):
    async def all_forms():
        one = await runnable.ainvoke(INPUTS[0])
        many = await runnable.abatch(INPUTS)
        chunks = [chunk async for chunk in runnable.astream(INPUTS[0])]
        together = await asyncio.gather(*(runnable.ainvoke(item) for item in INPUTS))
        mixed = await runnable.abatch(["", INPUTS[1]], return_exceptions=True)
        with pytest.raises(InputError):
            await runnable.ainvoke("")
        with pytest.raises(InputError):
            [chunk async for chunk in runnable.astream("")]
        return one, many, functools.reduce(operator.add, chunks), together, mixed

    one, many, streamed, together, mixed = asyncio.run(all_forms())
    assert [steady(one), steady(streamed), steady(mixed[1])] == [expected[0], expected[0], expected[1]]
    assert [steady(answer) for answer in many] == expected
    assert [steady(answer) for answer in together] == expected
    assert isinstance(mixed[0], InputError)


def test_cancelling_frees_the_slots(make):
    pipeline = make({"max_new_tokens": 400})
    runnable = PipelineRunnable(pipeline)
    pipeline.ask("Why?", passages=[])  # models are loaded

    async def cancel():
        task = asyncio.ensure_future(runnable.ainvoke(INPUTS[0]))
        stream = runnable.astream(INPUTS[1])
        await anext(stream)
        await anext(stream)
        await stream.aclose()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())  # waits for its threads
    assert pipeline._models.backends["main"]._rows == {}
    assert runnable.invoke(INPUTS[2])["stats"]["new_tokens"] > 0
