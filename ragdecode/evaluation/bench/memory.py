"""Highest memory while something runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # see proc(5): resets the high-water mark of the resident set


class PeakMemory:
    """High-water mark of the process's resident memory, or of the accelerator's allocated memory.

    All contenders' weights are in the process at once, so only differences between contenders mean something.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        """Start again from what is used now."""
        if self._device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        elif _CLEAR.exists():
            try:
                _CLEAR.write_text(_RESET_PEAK)
            except OSError:  # then the mark stays that of the whole process, an upper bound
                return

    def megabytes(self) -> float | None:
        """Highest since the reset, in MB of 10^6 bytes; None where the system does not say."""
        if self._device.type == "cuda":
            import torch

            return torch.cuda.max_memory_allocated(self._device) / 1e6
        try:
            found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        except OSError:
            return None
        return int(found[1]) * 1024 / 1e6 if found else None
