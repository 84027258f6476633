"""Signals that end a process: an exception that tidies up, the exit code of a shell, and no second one in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from terminal import hears_signals

from mulnb.core import stopping
from mulnb.core.stopping import Stopped

RUN = """
import os, signal, sys, time
from mulnb.core import commands

def work():
    try:
        WORK
        time.sleep(60)
    finally:
        for number in (2, 15, 1):  # an impatient user, and a batch system
            os.kill(os.getpid(), number)
        print("tidied up", flush=True)

sys.exit(commands.exit_code(work))
"""


def ended(work, before=""):
    """How a command ends in which `work` is done."""
    code = before + RUN.replace("WORK", work)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, preexec_fn=hears_signals)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_command_tidy_up_and_gives_the_code_of_a_shell(number):
    done = ended(f"os.kill(os.getpid(), {int(number)})")
    assert (done.returncode, done.stdout) == (128 + number, "tidied up\n")
    assert done.stderr.startswith("mulnb: interrupted; ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["mulnb.__main__", "mulnb.notebooks.run"])
def test_a_command_hears_signals_before_it_imports_what_takes_long(module):
    code = f"import sys, {module}; print(sorted({{'numpy', 'pydantic', 'torch', 'yaml'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_what_a_library_makes_of_an_interrupt_is_an_interrupt():
    done = ended("exec('try: os.kill(os.getpid(), 15)\\nexcept BaseException: raise ValueError(5)')")
    assert done.returncode == 143 and done.stderr.count("\n") == 1


def test_a_signal_that_is_ignored_stays_ignored():
    done = ended("os.kill(os.getpid(), 1); return", before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    assert done.returncode == 130  # the next one, which is not ignored


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with stopping.signals_raise():
        pass
    with pytest.raises(ZeroDivisionError), stopping.signals_raise():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


def test_what_cannot_wait_is_done_before_the_signal_raises():
    done: list[str] = []
    with pytest.raises(Stopped), stopping.signals_raise(), stopping.beforehand(lambda: done.append("killed")):
        os.kill(os.getpid(), signal.SIGTERM)
    assert done == ["killed"]
    for number, handler in zip(stopping.SIGNALS, (signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL), strict=False):
        signal.signal(number, handler)  # this process goes on
