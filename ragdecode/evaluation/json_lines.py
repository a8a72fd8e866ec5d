"""Objects of a JSONL file, each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragdecode.errors import InputError
from ragdecode.evaluation.dataset import Mistake


def json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any] | Mistake]]:
    """Line number and object of each line that is not blank; what is no object is a mistake.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            yield number, Mistake(f"{file}:{number}", f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            yield number, Mistake(f"{file}:{number}", f"expected an object, found {row!r:.80}")
