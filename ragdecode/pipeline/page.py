"""One self-contained HTML file around data: its own style and script, no network, nothing in it is markup by chance.

The data stands in the page as a JSON block with ``<``, ``>`` and ``&`` escaped; the page's script draws it through
``textContent`` only. The content security policy allows this one style and script (by hash) and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragdecode.errors import RunError
from ragdecode.pipeline.plain_json import plain_json

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def render_page(
    template: str, *, title: str, style: str, script: str, data: Mapping[str, Any], body: str = "", brand: str = ""
) -> str:
    """Fill a page.

    Args:
        template: HTML with the fields ``{{policy}}``, ``{{title}}``, ``{{style}}``, ``{{script}}`` and ``{{data}}``,
            and ``{{body}}`` and ``{{brand}}`` where it wants them.
        title: Of the window; escaped here.
        style: CSS; must stand in the template as ``<style>{{style}}</style>``.
        script: JavaScript; must stand in the template as ``<script>{{script}}</script>``.
        data: What the script draws; numbers that are not finite become null.
        body: Markup that is safe already.
        brand: What kind of page it is; escaped here.
    """
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    fields = {
        "policy": policy,
        "title": html.escape(_printable(title)),
        "style": style,
        "script": script,
        "data": embed(data),
        "body": body,
        "brand": html.escape(brand),
    }
    # one pass over the template only, so that text which looks like a field stays text
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], template)


def write_page(text: str, path: Path, what: str) -> None:
    """Write a page; the file appears whole or not at all.

    Args:
        text: The page.
        path: The HTML file; replaced if it is there.
        what: What it is, for the message: ``the trace``.

    Raises:
        RunError: The file cannot be written.
    """
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {what} {path}: {error.strerror or error}",
            hint="name a file in a folder that exists and can be written",
        ) from error


def embed(data: Mapping[str, Any]) -> str:
    """Data as JSON that may stand inside a ``<script>`` element, whatever its texts hold."""
    text = json.dumps(plain_json(data), allow_nan=False)
    return re.sub("[<>&]", lambda match: _ESCAPES[match[0]], text)


def _printable(text: str) -> str:
    """Without characters that no HTML file may hold: lone surrogates and control characters."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
