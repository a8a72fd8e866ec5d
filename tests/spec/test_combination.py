"""Parts that go together load, and their views and costs are planned from their classes alone."""

from __future__ import annotations

import pytest

from ragdecode.errors import SpecError
from ragdecode.spec.dump import to_yaml
from ragdecode.spec.explanation import explanation
from ragdecode.spec.headline import headline
from ragdecode.spec.kind_of import kind_of
from ragdecode.spec.load import load_document, load_pipeline
from ragdecode.spec.view_plan import planned_views, step_cost


def pipeline(app, decode="", more=""):
    app.write({"pipelines/p.yaml": f"model: smollm2-135m\n{more}" + (f"decode: {decode}\n" if decode else "")})
    return load_pipeline("p")


@pytest.mark.parametrize(
    ("decode", "views", "passes", "rows", "nodes"),
    [
        ("", ["with_context/rule"], 1, 1, 1),
        ("{draft: prompt_lookup}", ["with_context/rule"], 1, 1, 16),
        ("{rule: cad}", ["with_context/rule", "without_context/rule"], 1, 2, 1),
        ("{rule: cad, monitor: {watches: {view: without_context}}}",
         ["with_context/rule", "without_context/rule"], 1, 2, 1),
        ("{rule: [cad, reads], views: {rag: {}}, draft: looks, max_draft_nodes: 5}",
         ["with_context/rule", "without_context/rule", "rag/both"], 1, 3, 5),
        ("{rule: cad, views: {rag: {role: draft}}, draft: looks}",
         ["with_context/rule", "without_context/rule", "rag/draft"], 1, 2, 16),
    ],
)  # fmt: skip
def test_views_and_costs(app, decode, views, passes, rows, nodes):
    spec = pipeline(app, decode).spec
    assert [f"{view.name}/{view.role}" for view in planned_views(spec.decode)] == views
    cost = step_cost(spec)
    assert (cost.passes, cost.rows, cost.nodes, cost.tokens) == (passes, rows, nodes, rows * nodes)


@pytest.mark.parametrize(
    "decode", ["{rule: sequential}", "{rule: sequential, draft: looks, max_draft_nodes: 1, views: {rag: {}}}"]
)
def test_a_rule_that_no_tree_allows_goes_without_drafts(app, decode):
    assert step_cost(pipeline(app, decode).spec).nodes == 1


@pytest.mark.parametrize(
    "more",
    [
        "rule: [cad, particular]", "draft: prompt_lookup", "constraint: {ban: {phrases: [x]}}", "monitor: signals",
        "sampling: {temperature: 0.7}", "max_draft_nodes: 21",
    ],
)  # fmt: skip
def test_a_rule_may_refuse_what_acts_beside_it_with_its_place(app, more):
    assert pipeline(app, "{rule: particular, sampling: {temperature: 1}}").spec
    keys = {"rule": "rule: particular", "sampling": "sampling: {temperature: 1}"}
    lines = [*(text for key, text in keys.items() if not more.startswith(key)), more]
    app.write({"pipelines/q.yaml": "model: smollm2-135m\ndecode:\n" + "".join(f"  {line}\n" for line in lines)})
    line = 2 + 1 + next(i for i, text in enumerate(lines) if "particular" in text)
    with pytest.raises(SpecError, match=rf"q.yaml:{line}: decode.rule.particular: it is particular \(leave it alone"):
        load_pipeline("q")


def test_a_rule_that_expands_costs_a_pass_over_the_candidates_of_every_node(app):
    cost = step_cost(pipeline(app, "{rule: [cad, expands], draft: prompt_lookup}").spec)
    assert (cost.passes, cost.rows, cost.nodes, cost.expanding) == (2, 3, 16, ("expands",))
    assert cost.tokens == 2 * 16 + 16 * (1 + 3)


def test_a_view_on_another_model_is_another_pass(app):
    (app.root / "w").mkdir()
    app.write({"configs/models/small.yaml": "source: {path: {path: ../../w}}\n"})
    spec = pipeline(app, "{rule: [reads], views: {rag: {model: small}}}").spec
    assert (step_cost(spec).passes, step_cost(spec).rows) == (2, 2)
    spec = pipeline(app, "{rule: [reads], views: {rag: {model: smollm2-135m}}}").spec
    assert step_cost(spec).passes == 1


def test_a_view_model_must_be_causal(app):
    with pytest.raises(SpecError, match=r"decode.views.rag.model: 'minilm' is a model of kind encoder"):
        pipeline(app, "{rule: [reads], views: {rag: {model: minilm}}}")


def test_several_bad_combinations_are_said_at_once(app):
    with pytest.raises(SpecError) as caught:
        pipeline(app, "{rule: [cad, evidence_too], draft: [looks, looks], views: {other: {}}}", "retrieve: bm25\n")
    text = str(caught.value)
    for part in ("no index", "cannot go together", "stands twice", "nothing uses the view 'other'", "'rag'"):
        assert part in text


@pytest.mark.parametrize(
    ("more", "decode", "line"),
    [
        ("", "", "decode[plain]"),
        ("", "{draft: prompt_lookup, monitor: signals}", "decode[prompt_lookup + signals]"),
        (
            "index: {corpus: {path: ../docs}, stores: [bm25, faiss]}\nretrieve: hybrid-reranked\n",
            "cad",
            "hybrid % 8 >> rerank % 4 >> decode[cad + prompt_lookup]",
        ),
    ],
)
def test_headline(app, more, decode, line):
    assert headline(pipeline(app, decode, more).spec) == line


@pytest.mark.parametrize("name", ["docs-qa", "conflict", "plain"])
def test_what_explain_prints_loads_to_the_same_pipeline(app, name):
    before = load_pipeline(name)
    app.write({"pipelines/again.yaml": to_yaml(before.spec)})
    again = load_pipeline("again")
    assert again.spec == before.spec
    assert to_yaml(again.spec) == to_yaml(before.spec)
    assert explanation(again)["step"] == explanation(before)["step"]


def test_the_explanation_says_what_each_view_is_shown():
    facts = explanation(load_pipeline("docs-qa"))
    assert facts["views"] == [
        {"name": "with_context", "prompt": "grounded", "passages": "all", "model": "smollm2-135m", "inside": None,
         "used_by": ["answer"], "verified": True},
        {"name": "without_context", "prompt": "grounded", "passages": "none", "model": "smollm2-135m", "inside": None,
         "used_by": ["cad"], "verified": True},
    ]  # fmt: skip
    assert {item["path"]: item["name"] for item in facts["names"]} == {
        "index.stores.faiss.encoder": "minilm", "prompt": "grounded", "model": "smollm2-135m",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("decoding", "rule: [cad, evidence_too]", "cannot go together"),
        ("indexes", "corpus: {path: docs}\nstores: [bm25, bm25]", "stands twice"),
        ("retrievers", "- rerank", "cannot come before one"),
    ],
)
def test_other_documents_are_checked_alone(app, kind, text, message):
    app.write({"x.yaml": text})
    with pytest.raises(SpecError, match=message):
        load_document(kind, "x.yaml")


@pytest.mark.parametrize(
    ("file", "text", "kind"),
    [
        ("indexes/x.yaml", "", "indexes"),
        ("configs/models/x.yaml", "", "models"),
        ("configs/prompts/x.yaml", "", "prompts"),
        ("configs/decoding/x.yaml", "", "decoding"),
        ("retrievers/x.yaml", "", "retrievers"),
        ("pipelines/x.yaml", "", "pipelines"),
        ("x.yaml", "- bm25", "retrievers"),
        ("x.yaml", "bm25: {top_k: 2}", "retrievers"),
        ("x.yaml", "model: a", "pipelines"),
        ("x.yaml", "description: d\nrule: cad", "decoding"),
        ("x.yaml", "corpus: {}", "indexes"),
        ("x.yaml", "messages: []", "prompts"),
        ("x.yaml", "kind: causal\nsource: {}", "models"),
        ("x.yaml", "a: [", "pipelines"),
    ],
)
def test_the_kind_of_a_file_is_found_out(app, file, text, kind):
    app.write({file: text})
    assert kind_of(file) == kind


def test_the_kind_of_a_name_is_found_out(app):
    assert [kind_of(name) for name in ("docs-qa", "hybrid", "grounded", "minilm", "cad", "docs", "nope")] == [
        "pipelines", "retrievers", "prompts", "models", "decoding", "indexes", "pipelines",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("index: {corpus: {path: .}, stores: []}\nretrieve: bm25\n", r"index.stores: the index has no store"),
        ("index: {corpus: {path: ., include: []}}\nretrieve: bm25\n", r"index.corpus.include: no pattern"),
        ("index: {corpus: {path: .}, stores: [{faiss: {encoder: smollm2-135m}}]}\nretrieve: dense\n",
         r"index.stores.faiss.encoder: 'smollm2-135m' is a model of kind causal"),
        ("decode: {rule: {cad: {against: with_context}}}\n", r"decode.rule.cad.against: 'with_context' is the view"),
        ("engine: {device: tpu}\n", r"engine.device: expected auto, cpu, mps, cuda, xpu.*found 'tpu'"),
    ],
)  # fmt: skip
def test_what_could_only_fail_later_is_refused(app, more, problem):
    with pytest.raises(SpecError, match=problem):
        pipeline(app, more=more)


def test_an_index_that_nothing_searches_is_blamed_on_the_pipeline(app):
    app.write({"indexes/i.yaml": "description: mine\ncorpus: {path: .}\n"})
    with pytest.raises(SpecError, match=r"pipelines/p.yaml:2: index: nothing searches"):
        pipeline(app, more="index: i\n")


@pytest.mark.parametrize(
    ("draft", "looks"),
    [
        ("prompt_lookup", 0),
        ("{view: {name: rag, depth: 5}}", 5),
        ("{rasd: {retrieve: prompt_lookup, generate: {view: {name: rag, depth: 3}}}}", 3),
        ("{rasd: {retrieve: prompt_lookup, generate: {view: {name: rag}}}}, max_draft_nodes: 1", 0),
    ],
)
def test_the_looks_of_drafters_are_counted(app, draft, looks):
    views = "views: {rag: {role: draft}}, " if "rag" in draft else ""
    assert step_cost(pipeline(app, f"{{{views}draft: {draft}}}").spec).looks == looks


def test_views_of_inner_drafters_count_as_used_and_are_checked(app):
    fused = "draft: {rasd: {retrieve: prompt_lookup, generate: {view: {name: rag}}}}"
    spec = pipeline(app, f"{{views: {{rag: {{role: draft}}}}, {fused}}}").spec
    assert [(view.name, view.role, view.drafters) for view in planned_views(spec.decode)][1:] == [
        ("rag", "draft", ("rasd",))
    ]
    with pytest.raises(SpecError, match=r"decode.draft.rasd: asks for the view 'rag', which is not declared"):
        pipeline(app, f"{{{fused}}}")
    with pytest.raises(SpecError, match=r"drafts from the view 'rag', whose role is 'rule'"):
        pipeline(app, f"{{views: {{rag: {{role: rule}}}}, {fused}}}")
