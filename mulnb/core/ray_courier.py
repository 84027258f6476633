"""The process that talks to Ray, and what runs on Ray's nodes. Only this module imports ray.

Ray ends the process that it runs in when its head is gone, after minutes of its own log lines. So it runs in a process beside the
study, which reads tasks from a pipe, hands them to the cluster and writes the results back as they come: if it ends, the study
goes on and says in one line what happened.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import numpy as np

from mulnb.core.errors import UserError
from mulnb.core.workers import single_thread

RETRIES = 3  # how often a task is begun again whose node was lost
LOOK_S = 0.5  # between two looks whether the study is still there

Parts = list[Any]  # a pickled thing: its head, then its arrays as they are


# ---- what goes through the pipe


def packed(thing: Any) -> Parts:
    """Pickle a thing without copying its arrays. Functions of a notebook or script go with their code."""
    buffers: list[pickle.PickleBuffer] = []
    head = cloudpickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return [head, *(buffer.raw() for buffer in buffers)]


def unpacked(parts: Parts) -> Any:
    """The thing that `packed` made the parts from; its arrays are read-only."""
    return pickle.loads(parts[0], buffers=parts[1:])


def send(pipe: Connection, header: tuple, parts: Sequence[Any] = ()) -> None:
    """Write a message: a few plain values, then parts of any size."""
    pipe.send((header, len(parts)))
    for part in parts:
        pipe.send_bytes(part)


def receive(pipe: Connection) -> tuple[tuple, Parts]:
    """Read a message. Raises `EOFError` if the other side is gone."""
    header, count = pipe.recv()
    return header, [pipe.recv_bytes() for _ in range(count)]


# ---- the courier


def main(descriptor: int, address: str, cores: int) -> None:
    """Connect to a cluster and serve the study at the other end of a pipe, until it closes it.

    It is the first of a process group, which ends with it.

    Args:
        descriptor: of the pipe.
        address: of the cluster; "local" starts one that ends with this process.
        cores: of a local cluster.
    """
    import ray

    pipe = Connection(descriptor)
    try:
        there = {"num_cpus": cores, "include_dashboard": False} if address == "local" else {}
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **there)
        head = ray.get_runtime_context().gcs_address
        nodes = [(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
    except Exception as error:
        send(pipe, ("failed", _one_line(error)))
        return

    send(pipe, ("ready", head, nodes))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the study has ended
        _serve(pipe)
    # not Ray's own farewell, which would wait for a head that may be gone: end this process, and the cluster that it started
    os.killpg(0, signal.SIGKILL)


def _serve(pipe: Connection) -> None:
    """Do what the study asks for, batch after batch."""
    import ray

    lent: dict[str, Any] = {}  # references to what tasks share, by name
    while True:
        tasks: list[tuple[int, list[str], Parts]] = []
        while (message := receive(pipe))[0][0] != "go":
            (kind, *facts), parts = message
            if kind == "lend":
                lent[facts[0]] = ray.put(_as_arrays(parts))  # each node fetches it once, its workers share the memory
            elif kind == "forget":
                for name in facts[0]:
                    del lent[name]
            else:
                tasks.append((*facts, parts))

        _, cpus, gpus = message[0]
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(in_worker)
        waiting = {}
        for number, names, parts in tasks:
            waiting[remote.remote(parts, names, *(lent[name] for name in names))] = number
        _hand_back(pipe, waiting)


def _hand_back(pipe: Connection, waiting: dict[Any, int]) -> None:
    """Write each result as it comes."""
    import ray

    while waiting:
        if pipe.poll():  # the study says nothing before the end of a batch: it has gone
            raise EOFError
        ready, _ = ray.wait(list(waiting), timeout=LOOK_S)
        for reference in ready:
            number = waiting.pop(reference)
            try:
                how, parts = ray.get(reference)
            except ray.exceptions.RayError as error:
                send(pipe, ("failed", _one_line(error)))
                return
            send(pipe, (how, number), parts)


def _as_arrays(parts: Parts) -> Parts:
    """Parts as arrays, which Ray lays into shared memory and does not copy."""
    return [np.frombuffer(part, np.uint8) for part in parts]


def _one_line(error: BaseException) -> str:
    """What an exception says, in one line: Ray's are pages."""
    from ray.exceptions import RayTaskError

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if isinstance(error, RayTaskError) else lines[0]  # that one is a traceback


# ---- on a node

_held: dict[str, Any] = {}  # what a worker keeps from task to task


def in_worker(parts: Parts, names: Sequence[str], *lent: Parts) -> tuple[str, Parts]:
    """Run one task in a worker of the cluster, with one torch thread.

    Args:
        parts: a function and its task, packed.
        names: of what the task shares with others; what begins with "held" is kept for the next task.
        lent: these things, packed.

    Returns:
        "done" and the result, or "raised" and the exception; packed.
    """
    os.environ["MULNB_BACKEND"] = "serial"  # a task begins no tasks of its own

    try:
        shared = {}
        for name, packed_thing in zip(names, lent, strict=True):
            shared[name] = _held[name] if name in _held else unpacked(packed_thing)
            if name.startswith("held"):
                _held.update({name: shared[name]})

        fn, task = unpacked(parts)
        with single_thread():
            return "done", _as_arrays(packed(fn(task, shared)))
    except Exception as error:
        if not isinstance(error, UserError):
            error.add_note(traceback.format_exc())  # the traceback itself does not travel
        return "raised", packed(error)
