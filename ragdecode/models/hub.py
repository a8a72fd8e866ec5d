"""Weights from a repository of the Hugging Face hub, pinned to a commit, data files only."""

from __future__ import annotations

import glob
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ragdecode.errors import InputError, RunError
from ragdecode.models.disk import require_space
from ragdecode.models.files import CODE_OR_PICKLE, is_data_file
from ragdecode.models.progress import Progress
from ragdecode.spec.model import HubSource


def download_repository(
    source: HubSource, raw: Path, model: Path, remote_code: bool, progress: Progress, endpoint: str | None = None
) -> tuple[Path, str]:
    """Fetch the data files of a repository.

    Args:
        source: Repository, revision, token.
        raw: Folder for a GGUF file.
        model: Folder for safetensors, configuration and tokenizer.
        remote_code: Fetch the repository's Python files too.
        progress: Told what is done.
        endpoint: Address of the hub; the user's ``HF_ENDPOINT`` or the public one if left out.

    Returns:
        The GGUF file or the model folder, and the commit.

    Raises:
        InputError: No such repository or revision, no access, or no weights that are safe to read.
        RunError: Offline, or the network failed.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub import errors as hub_errors
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if constants.is_offline_mode():
        raise RunError(
            f"{source.repo} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
            hint="unset HF_HUB_OFFLINE, or name a folder with the weights (source: {path: ...})",
        )
    # the error of the HTTP library that the hub's client is built on, which depends on its version
    network_error: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
    # a token left out means the one of the user's own login, if there is one
    token = None if source.token is None else source.token.get_secret_value()
    stage = f"fetch {source.repo}"
    progress(stage, 0, 0)
    try:
        info = HfApi(endpoint=endpoint, token=token).model_info(
            source.repo, revision=source.revision, files_metadata=True
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        wanted = choose_files(source.repo, list(sizes), remote_code)
        gguf = next((name for name in wanted if name.endswith(".gguf")), None)
        folder = model if gguf is None else raw
        folder.mkdir(parents=True, exist_ok=True)
        total = sum(sizes[name] for name in wanted)
        require_space(folder, total)
        commit = info.sha
        if commit is None:
            raise RunError(f"{source.repo}: the hub does not say which commit {source.revision} is")
        disable_progress_bars()
        with _watch(folder, stage, total, progress):
            snapshot_download(
                source.repo,
                revision=commit,
                local_dir=folder,
                allow_patterns=[glob.escape(name) for name in wanted],
                token=token,
                endpoint=endpoint,
            )
    except GatedRepoError as error:
        raise InputError(
            f"{source.repo} is gated", hint="accept its terms on the hub and set token: ${ENV:NAME}"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"{source.repo} has no revision {source.revision!r}") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"no repository {source.repo!r} on the hub, or no access to it",
            hint="check the name; a private repository needs token: ${ENV:NAME}",
        ) from error
    except HFValidationError as error:
        raise InputError(f"not a repository name: {source.repo!r}", hint="expected owner/name") from error
    except OfflineModeIsEnabled as error:
        raise RunError(f"cannot fetch {source.repo}: offline") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, network_error, ConnectionError, TimeoutError) as error:
        raise RunError(
            f"cannot fetch {source.repo}: {_first_line(error)}", hint="check the network and try again"
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        raise RunError(f"{source.repo}: the hub did not deliver {missing[0]}")
    return (folder if gguf is None else folder / gguf), commit


@contextmanager
def _watch(folder: Path, stage: str, total: int, progress: Progress) -> Iterator[None]:
    """Report the size of ``folder`` while the block fills it."""
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(0.5):
            done = 0
            for file in folder.rglob("*"):
                with suppress(OSError):  # files are renamed meanwhile
                    done += file.stat().st_size if file.is_file() else 0
            progress(stage, min(done, total), total)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def choose_files(repo: str, names: Sequence[str], remote_code: bool) -> list[str]:
    """The files of a repository that are wanted: safetensors at the top (else the one GGUF file), and small data files.

    Raises:
        InputError: There are no weights that are safe to read, or several GGUF files.
    """
    top = [name for name in names if "/" not in name]
    weights = [name for name in top if name.endswith(".safetensors")]
    if "model.safetensors" in weights:
        weights = ["model.safetensors"]
    elif sharded := [name for name in weights if name.startswith("model-")]:
        weights = sharded
    if not weights:
        gguf = [name for name in top if name.endswith(".gguf")]
        if len(gguf) == 1:
            return gguf
        if gguf:
            raise InputError(
                f"{repo} has {len(gguf)} GGUF files and no safetensors",
                hint=f"download one of {', '.join(sorted(gguf))} and name it: source: {{path: FILE.gguf}}",
            )
        pickled = [name for name in names if name.endswith(CODE_OR_PICKLE) and not name.endswith(".py")]
        raise InputError(
            f"{repo} has no safetensors or GGUF weights"
            + (f"; {', '.join(sorted(pickled)[:5])} can run code and is not fetched" if pickled else ""),
            hint="choose a repository or revision with safetensors",
        )
    small = [name for name in names if is_data_file(name) and not name.endswith((".safetensors", ".gguf"))]
    code = [name for name in top if name.endswith(".py")] if remote_code else []
    return weights + small + code


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
