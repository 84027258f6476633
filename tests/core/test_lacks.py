"""What a machine lacks is one line with what to do; what a program does wrong keeps its traceback."""

from __future__ import annotations

import errno
import os

import pytest

from mulnb.core.lacks import MEMORY, lack


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate …"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_too_little_memory_has_many_names(error):
    assert lack(error) == MEMORY


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.EMFILE, "Too many open files", "/a"), "ulimit -n"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "/a: Permission denied: choose another place"),
    ],
)
def test_what_the_system_refuses_comes_with_advice(error, words):
    assert words in lack(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), ImportError("no module"), OSError("?"), OSError(9, "Bad file")])
def test_a_fault_of_the_program_is_nothing_that_is_lacking(error):
    assert lack(error) is None


def test_a_working_folder_that_is_gone_is_called_so(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError) as error:
        os.getcwd()
    assert "does not exist any more: change to another one" in lack(error.value)
