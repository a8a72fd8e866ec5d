"""Parts of other packages come in through entry points, and are credited to their distribution."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragdecode.spec import registry

PLUGIN = '''
from pydantic import Field
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

class MineSettings(Settings):
    weight: float = Field(default=1.0, ge=0)

@register("rule", "mine", MineSettings)
class Mine:
    """A rule of another package."""
    views = ()
    def __init__(self, settings):
        self.settings = settings
'''


def install(folder: Path, source: str) -> None:
    """What an installer leaves: a module and its metadata."""
    (folder / "some_plugin.py").write_text(source)
    info = folder / "some_plugin_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragdecode.rules]\nmine = some_plugin\n")


def ragdecode(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("ragdecode"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_plug_in_is_listed_checked_and_in_the_schema(tmp_path):
    install(tmp_path, PLUGIN)
    rows = {row["name"]: row for row in json.loads(ragdecode(tmp_path, "list", "rule", "--json").stdout)["rule"]}
    assert rows["mine"] == {"name": "mine", "origin": "some-plugin-dist", "summary": "A rule of another package."}
    assert rows["cad"]["origin"] == "ragdecode"
    assert ragdecode(tmp_path, "check", "plain", "--set", "decode.rule.mine.weight=2").returncode == 0
    wrong = ragdecode(tmp_path, "check", "plain", "--set", "decode.rule.mine.weight=-2")
    assert (wrong.returncode, "expected at least 0" in wrong.stderr) == (2, True)
    schema = json.loads(ragdecode(tmp_path, "schema").stdout)
    assert "mine" in [arm.get("const") for arm in schema["$defs"]["rule"]["anyOf"]]


def test_a_broken_plug_in_is_named(tmp_path):
    install(tmp_path, "import no_such_module_at_all\n")
    done = ragdecode(tmp_path, "check", "conflict")
    assert done.returncode == 2
    assert "the plug-in 'mine' (some_plugin) of group ragdecode.rules cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_is_registered_once():
    class Other:
        """Another."""

    registry.register("rule", "twice")(type("One", (), {}))
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("rule", "twice")(Other)
    with pytest.raises(ValueError, match="unknown kind"):
        registry.register("rull", "x")
