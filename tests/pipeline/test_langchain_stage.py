"""A pipeline without an index: a LangChain retriever brings the passages."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragdecode.cli.check import command as check
from ragdecode.errors import InputError
from ragdecode.retrieval.langchain import as_retriever
from tests.pipeline import tiny_app

FACTS = ["The bridge of Tollin has 12 arches.", "The tower is 3.5 metres wide.", "The cheese of Morvan is blue."]
RETRIEVE = [
    {
        "langchain": {
            "retriever": "langchain_community.retrievers.BM25Retriever",
            "constructor": "from_texts",
            "arguments": {
                "texts": FACTS,
                "metadatas": [{"source": f"{number}.md", "year": 1889} for number in range(3)],
            },
            "top_k": 2,
        }
    }
]


def test_it_answers_from_what_the_retriever_finds(make) -> None:
    pipeline = make(retrieve=RETRIEVE)
    answer = pipeline.ask("What is blue in Morvan?")
    first, second = answer.passages
    assert (first.text, first.source, first.rank) == (FACTS[2], "2.md", 1)
    assert second.text in FACTS[:2]
    given = pipeline.ask("What is blue in Morvan?", passages=[first.text, second.text])
    assert answer.answer == given.answer
    assert answer.to_json()["passages"][0]["score"] == 1.0


def test_several_questions_are_retrieved_and_decoded_together(make) -> None:
    answers = make(retrieve=RETRIEVE).batch(["What is blue in Morvan?", "How many arches has the bridge?"])
    assert [answer.passages[0].text for answer in answers] == [FACTS[2], FACTS[0]]


def test_a_later_stage_works_on_what_it_found(make) -> None:
    chain = [*RETRIEVE, {"rerank": {"by": "query_likelihood", "top_k": 1}}]
    answer = make(retrieve=chain).ask("What is blue in Morvan?")
    assert len(answer.passages) == 1
    assert answer.passages[0].score < 0  # a log-probability


def test_a_pipeline_is_a_retriever(make) -> None:
    pipeline = make(retrieve=RETRIEVE)
    retriever = as_retriever(pipeline)
    documents = retriever.invoke("What is blue in Morvan?")
    assert [document.page_content for document in documents] == [
        passage.text for passage in pipeline.ask("What is blue in Morvan?").passages
    ]
    assert documents[0].metadata["year"] == 1889
    assert asyncio.run(retriever.abatch(["What is blue in Morvan?"])) == [documents]
    with pytest.raises(InputError, match="has no 'retrieve'"):
        as_retriever(make()).invoke("What?")


def test_it_is_checked_and_explained_without_langchain(app: Path) -> None:
    stores = [
        "bm25",
        {"milvus": {"uri": "data/milvus.db", "encoder": "minilm", "token": "${ENV:RAGDECODE_TEST_TOKEN}"}},
        {"milvus_bm25": {"uri": "http://milvus:19530"}},
        {"langchain": {"vector_store": "FAISS"}},
    ]
    alone = tiny_app.write_pipeline(app, "alone", retrieve=RETRIEVE)
    indexed = {"corpus": {"path": "../docs"}, "stores": stores}
    tiny_app.write_pipeline(app, "indexed", index=indexed, retrieve=[{"hybrid": {"of": ["milvus", "milvus_bm25"]}}])
    assert CliRunner().invoke(check, [str(alone)]).stdout.startswith("ok  ")
    code = (
        "import sys\n"
        "from ragdecode.cli.main import main\n"
        "for arguments in (['check', 'pipelines/alone.yaml'], ['explain', 'pipelines/alone.yaml'], ['schema'],\n"
        "                  ['check', 'pipelines/indexed.yaml'], ['explain', 'pipelines/indexed.yaml']):\n"
        "    sys.argv = ['ragdecode', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as leave:\n"
        "        assert not leave.code, (arguments, leave.code)\n"
        "heavy = {'langchain_core', 'langchain_community', 'pymilvus', 'milvus_lite', 'torch', 'numpy', 'faiss'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    environment = {"RAGDECODE_TEST_TOKEN": "root:s3cret", "PATH": "", "HOME": str(app)}
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=app, env=environment | {"PYTHONPATH": root},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(app / "pipelines" / "data" / "milvus.db") in done.stdout
    assert "http://milvus:19530" in done.stdout
    assert "${ENV:RAGDECODE_TEST_TOKEN}" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


def test_the_schema_knows_the_parts() -> None:
    ragdecode = Path(sys.executable).with_name("ragdecode")
    done = subprocess.run([ragdecode, "schema"], capture_output=True, text=True, check=True)
    text = json.dumps(json.loads(done.stdout))
    for name in ("milvus_bm25", "vector_store", "search_arguments"):
        assert name in text
