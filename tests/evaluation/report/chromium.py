"""A page in a real browser, without a network and with nothing else on the machine."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def after(page, script, tmp_path, *, width=1280):
    """The page's document as it stands after a script has used it.

    The script is put behind the page's own with the policy taken away, since that would refuse it.
    """
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    path = tmp_path / "page.html"
    path.write_text(bare.replace("</body>", f"<script>{{{script}}}</script></body>"), encoding="utf-8")
    return dump(path, tmp_path, width=width)


def dump(path, tmp_path, *, width=1280):
    """The document of a file once its scripts have run."""
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--proxy-server=127.0.0.1:9", f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
            "--virtual-time-budget=2000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )  # fmt: skip
    return done.stdout
