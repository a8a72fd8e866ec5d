"""The hub source against a hub of our own on the loopback interface."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import SecretStr

from ragdecode.errors import InputError, RunError
from ragdecode.models import hub
from ragdecode.models.causal import load_causal
from ragdecode.models.manifest import Manifest
from ragdecode.models.store import ModelStore
from ragdecode.spec.model import ModelSpec
from tests.models import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Repositories by name: revision -> files. ``private`` ones want the token; ``cut`` files break off half-way."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, str] = {}
        self.cut: set[str] = set()
        self.requests: list[str] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:  # noqa: C901
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def error(self, code: str, status: int = 404) -> None:
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def answer(self, body: bool) -> None:
                url = unquote(urlsplit(self.path).path)
                outer.requests.append(url)
                api = url.startswith("/api/models/")
                parts = url.removeprefix("/api/models/").strip("/").split("/")
                repo, rest = "/".join(parts[:2]), parts[2:]
                revisions = outer.repositories.get(repo)
                token = outer.private.get(repo)
                if revisions is None or (token and self.headers.get("Authorization") != f"Bearer {token}"):
                    return self.error("RepoNotFound", 401 if token else 404)
                revision = rest[1] if len(rest) > 1 else "main"
                files = revisions.get("main" if revision == COMMIT else revision)
                if files is None:
                    return self.error("RevisionNotFound")
                if api and rest[:1] == ["tree"]:
                    tree = [
                        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for name, data in files.items()
                    ]
                    return self.send(json.dumps(tree).encode(), body, {})
                if api:
                    siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                    info = {
                        "id": repo,
                        "modelId": repo,
                        "sha": COMMIT,
                        "siblings": siblings,
                        "tags": [],
                        "private": False,
                    }
                    return self.send(json.dumps(info).encode(), body, {})
                name = "/".join(rest[2:])
                if name not in files:
                    return self.error("EntryNotFound")
                data = files[name]
                headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
                return self.send(data, body, headers, cut=name in outer.cut)

            def send(self, data: bytes, body: bool, headers: dict[str, str], cut: bool = False) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                self.close_connection = True

        return Handler


@pytest.fixture
def fake(monkeypatch):
    """A hub, and the hub source pointed at it."""
    fake = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), fake.handler())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    original = hub.download_repository
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(hub, "download_repository", lambda *args: original(*args, endpoint=endpoint))
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def spec(repo: str = "owner/tiny", revision: str = "main", token: str | None = None) -> ModelSpec:
    source = {"hub": {"repo": repo, "revision": revision}}
    if token:
        source["hub"]["token"] = SecretStr(token)
    return ModelSpec.model_validate({"name": "tiny", "source": source})


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def entries(store: ModelStore) -> list[str]:
    return [entry.name for entry in store.folder.iterdir() if not entry.name.endswith(".lock")]


def test_data_files_only_are_fetched_and_the_commit_is_pinned(tmp_path, fake, llama):
    extra = {
        "pytorch_model.bin": b"pickle",
        "modeling_tiny.py": b"raise SystemExit",
        "README.md": b"#",
        "onnx/model.safetensors": b"other",
        "1_Pooling/config.json": b"{}",
    }
    fake.repositories["owner/tiny"] = {"main": {**contents(llama), **extra}}
    store = ModelStore(tmp_path)
    path = store.pull(spec())
    names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert names == {*contents(llama), "1_Pooling/config.json", "manifest.json"}
    assert Manifest.read(path).commit == COMMIT
    assert not [url for url in fake.requests if url.endswith((".bin", ".py"))]
    fake.repositories.clear()
    model = load_causal(spec(), store=store)
    assert model.end_tokens == {0, 2}


def test_another_revision_is_another_copy(tmp_path, fake, llama):
    other = {**contents(llama), "chat_template.jinja": b"other"}
    fake.repositories["owner/tiny"] = {"main": contents(llama), "v2": other}
    store = ModelStore(tmp_path)
    first, second = store.pull(spec()), store.pull(spec(revision="v2"))
    assert first != second
    assert len(store.list()) == 2


def test_a_gguf_repository_is_converted(tmp_path, fake):
    expected = tiny.write_gguf(tmp_path / "tiny.gguf")
    fake.repositories["owner/tiny"] = {"main": {"tiny.gguf": (tmp_path / "tiny.gguf").read_bytes()}}
    path = ModelStore(tmp_path / "cache").pull(spec())
    assert Manifest.read(path).tensors == len(expected)
    assert not list(path.glob("*.gguf"))


def test_a_private_repository_opens_with_the_token_only(tmp_path, fake, llama):
    fake.repositories["owner/tiny"] = {"main": contents(llama)}
    fake.private["owner/tiny"] = "hf_secret"
    with pytest.raises(InputError, match="no repository") as caught:
        ModelStore(tmp_path).pull(spec())
    assert "ENV" in str(caught.value.hint)
    path = ModelStore(tmp_path).pull(spec(token="hf_secret"))
    assert not [file for file in path.rglob("*") if file.is_file() and b"hf_secret" in file.read_bytes()]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (spec("owner/nothing"), "no repository 'owner/nothing'"),
        (spec(revision="v9"), "no revision 'v9'"),
        (spec("a..b/c"), "not a repository name"),
    ],
)
def test_wrong_repositories_and_revisions_are_named(tmp_path, fake, llama, wrong, message):
    fake.repositories["owner/tiny"] = {"main": contents(llama)}
    store = ModelStore(tmp_path)
    with pytest.raises(InputError, match=message):
        store.pull(wrong)
    assert entries(store) == []


def test_a_repository_with_only_pickled_weights_is_refused(tmp_path, fake):
    fake.repositories["owner/tiny"] = {"main": {"config.json": b"{}", "pytorch_model.bin": b"x"}}
    store = ModelStore(tmp_path)
    with pytest.raises(InputError, match=r"pytorch_model\.bin can run code"):
        store.pull(spec())
    assert entries(store) == []


def test_several_gguf_files_are_a_question_to_the_user(tmp_path, fake):
    fake.repositories["owner/tiny"] = {"main": {"a.gguf": b"x", "b.gguf": b"x"}}
    with pytest.raises(InputError, match="2 GGUF files"):
        ModelStore(tmp_path).pull(spec())


def test_a_download_that_breaks_off_leaves_nothing(tmp_path, fake, llama, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    fake.repositories["owner/tiny"] = {"main": contents(llama)}
    fake.cut.add("model.safetensors")
    store = ModelStore(tmp_path)
    with pytest.raises(RunError, match="cannot fetch owner/tiny"):
        store.pull(spec())
    assert entries(store) == []
    fake.cut.clear()
    assert store.pull(spec()).is_dir()


def test_offline_is_said_at_once(tmp_path, fake, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match="HF_HUB_OFFLINE"):
        ModelStore(tmp_path).pull(spec())
    assert fake.requests == []


def test_a_hub_that_does_not_answer_is_a_clear_error(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    server.server_close()
    original = hub.download_repository
    monkeypatch.setattr(hub, "download_repository", lambda *args: original(*args, endpoint=endpoint))
    with pytest.raises(RunError, match="check the network"):
        ModelStore(tmp_path).pull(spec())


def test_python_files_are_fetched_only_for_those_who_trust_them():
    names = ["model.safetensors", "modeling.py", "config.json", "sub/x.py"]
    assert hub.choose_files("a/b", names, False) == ["model.safetensors", "config.json"]
    assert hub.choose_files("a/b", names, True) == ["model.safetensors", "config.json", "modeling.py"]
