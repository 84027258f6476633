"""A Ray cluster of nodes on this machine, each with a home of its own, which a test may lose."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mulnb.core import on_ray, paths


class Nodes:
    """A head, and other nodes by name. Only who has its token may join."""

    def __init__(self, folder: Path, cores: int = 1) -> None:
        self.folder, self.cores = folder, cores
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.running: dict[str, subprocess.Popen] = {}

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """What a process of the cluster, or of its user, needs."""
        kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MULNB_FIGURES")}
        return kept | self.token | {"MULNB_HOME": str(home), "PYTHONPATH": str(paths.CHECKOUT), **more}

    def start(self, name: str = "head") -> None:
        """Start a node, unless it runs, and wait until it has joined. Its log and its home have its name."""
        if name in self.running and self.running[name].poll() is None:
            return
        words = [f"--address={self.address}"]
        if name == "head":
            words = ["--head", f"--port={self.port}", "--include-dashboard=false"]

        ray = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={self.cores}"]
        said = self.folder / f"{name}.log"
        for _ in range(3):  # Ray gives a node 30 seconds to start, which a busy machine may exceed
            with said.open("w") as log:
                pipes = {"stdout": log, "stderr": log, "start_new_session": True}
                environment = self.environment(self.folder / name)
                self.running[name] = subprocess.Popen([*ray, "--disable-usage-stats", *words], env=environment, **pipes)

            wait(lambda: "Ray runtime started" in said.read_text() or self.running[name].poll() is not None)
            if self.running[name].poll() is None:
                break
        assert on_ray.answers(self.address), said.read_text()

    def kill(self, name: str) -> None:
        """End a node as a power cut does: all of its processes at once."""
        node = self.running[name]
        if node.poll() is None:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()

    def end(self) -> None:
        """End all of them."""
        for name in self.running:
            self.kill(name)


def wait(reached: Callable[[], bool], seconds: float = 120) -> None:
    """Look until it is true."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)
