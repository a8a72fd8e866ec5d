"""Elements of HTML and SVG whose texts and attributes cannot become markup."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup, escape

_NO_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9:-]*")
_EMPTY = frozenset({"br", "hr", "img", "input", "meta", "link"})


def safe(text: Any) -> Markup:
    """Text as it may stand in a page: escaped unless it is `Markup`, characters that no page may hold replaced."""
    if isinstance(text, Markup):
        return text
    return escape(_NO_CHARACTER.sub("\ufffd", str(text)))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """One element.

    Args:
        name: Its name, such as ``td`` or ``circle``.
        children: Texts (escaped) and `Markup` (as it is); None is nothing.
        attributes: ``class_`` and ``for_`` stand for ``class`` and ``for``; ``_`` becomes ``-``, but in ``viewBox``
            and the like nothing changes. None and False leave an attribute out, True writes it bare; numbers are
            written with at most two decimals.

    Raises:
        ValueError: A name is no name, or an attribute could run script or style past the page's policy.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an element")
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in _EMPTY:
        return Markup(f"<{name}{written}>")  # noqa: S704 - name checked, attributes escaped
    inside = "".join(safe(child) for child in children if child is not None)
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704 - name checked, the rest escaped


def joined(*parts: Any) -> Markup:
    """Texts (escaped) and markup (as it is) one after the other."""
    return Markup("").join(safe(part) for part in parts if part is not None)


def _attribute(name: str, value: Any) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an attribute")
    if name == "style" or name.lower().startswith("on"):
        raise ValueError(f"attribute {name} is forbidden by the page's policy")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{safe(value)}"'
