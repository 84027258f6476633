"""What a study computes does not depend on which instructions the libraries would choose."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mulnb.core import instructions

# What the libraries may use at most, as if the processor had no more: MKL, oneDNN and NumPy's own loops.
OLDER = {"MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41", "NPY_DISABLE_CPU_FEATURES": "X86_V3"}

TRAINING = """
import hashlib
from mulnb.core import instructions

instructions.fix()
import torch
from mulnb import models, training
from mulnb.config import Recipe
from mulnb.fast.stacked import Stack

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (300, 1, 8, 8), generator=generator, dtype=torch.uint8)
labels = torch.randint(0, 5, (300,), generator=generator)
data = training.Examples(images, labels, torch.full((1,), 0.5), torch.full((1,), 0.3))
stack = Stack([models.build("small_cnn", num_classes=5, in_channels=1, width=8, seed=seed) for seed in range(4)])
training.fit(stack, data, Recipe(epochs=5, batch=64, lr=0.1, momentum=0.9, weight_decay=5e-4), range(4))
print(hashlib.sha256(training.predict(stack, data).numpy().tobytes()).hexdigest())
"""


def trained(variables: dict[str, str]) -> str:
    """A hash of the logits of four networks, trained in a process of its own with these environment variables."""
    own = {name: value for name, value in os.environ.items() if name not in instructions.FIXED}
    return subprocess.run(
        [sys.executable, "-c", TRAINING], env=own | variables, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(not instructions._has_avx2(), reason="this processor has no AVX2")
def test_a_stack_is_trained_to_the_same_bits_by_other_instructions():
    assert trained({}) == trained(OLDER)


def test_it_fixes_what_the_user_has_not_set(monkeypatch, tmp_path):
    for name in (*instructions.FIXED, instructions.THREADS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setattr(instructions, "CPU", tmp_path / "cpuinfo")
    instructions.CPU.write_text("processor : 0\nflags : fpu sse2 fma avx2 avx512f\n")
    instructions.fix()
    assert os.environ["ATEN_CPU_CAPABILITY"] == "default"
    assert (os.environ["OPENBLAS_CORETYPE"], os.environ[instructions.THREADS]) == ("Haswell", "1")


@pytest.mark.parametrize("flags", ["processor : 0\nflags : fpu sse2 avx fma\n", "processor : 0\n", None])
def test_a_processor_without_avx2_is_left_alone(monkeypatch, tmp_path, flags):
    """Kernels for AVX2 would end its process."""
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(instructions, "CPU", tmp_path / "cpuinfo")
    if flags is not None:
        instructions.CPU.write_text(flags)
    instructions.fix()
    assert "OPENBLAS_CORETYPE" not in os.environ


@pytest.mark.slow
@pytest.mark.skipif(not instructions._has_avx2(), reason="this processor has no AVX2")
@pytest.mark.parametrize("module", ["mulnb.__main__", "mulnb.notebooks.run", "mulnb.notebooks.lab"])
def test_a_command_sets_them_before_it_imports_numpy(module):
    """Later they would do nothing."""
    code = f"""
import contextlib, {module} as command
with contextlib.suppress(SystemExit):
    command.main(["--help"])
import numpy, threadpoolctl, torch
libraries = threadpoolctl.threadpool_info()
[blas] = [found for found in libraries if found["internal_api"] == "openblas" and "numpy" in found["filepath"]]
print(blas["architecture"], blas["num_threads"], torch.backends.cpu.get_cpu_capability())
"""
    fixed = {*instructions.FIXED, instructions.THREADS}
    own = {name: value for name, value in os.environ.items() if name not in fixed}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "Haswell 1 AVX2"
