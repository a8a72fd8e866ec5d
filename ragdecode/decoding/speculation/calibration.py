"""Measuring what a step costs on this machine, once; kept on disk for the next time."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import ragdecode
from ragdecode.decoding.backend import Backend, Segment
from ragdecode.decoding.speculation.step_cost import StepCost

#: Numbers of new tokens that are measured.
SIZES = (1, 2, 4, 8, 16, 32)
#: Cached tokens of the two rows that are compared.
CONTEXTS = (64, 1024)
#: Numbers of rows, and of new tokens in each, that are measured together.
MANY_ROWS = ((2, 1), (2, 4), (2, 16), (8, 1), (8, 4))
#: Each cell is measured so often, and once before that to warm up.
ROUNDS = 3
#: No further round is begun after so many seconds.
PATIENCE = 4.0

_FORMAT = 2


def calibrated(
    backend: Backend,
    key: Mapping[str, str],
    folder: Path,
    *,
    sizes: Sequence[int] = SIZES,
    started: Callable[[], None] = lambda: None,
) -> StepCost:
    """The table of a backend: from disk if it was measured under the same circumstances, else measured now.

    Args:
        backend: Its rows are opened and closed; nothing else of it changes.
        key: What identifies its weights and the way it runs; the machine and versions are added.
        folder: Where tables are kept; one that cannot be written is done without.
        sizes: Numbers of new tokens to measure.
        started: Called before a measurement.

    Raises:
        RunError: There is no memory for a row.
    """
    whole = {**key, **_circumstances(backend), "sizes": " ".join(map(str, sizes))}
    name = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
    file = folder / f"{name}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):  # missing, damaged or strange: measured again
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] == _FORMAT and data["key"] == whole:
            return StepCost.from_json(data["cost"])
    started()
    cost = measure(backend, sizes=sizes)
    with suppress(OSError):
        _write(file, json.dumps({"format": _FORMAT, "key": whole, "cost": cost.to_json()}, indent=1))
    return cost


def measure(
    backend: Backend, *, sizes: Sequence[int] = SIZES, clock: Callable[[], float] = time.perf_counter
) -> StepCost:
    """Run a backend on scratch rows with random tokens; a few seconds for a small model on a CPU.

    Cells are measured in turn, so that a slow moment of the machine does not fall on one of them, and the least of
    a cell's times counts, for what disturbs a pass can only make it longer. What is cached in
    the rows is whatever was in memory: attention takes as long over it. A measured step is the pass, the softmax
    over its predictions and the picking of tokens.

    Raises:
        RunError: There is no memory for a row.
    """
    sizes = [size for size in sizes if size < backend.max_positions] or [1]
    room = backend.max_positions - sizes[-1] - 1
    near, far = min(CONTEXTS[0], max(0, room)), min(CONTEXTS[1], max(0, room))
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, backend.vocab_size, (sizes[-1],), generator=random).tolist()
    rows: list[int] = []

    def step(size: int, context: int, count: int) -> float:
        segments = [Segment(row, context, tokens[:size], range(size), None, range(size)) for row in rows[:count]]
        before = clock()
        logits = backend.forward(segments).logits
        torch.log_softmax(logits, dim=-1).argmax(dim=-1).tolist()  # waits for the device
        return clock() - before

    cells = [(size, context, 1) for size in sizes for context in dict.fromkeys((near, far))]
    cells += [(size, near, count) for count, size in MANY_ROWS if size in sizes]
    times: dict[tuple[int, int, int], list[float]] = {cell: [] for cell in cells}
    try:
        most = max(count for *_, count in cells)
        for capacity in (far + sizes[-1], *(near + sizes[-1],) * (most - 1)):
            rows.append(backend.open_row(capacity))
        begun = clock()
        for turn in range(1 + ROUNDS):
            if turn > 1 and clock() - begun > PATIENCE:
                break
            for cell in cells:
                seconds = step(*cell)
                if turn:
                    times[cell].append(seconds)
    finally:
        for row in rows:
            backend.close_row(row)
    typical = {cell: max(min(found), 1e-9) for cell, found in times.items()}
    return StepCost.from_times(
        sizes,
        [typical[size, near, 1] for size in sizes],
        [typical[size, far, 1] for size in sizes],
        (near, far),
        {(count, size): typical[size, near, count] for count, size in MANY_ROWS if size in sizes},
    )


def _circumstances(backend: Backend) -> dict[str, str]:
    """What a step's time depends on besides the weights."""
    device = backend.device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    shape: Sequence[Any] = (backend.vocab_size, backend.hidden_size, backend.layers, backend.max_positions)
    return {
        "backend": type(backend).__name__,
        "shape": " ".join(map(str, shape)),
        "dtype": str(backend.dtype),
        "device": f"{device} {named}",
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
        "torch": torch.__version__,
        "ragdecode": ragdecode.__version__,
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _write(file: Path, text: str) -> None:
    """Write beside and rename, so that a reader never sees half a table."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.stem, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
