from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragdecode.errors import InputError, RunError
from ragdecode.spec.class_path import check_arguments, construct, load_class

LOADER = "langchain_core.document_loaders.BaseLoader"
STORE = "langchain_core.vectorstores.VectorStore"
LOADERS = "langchain_community.document_loaders"
STORES = "langchain_community.vectorstores"


def load(path: str, trust: bool = False, base: str = LOADER, module: str = LOADERS) -> type:
    return load_class(path, base=base, module=module, trust=trust, where="loader langchain")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that can be imported, forgotten at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


LOADER_SOURCE = """
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document


class Mine(BaseLoader):
    def lazy_load(self):
        yield Document(page_content="mine")
"""


def test_short_and_full_names_lead_to_the_same_class() -> None:
    short = load("TextLoader")  # first, because the package warns of itself when it is imported

    from langchain_community.document_loaders import TextLoader

    assert short is TextLoader
    assert load("langchain_community.document_loaders.TextLoader") is TextLoader
    assert load("langchain_community.document_loaders.text.TextLoader") is TextLoader


def test_a_vector_store_is_found_in_the_core_package() -> None:
    from langchain_core.vectorstores import InMemoryVectorStore

    assert load("langchain_core.vectorstores.InMemoryVectorStore", base=STORE, module=STORES) is InMemoryVectorStore


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "langchainevil.Loader",
        "Langchain_core.documents.Document",
        "ragdecode.errors.InputError",
        "langchain-community.document_loaders.TextLoader",
        "langchain_core..documents.Document",
        ".langchain_core.documents",
        "langchain_core.documents.Document()",
        "TextLoader ",
        "",
        "os;TextLoader",
        "langchain_core/documents.Document",
        "lаngchain_core.documents.Document",  # a Cyrillic letter
    ],
)
def test_what_is_no_langchain_path_is_refused_before_it_is_imported(path: str) -> None:
    before = set(sys.modules)
    with pytest.raises(InputError, match=r"^loader langchain: "):
        load(path)
    assert set(sys.modules) - before == set()


@pytest.mark.parametrize(
    "path",
    [
        "langchain_core.documents.Document",  # a class, of another kind
        "langchain_core.load.loads",  # a function
        "langchain_core.load",  # a module
        "langchain_community.document_loaders.text.Path",  # a class that the module imports from elsewhere
        "langchain_community.document_loaders.text.logger",
    ],
)
def test_what_is_not_of_the_kind_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="is not a BaseLoader"):
        load(path)


@pytest.mark.parametrize("path", [STORE, LOADER])
def test_a_class_that_is_made_to_be_derived_from_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="is abstract"):
        load(path, base=path)


def test_another_package_needs_trust_and_then_still_the_right_kind(packages: Path) -> None:
    (packages / "somebodys.py").write_text(LOADER_SOURCE)
    with pytest.raises(InputError, match=r"not of a LangChain package.*trust: true"):
        load("somebodys.Mine")
    assert "somebodys" not in sys.modules
    assert load("somebodys.Mine", trust=True).__name__ == "Mine"
    with pytest.raises(InputError, match="is not a BaseLoader"):
        load("subprocess.Popen", trust=True)


def test_a_partner_package_is_allowed(packages: Path) -> None:
    (packages / "langchain_partner_made_up.py").write_text(LOADER_SOURCE)
    assert load("langchain_partner_made_up.Mine").__module__ == "langchain_partner_made_up"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("TextLoadr", r"has no class 'TextLoadr'\n.*did you mean 'TextLoader'\?"),
        ("langchain_community.document_loaderz.TextLoader", r"no module 'langchain_community.document_loaderz'"),
        (
            "langchain_not_there.Loader",
            r"langchain_not_there, which is not installed\n.*pip install langchain-not-there",
        ),
    ],
)
def test_a_miss_names_what_is_missing_and_the_way_out(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(path)


def test_failures_of_the_package_are_told(packages: Path) -> None:
    (packages / "langchain_needs.py").write_text("import not_installed_at_all.deep\n")
    with pytest.raises(InputError, match=r"needs the package 'not_installed_at_all'.*\n.*pip install not-installed"):
        load("langchain_needs.Mine")
    (packages / "langchain_breaks.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match="cannot be imported: ZeroDivisionError: division by zero"):
        load("langchain_breaks.Mine")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"allow_dangerous_deserialization": True}, "allow_dangerous_deserialization"),
        ({"allow_dangerous_requests": "yes"}, "allow_dangerous_requests"),
        ({"kwargs": {"model_kwargs": {"trust_remote_code": True}}}, "kwargs.model_kwargs.trust_remote_code"),
        ({"steps": [{"unsafe_html": 1}]}, "steps.0.unsafe_html"),
    ],
)
def test_arguments_that_switch_off_a_protection_need_trust(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=rf"'{named}'(?s:.*)trust: true"):
        check_arguments(arguments, trust=False, where="store langchain")
    check_arguments(arguments, trust=True, where="store langchain")


def test_harmless_arguments_pass() -> None:
    check_arguments({"allow_dangerous_deserialization": False, "k": 3, "a": [{"b": None}]}, trust=False, where="x")


class Needy:
    def __init__(self, path: str, fail: Exception | None = None) -> None:
        if fail:
            raise fail


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, InputError, r"does not take these arguments \(none\)(?s:.*)its arguments are path, fail"),
        ({"pth": 1}, InputError, r"arguments \(pth\)"),
        ({"path": "x", "fail": ImportError("pip install deep")}, InputError, "needs a package"),
        ({"path": "x", "fail": ConnectionError("refused")}, RunError, "cannot be made: refused"),
        ({"path": "x", "fail": KeyError("k")}, RunError, "KeyError"),
    ],
)
def test_what_goes_wrong_in_a_constructor_is_told(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        construct(Needy, arguments, where="x")
