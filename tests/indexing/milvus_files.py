"""Small indexes in an embedded Milvus Lite file."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.indexing.doubles import ENCODER, put

pymilvus = pytest.importorskip("pymilvus", reason="needs the extra milvus")
pytest.importorskip("milvus_lite", reason="needs the extra milvus")

WORDS = re.findall(r"\w+", "apple pear plum sea sky cloud rain tree red green blue salt wind stone river moon star")


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """What a test has opened is closed when it forgets it; a file that is still held is a failure of the test."""
    yield
    from milvus_lite.server_manager import server_manager_instance

    if server_manager_instance._servers:  # errors that were caught hold frames
        gc.collect()
    held = list(server_manager_instance._servers)
    server_manager_instance.release_all()
    assert not held


def corpus(folder: Path, count: int = 60) -> list[str]:
    """Files of random words, repeated by Zipf's law."""
    random = np.random.default_rng(0)
    chances = 1 / np.arange(1, len(WORDS) + 1)
    texts = [
        " ".join(random.choice(WORDS, size=random.integers(3, 15), p=chances / chances.sum())) + "\n"
        for _ in range(count)
    ]
    put(folder, {f"{number:03}.txt": text for number, text in enumerate(texts)})
    return texts


def dense(folder: Path, **settings: Any) -> dict[str, Any]:
    return {"milvus": {"uri": str(folder / "m.db"), "encoder": ENCODER, **settings}}


def words(folder: Path, **settings: Any) -> dict[str, Any]:
    return {"milvus_bm25": {"uri": str(folder / "m.db"), **settings}}


def collections(folder: Path) -> list[str]:
    client = pymilvus.MilvusClient(str(folder / "m.db"))
    try:
        return sorted(client.list_collections())
    finally:
        client.close()
        from milvus_lite.server_manager import server_manager_instance

        server_manager_instance.release_server(str(folder / "m.db"))
