"""`/v1/ask`, `/v1/retrieve`, conversations: what the API answers is what the pipeline answers."""

from __future__ import annotations

import asyncio
import json

from ragdecode.pipeline.question import AnswerSettings
from tests.service.conftest import client, events

PASSAGES = [{"text": "The bridge has 12 arches."}, {"text": "It was built in 1889.", "id": "b", "source": "book"}]


def timeless(record):
    stats = {name: value for name, value in record["stats"].items() if name not in TIMES}
    return {**record, "stats": stats}


TIMES = ("seconds", "tokens_per_second", "draft_seconds", "reused_tokens", "forward_passes", "forward_rows")


def test_an_answer_is_the_object_of_ask_json(serve):
    service = serve()
    expected = json.loads(json.dumps(service.shelf["plain"].ask("Who?", passages=PASSAGES, explain=5).to_json()))

    async def run():
        async with client(service) as http:
            whole = await http.post("/v1/ask", json={"question": "Who?", "passages": PASSAGES})
            stream = await http.post("/v1/ask", json={"question": "Who?", "passages": PASSAGES, "stream": True})
            return whole, stream

    whole, stream = asyncio.run(run())
    assert whole.status_code == 200
    assert timeless(whole.json()) == timeless(expected)
    told = events(stream.text)
    kinds = [kind for kind, _ in told]
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert (kinds[0], kinds[-1]) == ("passages", "done")
    assert kinds.index("token") < kinds.index("sentence")
    assert "".join(data["text"] for kind, data in told if kind == "token").strip() == expected["answer"].strip()
    signals = [data for kind, data in told if kind == "token" and "token" in data]
    assert len(signals) == 12
    assert all(one["logprob"] <= 0 and "with_context" in one["views"] for one in signals)
    assert timeless(told[-1][1]["answer"]) == timeless(expected)


def test_settings_and_alternatives_hold_for_one_answer(serve):
    service = serve()
    expected = service.shelf["plain"].stream(
        "Who?", passages=PASSAGES, settings=AnswerSettings(max_new_tokens=5, temperature=1.5, seed=7)
    )
    answer = list(expected)[-1].answer

    async def run():
        async with client(service) as http:
            body = {"question": "Who?", "passages": PASSAGES, "alternatives": 3}
            settings = {"max_new_tokens": 5, "temperature": 1.5, "seed": 7}
            return (await http.post("/v1/ask", json=body | {"settings": settings})).json()

    found = asyncio.run(run())
    assert found["answer"] == answer.answer
    assert len(found["trace"]["tokens"]) == 5
    assert len(found["trace"]["tokens"][0]["alternatives"]) == 3


def test_search_finds_what_the_pipeline_finds(serve):
    service = serve()
    question = "Which cheese is blue?"
    expected = service.shelf["search"].retrieve([question])[0]

    async def run():
        async with client(service) as http:
            first = await http.post("/v1/retrieve", json={"query": question, "pipeline": "search", "k": 1})
            none = await http.post("/v1/retrieve", json={"query": question, "pipeline": "plain"})
            answer = await http.post("/v1/ask", json={"question": question, "pipeline": "search"})
            return first, none, answer

    first, none, answer = asyncio.run(run())
    assert [one["id"] for one in first.json()["passages"]] == [expected[0].passage.id]
    assert none.status_code == 422
    assert "no 'retrieve'" in none.json()["detail"]
    assert "cheese" in answer.json()["passages"][0]["text"]


def test_a_conversation_is_the_history_of_its_next_question(serve):
    service = serve()

    async def run():
        async with client(service) as http:

            async def ask(question, **more):
                return (await http.post("/v1/ask", json={"question": question, "passages": PASSAGES} | more)).json()

            first = await ask("Who built it?", conversation="new")
            second = await ask("When?", conversation=first["conversation"])
            said = [
                {"role": "user", "content": "Who built it?"},
                {"role": "assistant", "content": first["answer"]},
            ]
            by_hand = await ask("When?", history=said)
            alone = await ask("When?")
            kept = (await http.get(f"/v1/conversations/{first['conversation']}")).json()
            gone = await http.delete(f"/v1/conversations/{first['conversation']}")
            missing = await http.post("/v1/ask", json={"question": "And?", "conversation": first["conversation"]})
            return second, by_hand, alone, kept, gone, missing

    second, by_hand, alone, kept, gone, missing = asyncio.run(run())
    assert second["answer"] == by_hand["answer"] != alone["answer"]
    assert [one["content"] for one in kept["messages"][::2]] == ["Who built it?", "When?"]
    assert (gone.status_code, missing.status_code) == (204, 404)


def test_follow_up_questions_are_rewritten_before_the_search(serve):
    service = serve()
    pipeline = service.shelf["search"]
    assert [part.name for part in pipeline.loaded.spec.retrieve] == ["rewrite", "bm25"]


def test_eight_at_once_answer_as_each_alone(serve):
    service = serve(workers=8)
    questions = [
        f"What of the {word}?" for word in ("bridge", "tower", "cheese", "hay", "arches", "year", "name", "sky")
    ]
    pipeline = service.shelf["plain"]
    alone = [pipeline.ask(question, passages=PASSAGES).answer for question in questions]

    async def run():
        async with client(service) as http:
            sent = [http.post("/v1/ask", json={"question": one, "passages": PASSAGES}) for one in questions]
            return [one.json()["answer"] for one in await asyncio.gather(*sent)]

    assert asyncio.run(run()) == alone
