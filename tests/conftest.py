"""Every test has a home of its own: no test reads or writes the checkout's artefacts and figures."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

# two threads in one torch process collapse beside another busy process; set before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from mulnb.core import instructions
from mulnb.core.locks import held_file

instructions.fix()  # as a command does: before torch is imported

SLOW_S = 4.0  # on a busy machine; what takes two on an idle one is marked `slow`, so that `pytest -m "not slow"` stays quick
unmarked: dict[str, float] = {}  # seconds of the tests that should be


@pytest.fixture(autouse=True, scope="module")
def _no_figures_from_outside():
    """`run_all.sh --test` moves the figures of the notebooks that it checks; fixtures of a whole module must not see that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MULNB_FIGURES", raising=False)
        yield


@pytest.fixture(autouse=True)
def _environment_as_before():
    """A command sets variables for the kernels that it starts (`--publish`, `--workers`): the next test must not see them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def home(_environment_as_before, tmp_path, monkeypatch):
    """An empty `MULNB_HOME`; one worker, so that a test is deterministic and cheap unless it asks for more."""
    place = tmp_path / "home"
    monkeypatch.setenv("MULNB_HOME", str(place))
    monkeypatch.delenv("MULNB_FIGURES", raising=False)
    monkeypatch.setenv("MULNB_WORKERS", "1")
    monkeypatch.setenv("MULNB_PROGRESS", "")
    return place


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory):
    """A `MULNB_HOME` with the results of profile `smoke` that the explorer starts from. Copy it before you change it."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # the processes of `pytest -n 2` share it

    home, begun = place / "smoke", place / "smoke-begun"
    with open(place / "smoke.lock", "w") as lock, held_file(lock.fileno()):
        if not home.exists():
            script = "import mulnb; from mulnb import publish; p = mulnb.load_profile('smoke'); "
            script += "publish.publish(p, 'memorization'); publish.publish(p, 'proxies')"
            env = os.environ | {"MULNB_HOME": str(begun)}
            env.pop("MULNB_FIGURES", None)
            made = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300)
            assert made.returncode == 0, made.stderr
            begun.rename(home)
    return home


@pytest.fixture
def in_new_process():
    """Call a function of the test's module in a new process: one that ran many tests takes memory out of what it has freed."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda function: pool.submit(function).result()


TAKES_LONG = {"finished", "drawn", "smoke_home"}  # fixtures that train a whole small study, or draw every figure
LONGEST = ("notebooks/0", "tests/study/test_paper_profiles", "tests/study/test_cluster", "tests/notebooks", "tests/study", "")


def pytest_collection_modifyitems(config, items):
    """A test in a browser waits for JupyterLab, and some fixtures take long: such tests are slow without saying so."""
    for item in items:
        if item.get_closest_marker("browser") or TAKES_LONG.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)

    if hasattr(config, "workerinput"):  # one of several processes: none waits for the last long file if these come first
        items.sort(key=_place)


def _place(item):
    return next(place for place, start in enumerate(LONGEST) if item.nodeid.startswith(start))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n 2`: a file's tests share fixtures, and the notebooks show each other's results: each stay in one process."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "notebooks" if file.endswith(".ipynb") else file

    return ByFile(config, log)


def pytest_runtest_logreport(report):
    """Remember a test that takes long, its fixtures included, and is not marked."""
    is_notebook_cell = ".ipynb::" in report.nodeid
    if report.duration > SLOW_S and not is_notebook_cell and "slow" not in report.keywords:
        unmarked[report.nodeid] = unmarked.get(report.nodeid, 0.0) + report.duration


def pytest_terminal_summary(terminalreporter):
    """List them at the end; no failure, because another machine may be slower or busy."""
    if unmarked:
        terminalreporter.section(f"tests of more than {SLOW_S:.0f} s that are not marked slow")
        for name, seconds in sorted(unmarked.items(), key=lambda entry: -entry[1]):
            terminalreporter.write_line(f"{seconds:6.1f} s  {name}")
