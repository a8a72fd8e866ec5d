"""Stages that rework the question in YAML: checked, explained, in the catalogue."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ragdecode.cli.explain import command
from ragdecode.errors import SpecError
from ragdecode.spec.load import load_document, load_pipeline

CHAINS = {
    "conversational": "rewrite >> hybrid % 8",
    "bm25-rm3": "rm3 >> bm25 % 8",
    "dense-hyde": "hyde >> dense % 8",
    "hybrid-multi-query": "multi_query >> hybrid % 8",
}


def explained(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(("name", "chain"), CHAINS.items())
def test_the_catalogues_chains_go_into_a_pipeline(app, name, chain):
    facts = json.loads(explained("docs-qa", "--set", f"retrieve={name}", "--json"))
    assert facts["headline"].startswith(f"{chain} >> decode")
    assert load_document("retrievers", name).spec


def test_explain_fills_in_every_default_and_says_who_uses_the_model(app):
    chain = "[rewrite, {decompose: {by: clauses}}, rm3, hybrid, rerank]"
    text = explained("docs-qa", "--set", f"retrieve={chain}")
    assert "#   search   passes of the pipeline's own model for rewrite and rerank, before the first step" in text
    assert "original_weight: 0.5" in text
    app.write({"pipelines/again.yaml": text})
    assert load_pipeline("again").spec == load_pipeline("docs-qa", [f"retrieve={chain}"]).spec
    facts = json.loads(explained("docs-qa", "--set", f"retrieve={chain}", "--json"))
    assert facts["retrieve"] == [
        {"stage": "rewrite", "uses_model": True},
        {"stage": "decompose", "uses_model": False},
        {"stage": "rm3", "uses_model": False},
        {"stage": "hybrid", "uses_model": False},
        {"stage": "rerank", "uses_model": True},
    ]
    assert "search" not in explained("docs-qa", "--set", "retrieve=hybrid").split("\ndescription")[0]


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ("[bm25, rewrite]", "'rewrite' reworks the question; after 'bm25' it would come too late"),
        ("[rewrite]", "no stage finds passages"),
        ("[rm3, dense]", "'rm3' is for the store 'bm25', which 'dense' does not search"),
        ("[hyde, rewrite, bm25]", "'hyde' is for the store 'faiss', which 'bm25' does not search"),
        ("[hyde, {hybrid: {of: [bm25]}}]", "'hyde' is for the store 'faiss', which 'hybrid' does not search"),
        ("[{rm3: {store: words}}, hybrid]", "searches the store 'words'; the index has bm25, faiss"),
        ("[{hyde: {n: 3, temperature: 0}}, dense]", "n 3 passages at temperature 0 would all be the same"),
        ("{dense: {store: bm25}}", "needs a store that ranks by vectors; 'bm25' ranks by words (store: faiss)"),
        ("{bm25: {store: faiss}}", "needs a store that ranks by words; 'faiss' ranks by vectors (store: bm25)"),
        ("[bm25, {mmr: {store: bm25}}]", "retrieve.mmr: needs a store that ranks by vectors"),
        ("[{rm3: {store: faiss}}, dense]", "retrieve.rm3: needs a store that ranks by words"),
        (
            "{hybrid: {fuse: {weighted: {weights: {fais: 1}}}}}",
            "names the store 'fais', but only bm25, faiss are fused",
        ),
        ("{hybrid: {fuse: {weighted: {weights: {bm25: 0, faiss: 0}}}}}", "all 0: nothing would be ranked"),
        ("{hybrid: {fuse: {weighted: {weights: {bm25: .inf}}}}}", "expected a finite number"),
        ("{hybrid: {fuse: {rrf: {k: .inf}}}}", "expected a finite number"),
        ("{langchain: {retriever: subprocess.Popen}}", "'subprocess.Popen' is not of a LangChain package"),
        ("[bm25, {filter: {min_score: '3'}}]", "retrieve.filter.min_score: expected a number; found the text '3'"),
        ("[bm25, {filter: {min_score: true}}]", "retrieve.filter.min_score: expected a number"),
        ("[bm25, {filter: {where: {y: {min: 3, max: 1}}}}]", "retrieve.filter.where.y: min (3) is above max (1)"),
        ("[bm25, {filter: {where: {y: {max: .nan}}}}]", "min and max cannot be nan"),
        ("[{decompose: {by: {clauses: {x: 1}}}}, bm25]", "unknown key 'x'"),
        ("[{rewrite: {prompt: [{role: user, content: '{{ passage }}'}]}}, bm25]", "'passage' is undefined"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_loads(app, chain, message):
    app.write({"pipelines/p.yaml": f"model: smollm2-135m\nindex: docs\nretrieve: {chain}\n"})
    with pytest.raises(SpecError) as caught:
        load_pipeline("p")
    assert message in str(caught.value)
    assert "p.yaml:3" in str(caught.value)
