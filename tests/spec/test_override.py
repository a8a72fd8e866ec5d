"""``--set`` reaches everything that explain prints."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragdecode.errors import SpecError
from ragdecode.spec.catalogue import names
from ragdecode.spec.dump import plain
from ragdecode.spec.load import load_document, load_pipeline

PIPELINE = """
model: smollm2-135m
index: {corpus: {path: ../docs}, stores: [bm25, faiss]}
retrieve: hybrid
decode: cad
"""


@pytest.fixture(autouse=True)
def _pipeline(app):
    app.write({"pipelines/p.yaml": PIPELINE})


def at(spec, path):
    """Value at a dotted path of a plain spec, with an independent reading of part names in lists."""
    for key in path.split("."):
        if isinstance(spec, list) and not key.isdigit():
            spec = next(item[key] for item in spec if key in item)
        else:
            spec = spec[int(key) if isinstance(spec, list) else key]
    return spec


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("decode.rule.cad.alpha=0.3", "decode.rule.cad.alpha", 0.3),
        ("decode.rule.0.cad.alpha=0.3", "decode.rule.cad.alpha", 0.3),
        ("decode.draft.prompt_lookup.branches=1", "decode.draft.0.prompt_lookup.branches", 1),
        ("decode.monitor.signals={}", "decode.monitor.0.signals.top", None),
        ("retrieve.hybrid.fuse.rrf.k=5", "retrieve.0.hybrid.fuse.rrf.k", 5),
        ("retrieve.hybrid.fuse=weighted", "retrieve.0.hybrid.fuse", None),
        ("retrieve=bm25", "retrieve.bm25.top_k", 8),
        ("retrieve=[hybrid, {rerank: {top_k: 2}}]", "retrieve.1.rerank.top_k", 2),
        ("index.stores.bm25.k1=1.2", "index.stores.bm25.k1", 1.2),
        ("index.stores.faiss.encoder.name=other", "index.stores.faiss.encoder.name", "other"),
        ("index.corpus.include.0='**/*.rst'", "index.corpus.include.0", "**/*.rst"),
        ("prompt.answer_prefix=Well,", "prompt.answer_prefix", "Well,"),
        ("decode.sampling.temperature=1", "decode.sampling.temperature", 1),
        ("engine.dtype=float32", "engine.dtype", "float32"),
        ("decode.stop=[END]", "decode.stop.0", "END"),
        ("decode.rule=", "decode.rule", []),
        ("description=a=b", "description", "a=b"),
        ("decode=plain", "decode.rule", []),
        ("decode.views.without_context.passages.top_k=1", "decode.views.without_context.passages.top_k", 1),
    ],
)
def test_an_override_is_what_the_spec_says(text, path, value):
    spec = json.loads(json.dumps(plain(load_pipeline("p", [text]).spec)))
    if value is None:
        at(spec, path.rsplit(".", 1)[0])
    else:
        assert at(spec, path) == value


def test_a_missing_chain_is_made(app):
    app.write({"pipelines/q.yaml": "model: smollm2-135m\n"})
    spec = load_pipeline("q", ["decode.rule.cad.alpha=0.25", "decode.draft.0=prompt_lookup"]).spec
    assert [part.name for part in (*spec.decode.rule, *spec.decode.draft)] == ["cad", "prompt_lookup"]
    assert spec.decode.rule[0].settings.alpha == 0.25


def test_the_last_override_wins_and_a_whole_replacement_drops_what_came_before():
    sets = ["decode.rule.cad.alpha=0.1", "decode.rule.cad.alpha=0.2"]
    assert load_pipeline("p", sets).spec.decode.rule[0].settings.alpha == 0.2
    sets = ["decode.max_new_tokens=5", "decode=cad", "decode.rule.cad.alpha=1"]
    spec = load_pipeline("p", sets).spec
    assert (spec.decode.max_new_tokens, spec.decode.rule[0].settings.alpha) == (96, 1)


def test_a_name_that_is_replaced_is_not_looked_for(app):
    app.write({"pipelines/q.yaml": "model: no-such-model\nprompt: no-such-prompt\n"})
    sets = ["model=smollm2-135m", "prompt={messages: [{role: user, content: x}]}"]
    assert load_pipeline("q", sets).spec.model.name == "smollm2-135m"


def test_paths_start_at_the_current_folder():
    assert load_pipeline("p", ["index.corpus.path=docs"]).spec.index.corpus.path.endswith("app/docs")
    with pytest.raises(SpecError, match="no such file or folder"):
        load_pipeline("p", ["index.corpus.path=../docs"])


def test_a_part_that_stands_twice_is_meant_by_its_place(app):
    app.write({"pipelines/q.yaml": PIPELINE.replace("hybrid", "[hybrid, rerank, {rerank: {top_k: 2}}]")})
    spec = load_pipeline("q", ["retrieve.2.rerank.top_k=3"]).spec
    assert [part.settings.top_k for part in spec.retrieve] == [8, 4, 3]
    with pytest.raises(SpecError, match=r"stands there 2 times.*retrieve\.1\.rerank"):
        load_pipeline("q", ["retrieve.rerank.top_k=3"])


def test_all_overrides_are_judged_at_once():
    with pytest.raises(SpecError) as caught:
        load_pipeline("p", ["a=1", "decode.rule.cad.alpha=x", "engine.dtype=f"])
    assert {problem.path for problem in caught.value.problems} == {"decode.rule.cad.alpha", "engine.dtype", "a"}
    assert {problem.file for problem in caught.value.problems} == {"--set"}


def leaves(value, path=()):
    """Every path to a plain value, both by part name and by index."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            if isinstance(item, dict) and len(item) == 1:
                yield from leaves(item, path)
            yield from leaves(item, (*path, str(position)))
    else:
        yield ".".join(path), value


def test_every_value_that_explain_prints_can_be_set(app):
    """Each path, by name and by index, set to the value it has, gives the same spec; all of them together too."""
    sets = ["decode.monitor=signals", "decode.stop=[a, b]"]
    before = load_pipeline("p", sets).spec
    found = list(leaves(plain(before)))
    assert len(found) > 60
    for path, value in found:
        assert load_pipeline("p", [*sets, f"{path}={json.dumps(value)}"]).spec == before, path
    assert load_pipeline("p", [*sets, *(f"{path}={json.dumps(value)}" for path, value in found)]).spec == before


@pytest.mark.parametrize("kind", ["indexes", "retrievers", "prompts", "models", "decoding", "pipelines"])
def test_it_holds_for_every_file_of_the_catalogue(kind):
    for name in names(kind):
        before = load_document(kind, name).spec
        dumped = plain(before)
        if kind == "retrievers":
            continue
        sets = [f"{path}={json.dumps(value)}" for path, value in leaves(dumped)]
        assert load_document(kind, name, sets).spec == before


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_no_text_is_more_than_an_error(text):
    with contextlib.suppress(SpecError):
        load_pipeline("p", [text])


def test_a_path_on_the_command_line_starts_in_the_current_folder(app):
    app.write({"pipelines/p.yaml": "model: smollm2-135m\nindex: {corpus: {path: .}}\nretrieve: bm25\n"})
    with pytest.raises(SpecError, match=r"paths are relative to the current folder"):
        load_pipeline("p", ["index.corpus.path=../nowhere"])
