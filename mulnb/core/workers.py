"""Run independent tasks on all cores, with a progress bar. Processes are started here; for other machines see `on_ray`.

Every task has one torch thread, and the cores are filled by running tasks side by side. Two reasons: a torch process with two
threads slows down to a few percent of its speed beside another busy process, and with one thread serial and parallel runs give
the same bits.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from mulnb.core import paths, stopping
from mulnb.core.errors import UserError, notice

BACKENDS = ("serial", "processes", "ray")
T = TypeVar("T")


# --- how many tasks at once, and where -----------------------------------------------------------------------------------


def count(on_gpu: bool = True) -> int:
    """How many tasks run at once.

    Args:
        on_gpu: whether the task computes on the GPU if there is one; then one task runs at a time.

    Returns:
        `MULNB_WORKERS` if it is set, but not more than there are cores; else 1 for work on a GPU, else the number of cores that
        this process may use.

    Raises:
        UserError: `MULNB_WORKERS` is not a whole number of at least 1.
    """
    if given := os.environ.get("MULNB_WORKERS"):
        if not re.fullmatch("0*[1-9][0-9]{0,8}", given):  # not isdigit(): it takes ² for a digit
            raise UserError(f"workers = {given!r}: should be a whole number of at least 1")
        return _at_most(cores(), int(given))

    return 1 if on_gpu and _there_is_a_gpu() else cores()


def cores() -> int:
    """The cores that this process may use: in a container or a batch job they may be fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache  # told once
def _at_most(there: int, given: int) -> int:
    """As many workers as were asked for, but not more than cores: every task fills one, and more would only take turns."""
    if given > there:
        notice(f"workers = {given}: this process may use {there} cores, so {there} tasks run at once")
    return min(there, given)


def _there_is_a_gpu() -> bool:
    """Whether torch finds a CUDA device."""
    import torch

    return torch.cuda.is_available()


def backend() -> str:
    """How several tasks run at once: the value of `MULNB_BACKEND`, by default "processes".

    Raises:
        UserError: the value is none of `BACKENDS`.
    """
    given = os.environ.get("MULNB_BACKEND", "processes")
    if given not in BACKENDS:
        raise UserError(f"backend '{given}' is unknown: use one of {', '.join(BACKENDS)}")
    return given


def run_all(fn: Callable[[T], Any], tasks: Sequence[T], label: str, on_gpu: bool = True) -> list[Any]:
    """Run `fn` on every task, spread over the workers, with a progress bar.

    Args:
        fn: a function of a module, so that worker processes can import it.
        tasks: plain data that can be sent to another process.
        label: the name of the progress bar.
        on_gpu: False for work that does not use a GPU, such as decoding images.

    Returns:
        `[fn(task) for task in tasks]`, in this order.

    Raises:
        UserError: an invalid `MULNB_WORKERS` or `MULNB_BACKEND`.
        Exception: whatever a task raised; the remaining tasks are dropped. What finished tasks stored stays stored.
    """
    together = min(count(on_gpu), len(tasks)) if tasks else 0
    serial = together < 2 or backend() == "serial" or not _can_share()  # one task at a time needs no other process
    # Ray is for a study's jobs (`study.cluster`): what reads this machine's files stays on it
    results = (single_threaded(fn, task) for task in tasks) if serial else _in_processes(fn, tasks, together)
    return list(progress(results, len(tasks), label))


# --- threads and the GPU -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Hold torch to one thread inside a `with` block: the same bits wherever the work runs. Restores the number afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronise() -> None:
    """Wait until the GPU, if this process uses one, has finished its work. Call it before reading a clock."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def single_threaded(fn: Callable[[T], Any], task: T) -> Any:
    """`fn(task)` with one torch thread."""
    with single_thread():
        return fn(task)


# --- worker processes ----------------------------------------------------------------------------------------------------


def _in_processes(fn: Callable[[T], Any], tasks: Sequence[T], together: int) -> Iterable[Any]:
    """Run the tasks in `together` worker processes."""
    _check_variables_of_joblib()
    from joblib import Parallel, delayed

    _prepare_to_be_killed()
    # loky starts a worker anew when its memory has grown by 300 MB; nothing is lost or made twice by that
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
    parallel = Parallel(
        n_jobs=together,
        backend="loky",
        return_as="generator",
        batch_size=1,
        pre_dispatch="2*n_jobs",
        # no arrays in shared memory: they would stay there when all processes are killed at once
        max_nbytes=None,
        temp_folder=os.sep,  # so nothing is ever written there; joblib needs a name in ASCII, which TMPDIR may not be
    )

    try:
        with stopping.beforehand(_kill_workers):
            here = os.getpid()
            yield from parallel(delayed(_in_worker)(here, _own_variables(), fn, task) for task in tasks)
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed (out of memory, or by hand): run the same command again, what is finished is kept; "
            "fewer workers need less memory (--workers)"
        ) from None


def _check_variables_of_joblib() -> None:
    """Raises `UserError` if an environment variable of joblib has a value that it stumbles over."""
    try:
        import joblib

        joblib.cpu_count()
    except ValueError as error:
        ours = [f"{name} = {value!r}" for name, value in os.environ.items() if name.startswith(("JOBLIB_", "LOKY_"))]
        if not ours:
            raise
        raise UserError(f"worker processes cannot be started ({error}): correct or unset {', '.join(ours)}") from None


@functools.cache  # told once
def _can_share() -> bool:
    """Whether processes of this machine can wait for each other; a container may lack what they need for it, /dev/shm."""
    if os.environ.get("JOBLIB_MULTIPROCESSING") == "0":
        notice("JOBLIB_MULTIPROCESSING = 0: no worker processes, one task runs at a time")
        return False

    try:
        import _multiprocessing

        _multiprocessing.SemLock(0, 1, 1, f"/mulnb-{os.getpid()}", True)  # as joblib makes many; its name is removed at once
    except (ImportError, OSError) as error:
        notice(f"worker processes cannot be used here (no semaphores: {error}): one task runs at a time; /dev/shm would help")
        return False
    return True


@functools.cache
def _prepare_to_be_killed() -> None:
    """See to it that nothing of this process stays behind when it is killed, and that nothing is said about it."""
    known = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [known, "ignore:resource_tracker"]))

    # loky's process that tidies up ignores SIGINT and SIGTERM; when a terminal is closed, it must stay, too
    from joblib.externals.loky.backend import resource_tracker

    hang_up = {getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has none
    before = signal.pthread_sigmask(signal.SIG_BLOCK, hang_up) if hasattr(signal, "pthread_sigmask") else None
    try:
        resource_tracker.ensure_running()
    finally:
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    _sweep_when_killed()


def _sweep_when_killed() -> None:
    """Start a process that removes the names of loky's semaphores when this one is gone.

    loky's own tidying ends with us where SIGKILL ends a whole group of processes. The other one is in a session of its own, and
    waits for the end of a pipe that only this process holds.
    """
    if not os.path.isdir("/dev/shm"):
        return
    from joblib.externals.loky.backend.synchronize import SemLock

    # a container that shares this memory may have a process of our number: our names have a word of their own
    word = uuid.uuid4().hex[:12]
    SemLock._rand = (f"{word}-{number}" for number in itertools.count())
    names = f"/dev/shm/sem.loky-{os.getpid()}-{word}-"
    command = ["sh", "-c", 'read _; rm -f "$1"*', "sh", names]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.suppress(OSError):
        _sweepers.append(subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True, **streams))


_sweepers: list[subprocess.Popen] = []  # held, so that the pipe stays open


def _own_variables() -> dict[str, str]:
    """The environment variables of this package that are set, such as `MULNB_HOME`."""
    return {name: value for name, value in os.environ.items() if name.startswith("MULNB_")}


def _in_worker(parent: int, variables: Mapping[str, str], fn: Callable[[T], Any], task: T) -> Any:
    """What a worker process does with one task.

    Args:
        parent: the number of the process that asks; it may be gone before the worker has started.
        variables: that process's own; a worker lives on, and they may be others from call to call.
        fn, task: what to do.
    """
    _belong_to(parent)
    for name in _own_variables().keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)
    return single_threaded(fn, task)


@functools.cache  # once per worker, not once per task
def _belong_to(parent: int) -> None:
    """Leave Ctrl-C to the parent, which ends its workers; and end when it is gone: killed, it cannot end them itself."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes: each would print its traceback

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="mulnb-parent", daemon=True).start()


def _kill_workers() -> None:
    """Kill the workers at once. joblib alone would wait until they have finished their tasks."""
    for worker in multiprocessing.active_children():
        worker.kill()


# --- progress ------------------------------------------------------------------------------------------------------------


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Pass `items` through and show how many have come.

    On a terminal or in JupyterLab this is a progress bar. Under `run_all.sh` the notebook's own output must stay clean: there,
    the state goes to the file named by `MULNB_PROGRESS`, which the runner shows. An empty name shows nothing.

    Args:
        items: results of tasks, or pieces of work for a loop.
        total: how many there will be.
        label: the name of the bar.
    """
    target = os.environ.get("MULNB_PROGRESS")

    if target is None and (sys.stderr.isatty() or "ipykernel" in sys.modules):
        from tqdm.auto import tqdm

        yield from tqdm(items, total=total, desc=label, leave=False)
        return

    started = time.time()

    def tell(done: int) -> None:
        if target:
            state = {"label": label, "done": done, "total": total, "started": started}
            with contextlib.suppress(UserError):  # the bar must never stop the work
                paths.write_text(Path(target), json.dumps(state))

    tell(0)  # the first task may take hours
    for done, item in enumerate(items, start=1):
        yield item
        tell(done)
