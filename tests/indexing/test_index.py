from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragdecode.errors import InputError, RagDecodeError, RunError
from ragdecode.indexing.index import open_index, verify_index
from ragdecode.indexing.passages import PassageTable, write_offsets
from ragdecode.spec.index import IndexSpec
from tests.indexing.doubles import build, index_spec, opened, put, word_offsets


@pytest.fixture
def built(tmp_path: Path) -> tuple[IndexSpec, Path]:
    put(tmp_path / "docs")
    spec = index_spec(tmp_path / "docs")
    build(spec, tmp_path / "index")
    return spec, tmp_path / "index"


def data_files(target: Path) -> list[Path]:
    return sorted(path for path in target.glob("data-*/**/*") if path.is_file())


def change_manifest(target: Path, **changes: Any) -> None:
    file = target / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_no_index_is_told_with_the_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no index(.|\n)*ragdecode index build"):
        open_index(tmp_path / "nothing")


@pytest.mark.parametrize("harm", ["missing", "shorter", "longer"])
def test_any_missing_or_resized_file_is_found_on_opening(built: tuple[IndexSpec, Path], harm: str) -> None:
    spec, target = built
    for file in data_files(target):
        content = file.read_bytes()
        if harm == "missing":
            file.unlink()
        else:
            file.write_bytes(content[:-1] if harm == "shorter" else content + b"x")
        with pytest.raises(RunError, match=rf"damaged: .*{file.name}(.|\n)*ragdecode index build"):
            open_index(target, spec)
        file.write_bytes(content)
    assert open_index(target, spec).verify() == []


def test_any_flipped_bit_is_found_by_verify(built: tuple[IndexSpec, Path]) -> None:
    spec, target = built
    for file in data_files(target):
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        name = "/".join(file.relative_to(target).parts[1:])
        assert verify_index(target) == [f"{name}: its content has changed"]
        file.write_bytes(content)
    assert opened(target, spec).verify() == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": 99}, "has format 99; this version reads format 4"),
        ({"folder": "../../etc"}, "folder"),
        ({"data": {"../x": {"size": 1, "sha256": ""}}}, r"data"),
        ({"data": {}}, "data"),
        ({"passages": 3}, "4 passages, expected 3"),
        ({"more": 1}, "more"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(
    built: tuple[IndexSpec, Path], changes: dict[str, Any], complaint: str
) -> None:
    change_manifest(built[1], **changes)
    with pytest.raises(RunError, match=complaint) as caught:
        open_index(built[1])
    assert "ragdecode index build" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_manifest_that_is_no_json_is_refused(built: tuple[IndexSpec, Path], content: bytes) -> None:
    (built[1] / "manifest.json").write_bytes(content)
    with pytest.raises(RunError):
        open_index(built[1])


def test_another_spec_or_tokenizer_is_refused_with_the_difference(
    built: tuple[IndexSpec, Path], tmp_path: Path
) -> None:
    _, target = built
    root = tmp_path / "docs"
    with pytest.raises(InputError, match=r"index.split.tokens was 200, now 100"):
        open_index(target, index_spec(root, split={"tokens": 100}))
    with pytest.raises(InputError, match=r"index.stores"):
        open_index(target, index_spec(root, ["bm25"]))
    with pytest.raises(InputError, match="another tokenizer"):
        open_index(target, tokenizer_fingerprint="words-2")
    open_index(target, index_spec(root, description="only words"), tokenizer_fingerprint="words-1")


def test_an_unknown_store_is_named_beside_the_known(built: tuple[IndexSpec, Path]) -> None:
    with pytest.raises(InputError, match="no store 'dense'; it has bm25, faiss"):
        opened(built[1]).search("dense", ["x"], 1)


def test_info_tells_the_facts(built: tuple[IndexSpec, Path]) -> None:
    spec, target = built
    info = opened(target).info()
    assert json.loads(json.dumps(info)) == info
    assert (info["files"], info["passages"], info["tokenizer"]) == (4, 4, "words-1")
    assert info["tokens"] == sum(len(word_offsets(passage.text)) for passage in opened(target).passages)
    assert info["bytes"] == sum(file.stat().st_size for file in [*data_files(target), target / "files-1.jsonl"])
    assert info["bytes"] == sum(info["data"].values())
    assert info["stores"]["faiss"]["facts"]["encoder"] == "hashed-1"
    assert info["spec"] == spec.model_dump(mode="json")


def test_passages_are_read_by_row_and_found_by_id(built: tuple[IndexSpec, Path]) -> None:
    index = opened(built[1])
    every = list(index.passages)
    assert index.passages[-1] == every[-1]
    assert index.passages[1:3] == every[1:3]
    assert index.passage(every[2].id) == every[2]
    assert index.passage("nobody") is None
    with pytest.raises(IndexError):
        index.passages[4]


def test_nothing_in_an_index_is_pickled(built: tuple[IndexSpec, Path]) -> None:
    assert {file.suffix for file in data_files(built[1])} <= {".json", ".jsonl", ".npy"}
    for file in data_files(built[1]):
        if file.suffix == ".npy":
            np.load(file, allow_pickle=False)


def test_passage_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "passages.jsonl").write_bytes(b'{"id": 1}\n')
    write_offsets(tmp_path)
    assert len(PassageTable(tmp_path)) == 1
    with pytest.raises(RunError, match="passage 0"):
        PassageTable(tmp_path)[0]
    (tmp_path / "passages.jsonl").write_bytes(b"shorter")
    with pytest.raises(RunError, match="do not fit"):
        PassageTable(tmp_path)


def test_errors_have_one_root(tmp_path: Path) -> None:
    with pytest.raises(RagDecodeError):
        open_index(tmp_path)


def test_readers_are_not_disturbed_by_builds(built: tuple[IndexSpec, Path], tmp_path: Path) -> None:
    spec, target = built
    early, late = opened(target), opened(target)
    expected = early.search("bm25", ["blue"], 4)
    put(tmp_path / "docs", {"new.txt": "A blue whale."})
    build(spec, target)
    assert early.search("bm25", ["blue"], 4) == expected, "an open index stays as it was"
    assert len(early.passages[0].text) > 0
    with pytest.raises(RunError, match=r"rebuilt since it was opened(.|\n)*open it again"):
        late.search("bm25", ["blue"], 4)
    assert len(opened(target).search("bm25", ["blue"], 4)[0]) == 3


def test_an_index_can_be_opened_at_any_moment_of_a_build(built: tuple[IndexSpec, Path], tmp_path: Path) -> None:
    spec, target = built
    done = threading.Event()
    failures: list[Exception] = []
    opens = 0

    def read() -> None:
        nonlocal opens
        while not done.is_set():
            try:
                index = opened(target)
                assert len(list(index.passages)) >= 4
                opens += 1
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(8):
        put(tmp_path / "docs", {"new.txt": f"Text number {number}."})
        build(spec, target)
    done.set()
    reader.join()
    assert failures == []
    assert opens > 0


def test_of_many_equal_passages_only_those_that_are_shown_are_read(tmp_path: Path, monkeypatch) -> None:
    put(tmp_path / "docs", {f"{number:03}.txt": f"the same footer {number:03}" for number in range(300)})
    put(tmp_path / "docs", {"best.txt": "footer", "other.txt": "nothing here"})
    spec = index_spec(tmp_path / "docs", ["bm25"])
    build(spec, tmp_path / "index")
    index = opened(tmp_path / "index", spec)
    assert [index.passages.id(row) for row in range(len(index.passages))] == [one.id for one in index.passages]
    (everything,) = index.search("bm25", ["footer"], 1000)
    assert len(everything) == 301
    assert everything[0].passage.source == "best.txt"
    read: list[int] = []
    plain = PassageTable.__getitem__
    monkeypatch.setattr(PassageTable, "__getitem__", lambda self, row: read.append(row) or plain(self, row))
    for k in (1, 2, 7):
        read.clear()
        assert index.search("bm25", ["footer"], k) == [everything[:k]]
        assert len(read) == k


def test_rows_that_a_changed_byte_made_up_are_damage(tmp_path: Path) -> None:
    put(tmp_path / "docs")
    target = tmp_path / "index"
    build(index_spec(tmp_path / "docs", [{"bm25": {"backend": "bm25s"}}]), target)
    (file,) = target.glob("data-*/stores/bm25/indices*.npy")
    rows = np.load(file)
    np.save(file, np.full_like(rows, 60_000))
    with pytest.raises(RunError, match=r"is damaged: store bm25: (.|\n)*build --force"):
        open_index(target).search("bm25", ["green apples"], 3)


def test_a_broken_array_is_not_proposed_to_be_unpickled(built: tuple[IndexSpec, Path]) -> None:
    (file,) = built[1].glob("data-*/passages.offsets.npy")
    file.write_bytes(b"\x80" * file.stat().st_size)
    with pytest.raises(RunError, match="the header of an array is broken") as caught:
        open_index(built[1])
    assert "pickle" not in str(caught.value)


def test_an_index_that_may_not_be_read_is_not_called_damaged(
    built: tuple[IndexSpec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(RunError, match=r"cannot be read: manifest.json: Permission denied(.|\n)*permissions"):
        open_index(built[1])
