"""Stages that rework the question, with the default model."""

from __future__ import annotations

import pytest

from ragdecode.models.store import ModelStore
from ragdecode.pipeline.pipeline import Pipeline

pytestmark = pytest.mark.real

DOCUMENTS = {
    "jupiter.md": "# Jupiter\n\nJupiter has 95 moons. It is the largest planet of all.\n",
    "mars.md": "# Mars\n\nMars has two moons. It is red, and smaller than the Earth.\n",
    "saturn.md": "# Saturn\n\nSaturn has 146 moons, and rings of ice and rock.\n",
}
HISTORY = [
    {"role": "user", "content": "Tell me about the planet Saturn."},
    {"role": "assistant", "content": "Saturn is the sixth planet from the Sun and has rings."},
]
QUESTION = "How many moons does it have?"


def test_a_follow_up_question_finds_what_it_is_about(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "models").symlink_to(ModelStore().folder)
    (tmp_path / "docs").mkdir()
    for name, text in DOCUMENTS.items():
        (tmp_path / "docs" / name).write_text(text)
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    chain = "retrieve=[{rewrite: {max_new_tokens: 16}}, {bm25: {top_k: 1}}]"
    with Pipeline.load(
        "docs-qa", [chain, "index.stores=[bm25]", "decode.max_new_tokens=1"], docs=tmp_path / "docs"
    ) as pipeline:
        alone, follow_up = pipeline.ask(QUESTION), pipeline.ask(QUESTION, HISTORY)
    assert alone.passages[0].source != "saturn.md"
    assert follow_up.passages[0].source == "saturn.md"
    assert "Saturn" in follow_up.notes[0]
    assert alone.notes == ()
