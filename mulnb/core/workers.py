"""Independent tasks on whatever workers there are: the only place that knows about processes and progress bars.

One torch thread per task, parallelism across tasks: two threads in a process collapse beside another busy process, and with one
thread serial and parallel runs are bitwise equal.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mulnb.core.errors import UserError

BACKENDS = ("serial", "processes", "ray")
T = TypeVar("T")


def count(on_gpu: bool = True) -> int:
    """How many tasks run at once: `MULNB_WORKERS`, or one per core; one where a GPU does the work, if it can do it at all."""
    if given := os.environ.get("MULNB_WORKERS"):
        if not given.isdigit() or int(given) < 1:
            raise UserError(f"workers = {given!r}: should be a whole number of at least 1")
        return int(given)
    if on_gpu and _there_is_a_gpu():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _there_is_a_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def backend() -> str:
    given = os.environ.get("MULNB_BACKEND", "processes")
    if given not in BACKENDS:
        raise UserError(f"backend '{given}' is unknown: use one of {', '.join(BACKENDS)}")
    return given


def run_all(fn: Callable[[T], Any], tasks: Sequence[T], label: str, on_gpu: bool = True) -> list[Any]:
    """`[fn(task) for task in tasks]`, in this order, spread over the workers, with a progress bar called `label`.

    `fn` is a function of a module and a task is plain data; `on_gpu` is False for work that a GPU has no part in. A task's
    exception ends the map; what finished tasks stored stays stored.
    """
    together = min(count(on_gpu), len(tasks)) if tasks else 0
    how = backend() if together > 1 else "serial"
    run = {"serial": _serial, "processes": _processes, "ray": _ray}[how]
    return list(_progress(run(fn, tasks, together), len(tasks), label))


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Hold torch to one thread: the same bits wherever the work runs. The number of threads is put back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def single_threaded(fn: Callable[[T], Any], task: T) -> Any:
    """`fn(task)` with one torch thread."""
    with single_thread():
        return fn(task)


def synchronise() -> None:
    """Wait until a GPU, if there is one in use, has done what it was given: before a clock is read."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _serial(fn: Callable[[T], Any], tasks: Sequence[T], together: int) -> Iterable[Any]:
    for task in tasks:
        yield single_threaded(fn, task)


def _processes(fn: Callable[[T], Any], tasks: Sequence[T], together: int) -> Iterable[Any]:
    from joblib import Parallel, delayed

    with _interruptible():
        yield from Parallel(n_jobs=together, backend="loky", return_as="generator", batch_size=1, pre_dispatch="2*n_jobs")(
            delayed(_in_worker)(fn, task) for task in tasks
        )


def _in_worker(fn: Callable[[T], Any], task: T) -> Any:
    _end_with_parent(os.getppid())
    return single_threaded(fn, task)


@functools.cache
def _end_with_parent(parent: int) -> None:
    """A process that was killed cannot end its workers, and they would go on with their task and then wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="mulnb-parent", daemon=True).start()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the workers before anything else: joblib would first wait for what they are doing."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    before, interrupted = signal.getsignal(signal.SIGINT), False

    def end_workers(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        for worker in multiprocessing.active_children():
            worker.kill()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, end_workers)
    try:
        yield
    except Exception:
        if interrupted:  # joblib tells of lost workers instead
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _ray(fn: Callable[[T], Any], tasks: Sequence[T], together: int) -> Iterable[Any]:
    try:
        import ray
    except ImportError:
        raise UserError("backend 'ray' needs the package ray: install mulnb[cluster]") from None
    if not ray.is_initialized():
        ray.init(num_cpus=together if "RAY_ADDRESS" not in os.environ else None, include_dashboard=False, log_to_driver=False)
    remote = ray.remote(num_cpus=1)(single_threaded)
    for reference in [remote.remote(fn, task) for task in tasks]:
        yield ray.get(reference)


def _progress(results: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    """Pass `results` through and show how many came.

    Under `run_all.sh` the notebook's own output must stay clean: the state goes to the file named by `MULNB_PROGRESS`, which the
    runner shows. An empty name shows nothing. Elsewhere it is a bar on a terminal or in JupyterLab.
    """
    target = os.environ.get("MULNB_PROGRESS")
    if target is None and (sys.stderr.isatty() or "ipykernel" in sys.modules):
        from tqdm.auto import tqdm

        yield from tqdm(results, total=total, desc=label, leave=False)
        return
    started = time.time()

    def tell(done: int) -> None:
        if not target:
            return
        state = {"label": label, "done": done, "total": total, "started": started}
        with contextlib.suppress(OSError):  # the bar is a courtesy: it must never stop the work
            partial = Path(f"{target}.partial")
            partial.write_text(json.dumps(state))
            partial.replace(target)

    tell(0)  # the first task may take hours
    for done, result in enumerate(results, start=1):
        yield result
        tell(done)
