from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.documents.loader import Loaded
from ragdecode.documents.loaders.langchain import LangChainLoader, LangChainLoaderSettings
from ragdecode.documents.reader import UnreadableError, readers_by_suffix
from ragdecode.documents.readers.langchain import LangChainReader, LangChainReaderSettings
from ragdecode.errors import InputError, RunError
from ragdecode.spec.index import CorpusSpec
from tests.documents.pdfs import pdf
from tests.documents.test_jsonl import texts
from tests.indexing.doubles import build, index_spec, opened

LOADERS = '''
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

FAIL = {"file": FileNotFoundError("no such file"), "net": ConnectionError("refused"), "odd": KeyError("k"),
        "import": ImportError("pip install deep")}


class Listed(BaseLoader):
    """Documents given as arguments; fails at the end if told to."""

    def __init__(self, documents, fail=None):
        self.documents, self.fail = documents, fail

    def lazy_load(self):
        for text, metadata in self.documents:
            yield Document(page_content=text, metadata=metadata)
        if self.fail:
            raise FAIL[self.fail]


class Upper(BaseLoader):
    """Reads a file; tells its place in the metadata."""

    seen = []

    def __init__(self, path, sign=""):
        self.path, self.sign = path, sign

    def lazy_load(self):
        import os
        Upper.seen.append((self.path, os.stat(self.path).st_mode))
        text = open(self.path, encoding="utf-8").read()
        if text.startswith("break"):
            raise ValueError(f"cannot parse {self.path}")
        name = self.path.rsplit("/", 1)[1]
        metadata = {"source": self.path, "name": name, "kind": "up"}
        yield Document(page_content=text.upper() + self.sign, metadata=metadata)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "langchain_made_up.py").write_text(LOADERS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield "langchain_made_up"
    sys.modules.pop("langchain_made_up", None)


def listed(package: str, documents: list[tuple[str, dict[str, Any]]], **settings: Any) -> list[Any]:
    arguments = {"documents": documents, **settings.pop("arguments", {})}
    made = LangChainLoaderSettings(loader=f"{package}.Listed", arguments=arguments, **settings)
    return list(LangChainLoader(made).load())


def test_a_real_loader_by_its_short_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Some notes.\r\nTwo lines.")
    settings = LangChainLoaderSettings(loader="TextLoader", paths={"file_path": str(tmp_path / "notes.txt")})
    (loaded,) = LangChainLoader(settings).load()
    assert isinstance(loaded, Loaded)
    assert (loaded.source, loaded.document.text) == ("TextLoader/notes.txt", "Some notes.\nTwo lines.")


def test_pages_of_a_real_pdf_loader_are_counted_from_one(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(["First page", "Second page"]))
    settings = LangChainLoaderSettings(loader="PyPDFLoader", paths={"file_path": str(tmp_path / "a.pdf")}, name="mine")
    (loaded,) = LangChainLoader(settings).load()
    assert loaded.source == "mine/a.pdf"
    assert [(page.number, loaded.document.text[page.start :][:5]) for page in loaded.document.pages] == [
        (1, "First"),
        (2, "Secon"),
    ]
    assert loaded.document.metadata["total_pages"] == 2
    assert "page" not in loaded.document.metadata


def test_rows_of_a_real_csv_loader_are_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,color\napple,red\npear,green\n")
    settings = LangChainLoaderSettings(loader="CSVLoader", paths={"file_path": str(tmp_path / "a.csv")})
    (loaded,) = LangChainLoader(settings).load()
    assert texts(loaded.document) == {"1": "name: apple\ncolor: red", "2": "name: pear\ncolor: green"}
    assert [record.metadata for record in loaded.document.records] == [{"row": 0}, {"row": 1}]


def test_names_are_unique_and_metadata_scalars(package: str) -> None:
    documents = [
        ("one", {"source": "a", "year": 1, "deep": {"x": 1}, "list": [1], "long": "l" * 400}),
        ("two", {"source": "b"}),
        ("three", {"source": "a"}),
        ("four", {}),
        ("five", {}),
    ]
    loaded = listed(package, documents)
    assert [item.source for item in loaded] == ["Listed/a", "Listed/b", "Listed/a#2", "Listed/4", "Listed/5"]
    assert loaded[0].document.metadata == {"year": 1}
    assert [item.document.text for item in loaded] == ["one", "two", "three", "four", "five"]


def test_absolute_paths_are_shown_relative_to_the_current_folder(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (loaded,) = listed(package, [("x", {"source": str(tmp_path / "sub" / "f.txt")})])
    assert loaded.source == "Listed/sub/f.txt"


@pytest.mark.parametrize(
    ("fail", "error", "message"),
    [
        ("file", InputError, r"failed after 1 documents: FileNotFoundError: no such file"),
        ("import", InputError, "pip install deep"),
        ("net", RunError, "ConnectionError: refused"),
        ("odd", RunError, "KeyError"),
    ],
)
def test_a_loader_that_fails_ends_the_build(package: str, fail: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        listed(package, [("x", {})], arguments={"fail": fail})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loader": "os.system"}, "not of a LangChain package"),
        ({"loader": "TextLoader", "arguments": {"allow_dangerous_requests": True}}, "switches off a protection"),
        ({"loader": ""}, "at least 1 character"),
    ],
)
def test_settings_are_checked_when_they_are_read(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LangChainLoaderSettings(**settings)


def reader(package: str, **settings: Any) -> LangChainReader:
    settings = {"loader": f"{package}.Upper", "suffixes": [".up"], "path_argument": "path", **settings}
    return LangChainReader(LangChainReaderSettings(**settings))


def test_a_reader_gives_the_loader_a_private_copy_that_is_gone_afterwards(package: str) -> None:
    made = reader(package, suffixes=[".UP", ".down"], arguments={"sign": "!"})
    document = made.of_suffix(".down").read(b"text")
    assert (document.text, document.metadata) == ("TEXT!", {"kind": "up"})
    path, mode = sys.modules[package].Upper.seen[-1]
    assert path.endswith(".down")
    assert stat.S_IMODE(mode) == 0o600
    assert not Path(path).parent.exists()


def test_a_file_that_the_loader_cannot_read_is_refused_without_the_name_of_the_copy(package: str) -> None:
    with pytest.raises(UnreadableError, match=r"^Upper cannot read it: ValueError: cannot parse the file$"):
        reader(package).read(b"break")
    with pytest.raises(UnreadableError, match="UnicodeDecodeError"):
        reader(package).read(b"\xff")
    with pytest.raises(UnreadableError, match="no text in it"):
        reader(package).read(b"  ")


def test_wrong_arguments_of_a_reader_are_the_users_error(package: str) -> None:
    with pytest.raises(InputError, match=r"does not take these arguments \(file_path\)(?s:.*)path_argument"):
        reader(package, path_argument="file_path").read(b"x")


@pytest.mark.parametrize("suffixes", [[], ["rtf"], [".tar.gz"], ["."]])
def test_suffixes_have_one_dot(suffixes: list[str]) -> None:
    with pytest.raises(ValidationError):
        LangChainReaderSettings(loader="TextLoader", suffixes=suffixes)


def test_several_langchain_readers_stand_beside_the_built_in_ones(package: str, tmp_path: Path) -> None:
    corpus = CorpusSpec.model_validate(
        {
            "path": str(tmp_path),
            "readers": [
                {"langchain": {"loader": f"{package}.Upper", "suffixes": [".up"], "path_argument": "path"}},
                {"langchain": {"loader": "TextLoader", "suffixes": [".log", ".txt"]}},
            ],
        }
    )
    readers = readers_by_suffix(corpus.readers)
    assert readers[".up"].read(b"a").text == "A"
    assert readers[".log"].read(b"b").text == readers[".txt"].read(b"b").text == "b"
    assert readers[".md"].read(b"# c").headings[0].text == "c"


def test_an_index_of_loaded_and_read_documents(package: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.up").write_text("the words of a file")
    (tmp_path / "docs" / "b.up").write_text("break")
    corpus = {
        "include": ["*.up"],
        "readers": [{"langchain": {"loader": f"{package}.Upper", "suffixes": [".up"], "path_argument": "path"}}],
        "loaders": [
            {"langchain": {"loader": f"{package}.Listed", "arguments": {"documents": [["from afar", {"year": 3}]]}}}
        ],
    }
    report = build(index_spec(tmp_path / "docs", stores=["bm25"], corpus=corpus), tmp_path / "index")
    passages = {passage.source: passage for passage in opened(tmp_path / "index").passages}
    assert {source: passage.text for source, passage in passages.items()} == {
        "a.up": "THE WORDS OF A FILE",
        "Listed/1": "from afar",
    }
    assert passages["Listed/1"].attributes == {"year": 3}
    assert [(one.source, one.reason) for one in report.skipped] == [
        ("b.up", "Upper cannot read it: ValueError: cannot parse the file")
    ]
