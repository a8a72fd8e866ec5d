"""OpenAI's own client, streaming and whole, against a service behind a real socket."""

from __future__ import annotations

import openai
import pytest

from tests.service.running import running

SAID = [
    {"role": "user", "content": "Who built it?"},
    {"role": "assistant", "content": "Mr. Aven."},
    {"role": "user", "content": "When?"},
]


@pytest.fixture
def api(serve):
    service = serve()
    with running(service) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield service, client


def test_models_are_the_pipelines(api):
    service, client = api
    assert [model.id for model in client.models.list()] == service.shelf.names == ["plain", "search"]
    assert client.models.retrieve("plain").id == "plain"


def test_a_completion_is_the_pipelines_answer(api):
    service, client = api
    expected = service.shelf["plain"].ask("When?", SAID[:-1])
    found = client.chat.completions.create(model="plain", messages=SAID)
    assert found.choices[0].message.content == expected.answer
    assert found.choices[0].finish_reason == expected.finish_reason
    assert found.usage.completion_tokens == expected.stats.new_tokens
    assert found.usage.prompt_tokens == expected.stats.prompt_tokens


def test_a_stream_joins_to_the_same_answer_and_tells_its_usage(api):
    service, client = api
    expected = service.shelf["plain"].ask("When?", SAID[:-1])
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="plain", messages=SAID, stream=True, stream_options=options))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == expected.answer
    assert sum(map(bool, texts)) > 2
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == expected.finish_reason
    assert chunks[-1].usage.completion_tokens == expected.stats.new_tokens


def test_settings_and_parts_of_messages_are_heard(api):
    _, client = api
    parts = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "When?"}]},
    ]
    found = client.chat.completions.create(model="plain", messages=parts, max_completion_tokens=3, temperature=0)
    assert found.usage.completion_tokens == 3
    plain = client.chat.completions.create(model="plain", messages=parts[1:], max_tokens=3)
    assert found.usage.prompt_tokens > plain.usage.prompt_tokens


def test_errors_are_openais(api):
    _, client = api
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nonsense", messages=SAID)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError, match="tools"):
        client.chat.completions.create(
            model="plain", messages=SAID, tools=[{"type": "function", "function": {"name": "f"}}]
        )
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    with pytest.raises(openai.UnprocessableEntityError, match="text is all"):
        client.chat.completions.create(model="plain", messages=[{"role": "user", "content": [image]}])
    with pytest.raises(openai.UnprocessableEntityError, match="the last message"):
        client.chat.completions.create(model="plain", messages=SAID[:2])
    with pytest.raises(openai.UnprocessableEntityError, match="empty"):
        client.chat.completions.create(model="plain", messages=[{"role": "user", "content": ""}])


def test_langchain_streams_from_it(serve):
    langchain = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    service = serve()
    with running(service) as address:
        model = langchain.ChatOpenAI(model="plain", base_url=f"{address}/v1", api_key="none", max_retries=0)
        expected = service.shelf["plain"].ask("When?").answer
        assert model.invoke("When?").content == expected
        assert "".join(chunk.content for chunk in model.stream("When?")) == expected
