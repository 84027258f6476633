"""Peak memory: it rises with what is taken, stays when that is given back, and can be begun anew."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from mulnb.core import memory
from mulnb.core.errors import UserError


def peaks() -> dict[str, float]:
    memory.forget_peak()
    before = memory.peak_mb()
    taken = np.ones(200_000_000, dtype=np.uint8)  # 200 MB, and every page of it is touched
    found = {"with it": memory.peak_mb() - before, "now": memory.now_mb() - before}
    del taken
    found["after it"] = memory.peak_mb() - before
    memory.forget_peak()
    return found | {"forgotten": memory.peak_mb() - before}


@pytest.mark.slow
def test_a_peak_rises_stays_and_is_forgotten(in_new_process):
    found = in_new_process(peaks)
    assert min(found["with it"], found["now"], found["after it"]) > 150
    if not memory.CLEAR.exists():
        pytest.skip("only Linux can begin a new peak")
    assert found["forgotten"] < 100


def faults() -> list[int]:
    """Pages that the system had to provide for the same arrays, ten times over: before `keep_freed`, and after it."""
    import resource

    def work() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            held = [np.ones(megabytes << 20, dtype=np.uint8) for megabytes in (3, 20, 45, 20)]
            del held
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    first = work()
    memory.keep_freed()
    work()  # the memory that is kept is taken once
    return [first, work()]


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept_for_the_next_arrays(in_new_process):
    given_back, kept = in_new_process(faults)
    assert kept < given_back / 20


def test_what_cannot_fit_is_refused_before_it_is_begun():
    memory.check_room(1, "one byte")
    if not memory.MACHINE.exists():
        pytest.skip("only Linux says how much memory is available")
    with pytest.raises(UserError, match=r"^1000000\.0 GB of memory are needed, .* GB are available: take less$"):
        memory.check_room(10**15, "take less")
