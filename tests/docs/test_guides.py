"""The guides are true: links resolve, YAML blocks are valid, the README's Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.diagnosis import DiagnosisSpec
from ragdecode.spec.index import CorpusSpec, IndexSpec, SplitSpec
from ragdecode.spec.load import load_document
from ragdecode.spec.model import ModelSpec
from ragdecode.spec.pipeline import PipelineSpec
from ragdecode.spec.prompt import PromptSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

#: spec -> (kind of file, how a block of its keys is wrapped into one)
FORMS = [
    (PipelineSpec, "pipelines", lambda block: block),
    (DecodeSpec, "decoding", lambda block: block),
    (IndexSpec, "indexes", lambda block: {"corpus": {"path": "."}} | block),
    (CorpusSpec, "indexes", lambda block: {"corpus": {"path": "."} | block}),
    (SplitSpec, "indexes", lambda block: {"corpus": {"path": "."}, "split": block}),
    (ModelSpec, "models", lambda block: block),
    (PromptSpec, "prompts", lambda block: block),
    (
        DiagnosisSpec,
        "diagnoses",
        lambda block: block | {"index": str(ROOT / "indexes" / "docs.yaml"), "text": str(ROOT / "docs")},
    ),
]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str) -> list:
    return [
        pytest.param(text, id=f"{name(page)}:{page.read_text()[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for match in FENCE.finditer(page.read_text(encoding="utf-8"))
        if match[1] == language and (text := match[2])
    ]


def with_paths(value):
    """The block with every path of a reader's own replaced by one that is there."""
    if isinstance(value, dict):
        return {
            key: str(ROOT / "docs") if key == "path" and isinstance(item, str) else with_paths(item)
            for key, item in value.items()
        }
    return [with_paths(item) for item in value] if isinstance(value, list) else value


def whole_pipeline(block):
    """A part of a pipeline with the least that makes it a whole one."""
    if "index" in block or "retrieve" in block:
        block = {"index": "docs", "retrieve": "bm25"} | block
        if isinstance(block["index"], dict):
            block["index"] = {"corpus": {"path": str(ROOT / "docs")}} | block["index"]
    return {"model": "smollm2-135m"} | block


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    for target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{name(page)} links to {target}"
            assert there.is_relative_to(ROOT)
            if anchor:
                heads = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_blocks_are_valid(text, tmp_path):
    block = YAML(typ="safe").load(text)
    forms = [(kind, wrap) for spec, kind, wrap in FORMS if set(block) <= set(spec.model_fields)]
    assert forms, f"keys of no kind of file: {', '.join(block)}"
    kind, wrap = forms[0]
    document = with_paths(wrap(block))
    if kind == "pipelines":
        document = whole_pipeline(document)
    (tmp_path / "pipelines").mkdir()
    file = tmp_path / "pipelines" / "block.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(document, stream)
    load_document(kind, file)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_blocks_compile(text):
    compile(text, "block", "exec")


def test_every_guide_can_be_reached_from_the_readme():
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            todo += [
                (page.parent / target.partition("#")[0]).resolve()
                for target in LINK.findall(prose(page))
                if ":" not in target
            ]
    assert not [name(page) for page in PAGES if page not in seen]


def test_every_built_in_method_has_a_page():
    from ragdecode.spec import registry

    pages = {page.stem for page in ROOT.glob("docs/methods/*.md")}
    for kind in ("rule", "drafter", "constraint", "monitor"):
        own = {info.name for info in registry.parts(kind).values() if info.origin == "ragdecode"}
        assert own <= pages


def test_method_pages_have_the_same_headings():
    for page in ROOT.glob("docs/methods/*.md"):
        heads = re.findall(r"^\*\*([A-Z][a-zA-Z ]+)\.\*\*", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert heads == ["What", "When to use it", "YAML", "Cost", "Evidence", "Source"], name(page)


def test_readme_opens_with_the_two_commands_and_stays_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line.split("#")[0].strip() for line in lines[3:5]] == ["make demo", "make test"]
    assert len(lines) < 150


@pytest.mark.real
def test_readme_python_runs(capsys):
    (text,) = [match[2] for match in FENCE.finditer((ROOT / "README.md").read_text()) if match[1] == "python"]
    assert len(text.strip().splitlines()) <= 10
    exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= 4
    assert any(line.startswith("1 ") and ".md" in line for line in printed)
