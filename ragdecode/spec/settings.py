"""The root of every typed piece of YAML."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Typed settings: immutable, documented fields, unknown keys refused.

    Modules that define settings must not import torch or any other framework at the top, so that
    ``check``, ``schema`` and ``explain`` stay instant.
    """

    bare: ClassVar[str] = ""
    """Of a part's settings: the field that a value alone stands for, as in ``trained: NAME``."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class NoSettings(Settings):
    """Settings of a part that has none."""
