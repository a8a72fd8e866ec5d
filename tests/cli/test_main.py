"""The entry point as a process: interrupts during imports, closed standard streams."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress

import pytest

MAIN = "from ragdecode.cli.main import main; main()"


def start(code: str, **more):
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, **more)


def test_ctrl_c_waits_for_an_import_that_would_swallow_it(tmp_path):
    (tmp_path / "swallows.py").write_text(
        "import time\n"
        "print('importing', flush=True)\n"
        "try:\n"
        "    for _ in range(20):\n"
        "        time.sleep(0.02)\n"
        "except KeyboardInterrupt:\n"
        "    print('swallowed', flush=True)\n"
    )
    code = (
        f"import sys, time; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from ragdecode.cli.interrupts import sure_interrupts\n"
        "try:\n"
        "    with sure_interrupts():\n"
        "        import swallows\n"
        "        print('imported', flush=True)\n"
        "        time.sleep(30)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    process = start(code, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert "swallowed" not in out
    assert (process.returncode, err) == (130, "")


def test_outside_of_imports_ctrl_c_comes_at_once_and_the_handler_goes_away_again():
    from ragdecode.cli.interrupts import sure_interrupts

    with pytest.raises(KeyboardInterrupt), sure_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("command", ["list", "check docs-qa", "--help"])
def test_a_closed_stdout_is_told(command):
    line = f"exec {sys.executable} -c '{MAIN}' {command} >&-"
    done = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: stdout is closed: there is nowhere to write the answer\n")


def test_closed_stdin_and_stderr_do_no_harm():
    line = f"exec {sys.executable} -c '{MAIN}' list models <&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", line], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert "smollm2-135m" in done.stdout


def test_an_error_that_native_code_makes_of_ctrl_c_is_ctrl_c():
    from ragdecode.cli.interrupts import sure_interrupts

    def native() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ValueError("could not determine the shape")

    with pytest.raises(KeyboardInterrupt), sure_interrupts():
        native()
    with pytest.raises(ValueError, match="an error of its own"), sure_interrupts():
        raise ValueError("an error of its own")
