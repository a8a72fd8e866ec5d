"""Makes data fit for JSON, which knows no infinity."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any


def plain_json(value: Any) -> Any:
    """The same data with mappings as dicts, sequences as lists, and null for numbers that are not finite."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    return value
