"""LangChain vector stores by name, as stores of an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.index import Index
from ragdecode.indexing.langchain.embeddings import as_embeddings, known_embeddings
from ragdecode.indexing.store import Probe
from ragdecode.indexing.stores.langchain import LangChainStoreSettings
from tests.indexing.doubles import ENCODER, HashedWords, build, index_spec, opened, put

MEMORY = "langchain_core.vectorstores.InMemoryVectorStore"
JSON = "tests.indexing.langchain_classes.JsonStore"


def store(vector_store: str = MEMORY, **settings: Any) -> dict[str, Any]:
    return {"langchain": {"vector_store": vector_store, "encoder": ENCODER, **settings}}


def kept(folder: Path, **settings: Any) -> dict[str, Any]:
    return store(JSON, arguments={"path": str(folder / "kept.json")}, trust=True, **settings)


def rows(index: Index, name: str, query: str | Probe, k: int) -> list[tuple[int | None, float]]:
    return [(hit.row, hit.score) for hit in index.search(name, [query], k)[0]]


@pytest.mark.parametrize("name", [MEMORY, "FAISS", "json"])
def test_the_answers_are_those_of_comparing_with_all(tmp_path: Path, name: str) -> None:
    put(tmp_path / "docs")
    made = kept(tmp_path) if name == "json" else store(name)
    spec = index_spec(tmp_path / "docs", [{"faiss": {"encoder": ENCODER, "kind": "flat"}}, made])
    build(spec, tmp_path / "index")
    index = opened(tmp_path / "index", spec)
    for query in ("blue sea and sky", Probe("pears", likenesses=("a green tree",))):
        for k in (1, 3, 10):
            assert rows(index, "langchain", query, k) == rows(index, "faiss", query, k)


def test_nothing_is_embedded_twice(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    encoder = HashedWords()
    spec = index_spec(tmp_path / "docs", [store()])
    build(spec, tmp_path / "index", encoder)
    assert len(encoder.encoded) == 4
    opened(tmp_path / "index", spec, encoder).search("langchain", ["sea"], 2)
    assert len(encoder.encoded) == 4
    put(tmp_path / "docs", {"new.txt": "Boats sail over the blue sea.\n"})
    build(spec, tmp_path / "index", encoder)
    assert encoder.encoded[4:] == ["Boats sail over the blue sea."]


def test_a_store_that_persists_is_filled_by_the_build_and_emptied_of_the_index_before(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs", [kept(tmp_path)])
    (tmp_path / "kept.json").write_text(json.dumps({"other": ["not ours", {}, [1.0] * 64]}))
    encoder = HashedWords()
    build(spec, tmp_path / "index", encoder)
    first = set(json.loads((tmp_path / "kept.json").read_text()))
    assert len(first) == 5
    old = opened(tmp_path / "index", spec)
    put(tmp_path / "docs", {"new.txt": "Boats sail over the blue sea.\n"})

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "langchain":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(spec, tmp_path / "index", encoder, progress=progress)
    assert len(json.loads((tmp_path / "kept.json").read_text())) == 5 + 5
    assert {hit.passage.source for hit in old.search("langchain", ["boats sail"], 9)[0]} == {
        "fruit/apple.md", "fruit/pear.md", "sky.txt", "sea.html",
    }  # fmt: skip
    build(spec, tmp_path / "index", encoder)
    second = set(json.loads((tmp_path / "kept.json").read_text()))
    assert first & second == {"other"}
    assert len(second) == 6
    assert len(encoder.encoded) == 5
    index = opened(tmp_path / "index", spec)
    assert index.search("langchain", ["boats sail"], 1)[0][0].passage.source == "new.txt"
    (tmp_path / "kept.json").write_text("{}")
    with pytest.raises(RunError, match="has none of the passages") as caught:
        index.search("langchain", ["boats"], 1)
    assert "--force" in str(caught.value.hint)
    assert "persistent: false" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"vector_store": "langchain_core.documents.Document"}, InputError, "is not a VectorStore"),
        ({"vector_store": "langchain_core.vectorstores.InMemoryVectorStor"}, InputError, "has no class"),
        ({"vector_store": "langchain_nowhere.Store"}, InputError, "not installed"),
        ({"vector_store": JSON, "trust": True, "arguments": {"pth": "x"}}, InputError, r"does not take .*\(.*pth"),
    ],
)
def test_what_cannot_be_made_is_told(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    put(tmp_path / "docs")
    with pytest.raises(error, match=message):
        build(index_spec(tmp_path / "docs", [store(**settings)]), tmp_path / "index")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vector_store": "os.path.join"}, "not of a LangChain package"),
        ({"vector_store": JSON}, "not of a LangChain package"),
        (
            {"vector_store": "FAISS", "arguments": {"allow_dangerous_deserialization": True}},
            "switches off a protection",
        ),
    ],
)
def test_what_may_not_be_named_is_refused_with_the_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LangChainStoreSettings(encoder=ENCODER, **settings)


def test_a_class_that_cannot_search_by_vector_is_told(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    mute = store(JSON.replace("JsonStore", "Mute"), trust=True, arguments={"path": str(tmp_path / "x.json")})
    build(index_spec(tmp_path / "docs", [mute]), tmp_path / "index")
    with pytest.raises(RunError, match="Mute cannot search by vector: NotImplementedError"):
        opened(tmp_path / "index").search("langchain", ["sea"], 1)


def test_an_encoder_serves_as_embeddings() -> None:
    encoder = HashedWords()
    embeddings = as_embeddings(encoder)
    assert isinstance(embeddings, Embeddings)
    texts = ["blue sea", "green pear tree", "blue sky"]
    expected = encoder.encode(texts)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(embeddings.embed_documents(texts), expected)
    found = InMemoryVectorStore.from_texts(texts, embeddings).similarity_search("pear", k=1)
    assert found[0].page_content == "green pear tree"


def test_texts_are_gone_through_only_when_documents_are_to_be_embedded() -> None:
    encoder = HashedWords(16)
    gone: list[str] = []

    def texts() -> Iterator[str]:
        for text in ("a pear", "a plum"):
            gone.append(text)
            yield text

    vectors = np.eye(2, 16, dtype=np.float32)
    embeddings = known_embeddings(lambda: encoder, texts(), vectors)
    assert embeddings.embed_query("a pear") == as_embeddings(encoder).embed_query("a pear")
    assert gone == []
    for _ in range(2):
        assert embeddings.embed_documents(["a plum", "a fig"]) == [
            vectors[1].tolist(),
            *as_embeddings(encoder).embed_documents(["a fig"]),
        ]
    assert gone == ["a pear", "a plum"]
