"""The files for running the service elsewhere: linted here, not run."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path
from shutil import which

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "ragdecode.service"

#: Keys of the Compose specification that these files may use; a wrong one would be refused by Compose.
TOP = {"name", "services", "volumes"}
SERVICE = {
    "build", "cap_drop", "command", "deploy", "environment", "healthcheck", "image", "logging", "ports", "profiles",
    "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip


def compose(name="compose.yaml"):
    return YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))


def hadolint():
    beside = ROOT / ".venv" / "bin" / "hadolint"
    return str(beside) if beside.exists() else which("hadolint")


def test_hadolint_finds_nothing_in_the_dockerfile():
    program = hadolint()
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_runs_without_rights_and_carries_no_secret():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert "HEALTHCHECK" in text
    assert not re.search(r"^\s*(ENV|ARG).*(KEY|PASSWORD|TOKEN|SECRET)", text, re.MULTILINE)
    # what is copied first is there, so that a build does not stop at a name that moved
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name


def test_compose_files_use_keys_that_exist():
    for name in ("compose.yaml", "compose.gpu.yaml"):
        data = compose(name)
        assert set(data) <= TOP, name
        for service, settings in data["services"].items():
            assert set(settings) <= SERVICE, service
    assert set(compose("compose.gpu.yaml")["services"]) <= set(compose()["services"])


def test_compose_names_its_volumes_opens_loopback_only_and_holds_no_secret():
    data = compose()
    for service in data["services"].values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in data["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for name, value in service["environment"].items():
            if re.search("KEY|PASSWORD|STORAGE", name):
                assert value.startswith("${"), name


def test_the_unit_is_one_that_systemd_reads():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(UNIT, encoding="utf-8")
    assert unit["Service"]["NoNewPrivileges"] == "yes"
    assert int(unit["Service"]["TimeoutStopSec"]) > 15
    program = which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine")
    done = subprocess.run([program, "verify", str(UNIT)], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if "ragdecode.service" in line]
    # the program is not installed where the unit says; nothing else may be wrong
    assert [line for line in complaints if "is not executable" not in line] == []
