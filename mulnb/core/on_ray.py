"""Tasks on a Ray cluster: the one at `RAY_ADDRESS`, or one of this machine's cores that nobody else sees.

The nodes need no common file system: what tasks share is sent to each node once, and results come back to this process.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any

from mulnb.core.errors import UserError

LOOK_S = 1.0  # between two looks at a head that sends nothing
MISSED = 4  # so many looks in a row without an answer: it is gone
ANSWER_S = 3.0  # how long a head may take to answer
CONNECT_S = 90  # how long Ray may take to connect, or to start a local cluster
AGAIN = "what is finished is kept, the same command continues from there"


@dataclass(frozen=True)
class Terms:
    """What a task takes of a node."""

    cpus: float = 1.0
    gpus: float | None = None  # None: one where the cluster has any, else none

    def on(self, nodes: Sequence[tuple[float, float]]) -> Terms:
        """The same with the number of GPUs, for a cluster of these `nodes` (cores, GPUs)."""
        if self.gpus is not None:
            return self
        return Terms(self.cpus, 1.0 if any(gpus for _, gpus in nodes) else 0.0)

    def places(self, nodes: Sequence[tuple[float, float]]) -> int:
        """How many tasks run at once on these `nodes`, of which some have GPUs."""
        terms, total = self.on(nodes), 0
        for cpus, gpus in nodes:
            total += int(min(cpus / terms.cpus, gpus / terms.gpus if terms.gpus else float("inf")))
        return total


def check() -> None:
    """Reject what can be seen without a cluster of one's own.

    Raises:
        UserError: ray is not installed, `RAY_ADDRESS` is not an address, or nothing answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("backend 'ray' needs the package ray: install mulnb[cluster]")

    address = os.environ.get("RAY_ADDRESS")
    if not address or address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"Ray address '{address}': expected HOST:PORT of the cluster's head, for example 10.0.0.1:6379, or auto")
    if not answers(address):  # Ray itself would try for minutes
        raise UserError(f"no Ray cluster answers at {address}: start its head with `ray start --head`, or correct the address")


def places(terms: Terms = Terms()) -> int:
    """How many tasks run at once on the cluster.

    Raises:
        UserError: there is no cluster, or none of its nodes is large enough for a task.
    """
    return _courier().places(terms)


def run(
    fn: Callable[[Any, Mapping[str, Any]], Any],
    tasks: Sequence[Any],
    shares: Sequence[Sequence[str]],
    lend: Callable[[str], Any],
    terms: Terms = Terms(),
) -> Iterator[tuple[int, Any]]:
    """Run `fn(task, shared)` for every task, in any order.

    A task whose node is lost is begun again on another one, three times.

    Args:
        fn: a function of a module that the nodes have, or of a notebook.
        tasks: anything that can be pickled.
        shares: for each task, the names of what it shares with others: `shared` has them. What begins with "held" stays on the
            nodes until this process ends, the rest until the last task has finished.
        lend: gives the thing of a name; called once for each name, and not again for one that is held.
        terms: what a task takes of a node.

    Yields:
        The number of a task and its result, as they come.

    Raises:
        UserError: ray is not installed, no cluster answers, or it is gone; or a node has not enough memory.
        Exception: whatever a task raised; the remaining tasks are dropped.
    """
    courier = _courier()
    courier.places(terms)
    try:
        yield from courier.run(fn, tasks, shares, lend, terms)
    except BaseException:
        _close()  # it would go on with tasks that nobody waits for
        raise


# ---- the connection

_open: dict[str, Courier] = {}  # by address: one cluster for all stages of a study


@dataclass
class Courier:
    """The process that talks to Ray; see `ray_courier`."""

    address: str
    process: subprocess.Popen
    pipe: Connection
    log: IO[str]
    head: str = ""  # host:port of the cluster's head
    nodes: Sequence[tuple[float, float]] = ()  # cores and GPUs of each
    held: set[str] = field(default_factory=set)  # names of what the nodes keep

    def places(self, terms: Terms) -> int:
        """How many tasks run at once. Raises `UserError` if not even one does."""
        found, needed = terms.places(self.nodes), terms.on(self.nodes)
        if not found:
            raise UserError(
                f"resources: no node of the Ray cluster has {needed.cpus:g} cores and {needed.gpus:g} GPUs for a task: "
                f"the {len(self.nodes)} nodes have {', '.join(f'{cpus:g} and {gpus:g}' for cpus, gpus in self.nodes)}"
            )
        return found

    def run(self, fn: Any, tasks: Sequence[Any], shares: Any, lend: Any, terms: Terms) -> Iterator[tuple[int, Any]]:
        """See `on_ray.run`."""
        from mulnb.core.ray_courier import packed, unpacked

        names = sorted(set().union(*shares) - self.held)
        for name in names:
            self.send(("lend", name), packed(lend(name)))
        for number, (task, needed) in enumerate(zip(tasks, shares, strict=True)):
            self.send(("task", number, list(needed)), packed((fn, task)))
        there = terms.on(self.nodes)
        self.send(("go", there.cpus, there.gpus))

        for _ in tasks:
            (kind, said), parts = self.receive()
            if kind == "raised":
                raise unpacked(parts)
            if kind == "failed":
                raise UserError(f"a task on the Ray cluster was lost ({said}): {AGAIN}")
            yield said, unpacked(parts)

        self.held.update(name for name in names if name.startswith("held"))
        self.send(("forget", [name for name in names if name not in self.held]))

    def send(self, header: tuple, parts: Sequence[Any] = ()) -> None:
        """Tell the courier something."""
        from mulnb.core import ray_courier

        try:
            ray_courier.send(self.pipe, header, parts)
        except OSError:
            raise self._gone() from None

    def receive(self) -> tuple[tuple, list]:
        """Wait for the courier's next message. Raises `UserError` soon after the head has stopped to answer."""
        from mulnb.core import ray_courier

        missed = 0
        try:
            while not self.pipe.poll(LOOK_S):
                missed = 0 if answers(self.head) else missed + 1
                if missed == MISSED:
                    raise self._gone()
            return ray_courier.receive(self.pipe)
        except (EOFError, OSError):
            raise self._gone() from None

    def connected(self) -> None:
        """Wait until the courier has found its cluster. Raises `UserError` if it does not."""
        from mulnb.core import ray_courier

        said: tuple = ()
        with contextlib.suppress(EOFError, OSError):
            if self.pipe.poll(CONNECT_S):
                said, _ = ray_courier.receive(self.pipe)
        if not said or said[0] == "failed":
            reason = f": {said[1]}" if said else self._last_words()
            raise UserError(f"{self.cluster} cannot be used{reason}")
        _, self.head, self.nodes = said

    @property
    def cluster(self) -> str:
        """What messages call it."""
        return "the local Ray cluster" if self.address == "local" else f"the Ray cluster at {self.address}"

    def _gone(self) -> UserError:
        """Why there is no courier any more."""
        if answers(self.head):
            return UserError(f"the process that talks to Ray has ended{self._last_words()}: {AGAIN}")
        return UserError(f"{self.cluster} is gone, its head does not answer: start it again; {AGAIN}")

    def _last_words(self) -> str:
        """The last line that Ray wrote, in brackets."""
        self.log.seek(0)
        words = [line.strip() for line in self.log if line.strip()]
        return f" ({words[-1]})" if words else ""

    def close(self) -> None:
        """End the courier, and with it a local cluster."""
        self.pipe.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def _courier() -> Courier:
    """The courier to the cluster of `RAY_ADDRESS`; there is one at a time."""
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address not in _open:
        _close()
        try:
            _open[address] = _start(address)
        except UserError:
            if address != "local":
                raise
            _open[address] = _start(address)  # Ray gives a cluster 30 seconds to start, which a busy machine may exceed
    return _open[address]


@atexit.register
def _close() -> None:
    while _open:
        _open.popitem()[1].close()


def _start(address: str) -> Courier:
    """Start a courier and wait until it is connected."""
    from mulnb.core import workers

    check()
    ours, theirs = Pipe()
    log = tempfile.TemporaryFile("w+", prefix="mulnb-ray-")  # noqa: SIM115 (the courier's)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RAY_USAGE_STATS_ENABLED": "0"}
    code = f"from mulnb.core import ray_courier; ray_courier.main({theirs.fileno()}, {address!r}, {workers.count()})"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # Ctrl-C is for the study, which ends it
    )
    theirs.close()

    courier = Courier(address, process, ours, log)
    try:
        courier.connected()
    except BaseException:
        courier.close()
        raise
    return courier


def answers(address: str) -> bool:
    """Whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_S):
            return True
    except (OSError, OverflowError):
        return False
