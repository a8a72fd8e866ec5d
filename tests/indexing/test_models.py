from __future__ import annotations

from pathlib import Path

import pytest

from ragdecode.indexing.build import build_index
from ragdecode.indexing.index import open_index
from ragdecode.indexing.models import IndexModels
from ragdecode.models.catalogue import find_model
from tests.indexing.doubles import index_spec, put


@pytest.mark.real
def test_the_default_models_split_and_find(tmp_path: Path) -> None:
    put(
        tmp_path / "docs",
        {
            "engine.md": "# Engine\n\n" + "The motor of the vehicle must be serviced every year. 🙂 Naïve façade. " * 8,
            "baking.md": "# Baking\n\nBread needs flour, water, salt and yeast; knead the dough and let it rise.",
        },
    )
    minilm = find_model("minilm").model_dump()
    spec = index_spec(tmp_path / "docs", ["bm25", {"faiss": {"encoder": minilm}}], split={"tokens": 64, "overlap": 16})
    models = IndexModels(spec, find_model("smollm2-135m"))
    target = tmp_path / "index"
    settings = {"token_offsets": models.token_offsets, "tokenizer_fingerprint": models.tokenizer_fingerprint}
    report = build_index(spec, target, encoders=models.encoder, **settings)
    assert report.passages > 3
    assert not build_index(spec, target, encoders=models.encoder, **settings).built
    index = open_index(target, spec, encoders=models.encoder, tokenizer_fingerprint=models.tokenizer_fingerprint)
    for passage in index.passages:
        counted = len(models.tokenizer.encode(passage.text, special=False))
        assert passage.tokens <= 64
        assert abs(counted - passage.tokens) <= 4, "the first word of a passage has no space before it there"
    (car, loaf) = index.search("faiss", ["When does my car need maintenance?", "How do I make a loaf?"], 1)
    assert car[0].passage.source == "engine.md"
    assert loaf[0].passage.source == "baking.md"
