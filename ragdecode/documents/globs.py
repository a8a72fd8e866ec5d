"""Glob patterns over relative paths: ``*`` within a folder, ``**/`` over any number of folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A test whether a path (relative, ``/`` between folders) fits any of the patterns.

    Upper and lower case are equal, so that ``Report.PDF`` is not lost to ``*.pdf``.
    """
    if not patterns:
        return lambda path: False
    combined = re.compile("|".join(f"(?:{_regex(pattern)})" for pattern in patterns), re.IGNORECASE | re.DOTALL)
    return lambda path: combined.fullmatch(path) is not None


def _regex(pattern: str) -> str:
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    out, at = [], 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out.append("(?:[^/]+/)*")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        elif pattern[at] == "*":
            out.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            out.append("[^/]")
            at += 1
        elif pattern[at] == "[" and (close := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : close].replace("\\", r"\\")
            out.append("[" + ("^" + inside[1:] if inside[0] == "!" else inside) + "]")
            at = close + 1
        else:
            out.append(re.escape(pattern[at]))
            at += 1
    return "".join(out)
