"""Which of a processor's instructions sums are made with: the same ones on every x86 processor that has them.

A sum of rounded numbers depends on its order, and the libraries choose the order by the processor: eight numbers at a time with
AVX2, sixteen with AVX-512. The difference of one bit grows in a training until verdicts that stand on an edge fall differently.
So a study asks for AVX2 everywhere, which costs a few percent of its time where there is AVX-512.
"""

from __future__ import annotations

import os
from pathlib import Path

CPU = Path("/proc/cpuinfo")
NEEDED = {"avx2", "fma"}

THREADS = "OPENBLAS_NUM_THREADS"
FIXED = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's matrix products (`fast.products`): the first processor with AVX2
}


def fix() -> None:
    """Let this process, and those that it starts, compute with AVX2. It works until NumPy or torch is imported.

    What the user has set stays as it is. On a processor without AVX2, or where the system does not say (only Linux does), the
    libraries choose: results are then the same on machines of one kind.
    """
    os.environ.setdefault(THREADS, "1")  # several tasks run side by side; two threads would wait for each other
    if _has_avx2():
        for name, value in FIXED.items():
            os.environ.setdefault(name, value)


def _has_avx2() -> bool:
    """Whether the processor has AVX2; False where the system does not say."""
    try:
        lines = CPU.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return set(flags.split()) >= NEEDED
