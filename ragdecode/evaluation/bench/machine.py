"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ragdecode import __version__
from ragdecode.pipeline.pipeline import Pipeline

_CPUINFO = Path("/proc/cpuinfo")


def machine(pipeline: Pipeline) -> dict[str, Any]:
    """Processor, versions, threads, dtype and load, as plain data."""
    import torch

    model = pipeline.model
    found = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "ragdecode": __version__,
        "threads": torch.get_num_threads(),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "load_average": load_average(),
    }
    if model.device.type == "cuda":
        found["accelerator"] = torch.cuda.get_device_name(model.device)
    return found


def load_average() -> float | None:
    """Runnable processes over the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", _CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()
