"""Parts of another installed package: listed, checked and run like built-in ones, broken ones named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pipeline import tiny_app

SOURCE = Path(__file__).with_name("acme_parts")
ROOT = Path(__file__).resolve().parents[2]
DECODING = {"rules": "favour", "drafters": "again", "constraints": "never", "monitors": "counter"}
SEARCH = {"retrievers": "backwards", "fusions": "by_length", "stores": "length", "readers": "acme"}
FIRST, SECOND = 40, 41
DECODE = {
    "rule": {"favour": {"tokens": [FIRST, SECOND]}},
    "draft": {"again": {"token": SECOND}},
    "constraint": {"never": {"token": FIRST}},
    "monitor": "counter",
    "max_new_tokens": 12,
    "governor": "off",  # it may find that drafts do not pay for so small a model
}


def wheel(folder: Path, name: str, modules: dict[str, str], entry_points: str) -> Path:
    """A wheel, written by hand."""
    info = f"{name}-1.0.dist-info"
    files = modules | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    file = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return file


def install(file: Path, target: Path) -> Path:
    """Install a wheel into a folder, with pip and without a network."""
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(file)], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def acme(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("acme")
    groups = [(DECODING, "decoding_parts"), (SEARCH, "search_parts")]
    points = "".join(
        f"[ragdecode.{group}]\n{name} = acme_parts.{module}\n"
        for parts, module in groups
        for group, name in parts.items()
    )
    modules = {f"acme_parts/{path.name}": path.read_text() for path in SOURCE.glob("*.py")}
    return install(wheel(folder, "acme_parts", modules, points), folder / "site")


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    root = tiny_app.write_app(folder / "app", tiny_app.write_model(folder / "model"))
    (root / "docs" / "long.acme").write_text(("The longest text of them all tells of a very long river. " * 2)[::-1])
    tiny_app.write_pipeline(
        root,
        "acme",
        index={
            "corpus": {"path": "../docs", "include": ["**/*"]},
            "split": {"tokens": 256, "overlap": 0},
            "stores": ["bm25", "length"],
        },
        retrieve=[{"hybrid": {"top_k": 2, "fuse": "by_length"}}, "backwards"],
        decode=DECODE,
    )
    return root


def command(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
        "RAGDECODE_CACHE": str(cwd / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    line = [sys.executable, "-c", "from ragdecode.cli.main import main; main()", *arguments]
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_every_kind_is_listed_with_its_origin(acme, app):
    done = command(acme, app, "list", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    for group, name in (DECODING | SEARCH).items():
        rows = {row["name"]: row for row in listed[group.removesuffix("s")]}
        assert rows[name]["origin"] == "acme_parts"
        assert rows[name]["summary"]


def test_a_pipeline_of_them_is_checked(acme, app):
    assert command(acme, app, "check", "pipelines/acme.yaml").returncode == 0
    wrong = command(acme, app, "check", "pipelines/acme.yaml", "--set", "decode.rule.favour.tokens=x")
    assert wrong.returncode == 2
    assert "decode.rule.favour.tokens" in wrong.stderr
    unknown = command(acme, app, "check", "pipelines/acme.yaml", "--set", "decode.draft=agian")
    assert unknown.returncode == 2
    assert "again" in unknown.stderr


def test_schema_knows_them(acme, app):
    schema = command(acme, app, "schema").stdout
    for name in (*DECODING.values(), "by_length", "length", "backwards"):
        assert f'"{name}"' in schema


def test_they_act_in_a_run(acme, app):
    done = command(acme, app, "ask", "pipelines/acme.yaml", "How long is the river?", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    # reader: the file read backwards; store and fusion: the longest first; retriever: order turned round
    assert len(answer["passages"]) == 2
    assert answer["passages"][1]["text"].startswith("The longest text of them all")
    stats = answer["stats"]
    assert stats["new_tokens"] == 12
    assert stats["steps"] < 12
    assert stats["sources"]["again"]["accepted"] == stats["accepted"] > 0
    assert stats["monitors"]["counter"] == {"counted": 12}


@pytest.mark.parametrize("draft", [DECODE["draft"], []])
def test_rule_and_constraint_choose_every_token(acme, app, draft):
    request = {"id": "a", "question": "Why?", "passages": [{"text": "Because."}]}
    (app / "lines.jsonl").write_text(json.dumps(request))
    arguments = [
        "decode",
        "pipelines/acme.yaml",
        "--requests",
        "lines.jsonl",
        "--set",
        f"decode.draft={json.dumps(draft)}",
    ]
    done = command(acme, app, *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["token_ids"] == [SECOND] * 12
    free = command(acme, app, *arguments, "--set", "decode.constraint=[]")
    assert json.loads(free.stdout)["token_ids"] == [FIRST] * 12


def test_a_broken_one_is_named(tmp_path):
    modules = {"broken_parts.py": "import a_module_that_is_not_there\n"}
    file = wheel(tmp_path, "broken_parts", modules, "[ragdecode.rules]\nbroken = broken_parts\n")
    site = install(file, tmp_path / "site")
    done = command(site, tmp_path, "list", "rule")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in ("'broken'", "ragdecode.rules", "a_module_that_is_not_there", "hint:"):
        assert word in done.stderr
    assert command(site, tmp_path, "list", "store").returncode == 0
