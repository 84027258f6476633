"""Invented examples with scores, and JupyterLab in a headless browser; for the tests of the explorer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mulnb.explorer.stock import Stock

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def invented_stock(n: int = 400, side: int = 8, channels: int = 1, classes: int = 10, seed: int = 0) -> Stock:
    """Scores of every kind: with ties, and spread over orders of magnitude; the images are noise."""
    draw = np.random.default_rng(seed)
    memorization = np.clip(draw.beta(0.4, 2, n), 0, 1)
    proxies = {
        ("confidence", 0): 0.7 * memorization + 0.3 * draw.random(n),
        ("binary_accuracy", 0): np.round(memorization * 10) / 10,
        ("holdout_retraining", 0): np.exp(draw.normal(8 * memorization - 8, 1)),
    }
    return Stock(
        images=draw.integers(0, 256, (n, channels, side, side), dtype=np.uint8),
        labels=draw.integers(0, classes, n),
        classes=tuple(f"class {number}" for number in range(classes)),
        flipped=draw.random(n) < 0.1,
        memorization=memorization,
        se=np.full(n, 0.05),
        proxies=proxies,
        fingerprint="invented",
    )


@contextlib.contextmanager
def jupyter_lab(
    home: Path, folder: Path | None = None, theme: str = "JupyterLab Light", command: Sequence[str] = ()
) -> Iterator[tuple[str, Path]]:
    """JupyterLab with settings of its own: its address, and the file with what server and kernels print.

    It serves `folder`; or `command` starts it, which gets the option not to open a browser.
    """
    place = Path(tempfile.mkdtemp(prefix="mulnb-lab-"))
    settings = place / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    own = {"CONFIG_DIR": "config", "RUNTIME_DIR": "runtime", "DATA_DIR": "data"}
    env = os.environ | {f"JUPYTER_{name}": str(place / value) for name, value in own.items()}
    env |= {"JUPYTERLAB_SETTINGS_DIR": str(place / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(place / "workspaces")}
    env |= {"IPYTHONDIR": str(place / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1", "MULNB_HOME": str(home), "MULNB_WORKERS": "1"}
    env.pop("MULNB_PROGRESS", None)  # set by a run without a reader; here, there is one
    start = [*command] or [sys.executable, "-m", "jupyterlab", "--allow-root", f"--ServerApp.root_dir={folder}"]
    start += ["--no-browser", "--ServerApp.port=0", "--IdentityProvider.token="]
    log = place / "log"
    with open(log, "w") as output:
        lab = subprocess.Popen(start, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _address(place / "runtime", lab, log), log
    finally:
        lab.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            lab.wait(20)
        lab.kill()
        shutil.rmtree(place, ignore_errors=True)


def _address(runtime: Path, lab: subprocess.Popen, log: Path) -> str:
    for _ in range(300):
        for path in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, OSError):  # half written, or it does not listen yet
                url = json.loads(path.read_text())["url"]
                urllib.request.urlopen(url).close()
                return url
        if lab.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def notebook(source: Path, target: Path, **parameters: object) -> Path:
    """A copy of a notebook without outputs and with other parameters."""
    tree = json.loads(source.read_text())
    for cell in tree["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    target.write_text(json.dumps(tree))
    return target
