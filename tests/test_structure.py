"""The rules of imports: they run one way, they are light, and the expensive ones happen only where they are used."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mulnb.core import paths

PACKAGE = paths.CHECKOUT / "mulnb"

# A room (a module or subpackage of mulnb) may import its own row and every row above it. Within a row there is no circle.
FLOORS = [
    {"core"},
    {"config"},
    {"models", "memorization", "forget"},
    {"data"},
    {"training", "step", "examples"},
    {"pool", "proxies", "recording", "unlearning", "audit"},
    {"rum"},
    {"study"},
    {"results"},
    {"figures"},
    {"your_model", "explorer"},
    {"site"},
]
RANK = {room: rank for rank, rooms in enumerate(FLOORS) for room in rooms}

# Rooms outside this order may import these only, besides themselves.
BESIDE = {
    "fast": {"core"},
    "notebooks": {"core", "config"},
}
# Whoever uses mulnb on a model of their own does not load the machinery of the paper's study.
NEVER = {("your_model", "study"), ("your_model", "explorer"), ("explorer", "your_model")}


def _type_checking_only(node: ast.AST) -> bool:
    """True for `if TYPE_CHECKING:`; what stands there is never imported when the program runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _imports(tree: ast.AST):
    """Every import statement of a file, those inside functions included."""
    for node in ast.iter_child_nodes(tree):
        if _type_checking_only(node):
            for other in node.orelse:
                yield from _imports(other)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        else:
            yield from _imports(node)


def _modules(node: ast.Import | ast.ImportFrom, package: tuple[str, ...]) -> list[str]:
    """The full names that a statement imports; `package` is where the file lies, for relative imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]

    source = node.module or ""
    if node.level:
        above = package[: len(package) - node.level + 1]
        source = ".".join([*above, source]).rstrip(".")

    # `from mulnb import forget` names a room only after the import, `from mulnb.data import splits` before it
    return [f"{source}.{alias.name}" for alias in node.names]


def _room(path: Path) -> str:
    """The first name below `mulnb`: `study` for mulnb/study/jobs.py, `pool` for mulnb/pool.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _allowed(room: str, target: str) -> bool:
    if target == room or room in {"__init__", "__main__"}:
        return True  # the face and the command line stand over everything
    if room in BESIDE:
        return target in BESIDE[room]
    if target == "fast":
        return room != "core"  # it knows core alone, so all others may use it
    return target in RANK and RANK[target] <= RANK[room] and (room, target) not in NEVER


@functools.cache
def arrows() -> list[tuple[str, str, str]]:
    """(file:line, room that imports, room that is imported) of the whole package."""
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    found = []

    for path in sorted(PACKAGE.rglob("*.py")):
        package = ("mulnb", *path.relative_to(PACKAGE).parent.parts)
        for node in _imports(ast.parse(path.read_text())):
            for module in _modules(node, package):
                parts = module.split(".")
                where = f"{path.relative_to(paths.CHECKOUT)}:{node.lineno}"
                if parts[0] == "mulnb" and len(parts) > 1:
                    # a name that is no room is one of the face's own, such as mulnb.load_profile
                    found.append((where, _room(path), parts[1] if parts[1] in rooms else "__init__"))
                elif parts[0] == "benchmarks":
                    found.append((where, _room(path), "benchmarks"))

    return found


@pytest.mark.slow
def test_every_room_has_its_place():
    rooms = {room for _, source, target in arrows() for room in (source, target)}
    assert rooms - {"__init__", "__main__", "benchmarks"} <= set(RANK) | set(BESIDE)


def test_imports_run_one_way():
    upward = [
        f"{where}: {room} imports {target}"
        for where, room, target in arrows()
        if target != "benchmarks" and not _allowed(room, target)
    ]
    assert upward == []


def test_no_circle():
    needs = {}
    for _, room, target in arrows():
        if room != target and room in RANK:
            needs.setdefault(room, set()).add(target)
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError, which names the circle


def test_only_the_bench_command_imports_the_benchmarks():
    assert {room for _, room, target in arrows() if target == "benchmarks"} == {"__main__"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    from mulnb import study", ["mulnb.study"]),
        ("if TYPE_CHECKING:\n    from mulnb import study", []),
        ("from ..core import errors", ["mulnb.core.errors"]),
        ("try:\n    import mulnb.study.jobs\nexcept ImportError:\n    pass", ["mulnb.study.jobs"]),
    ],
)
def test_the_reader_of_imports_sees_what_counts(source, expected):
    found = [name for node in _imports(ast.parse(source)) for name in _modules(node, ("mulnb", "data"))]
    assert found == expected


# what an import costs, in a process of its own


def fresh(code: str) -> dict:
    """Run `code`, which leaves a dictionary called `seen`, in a new interpreter."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(paths.CHECKOUT), os.environ.get("PYTHONPATH", "")])}
    script = f"import json, sys, time\n{code}\nprint(json.dumps(seen))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=env)
    return json.loads(done.stdout)


def loaded(module: str, *rooms: str) -> list[str]:
    """Which of `rooms` are in memory after `import module`."""
    return fresh(f"import {module}\nseen = [name for name in {list(rooms)!r} if name in sys.modules]")


def test_importing_mulnb_is_light():
    assert loaded("mulnb", "numpy", "torch", "pandas", "pydantic", "matplotlib") == []

    # seconds of work, the best of three: another process may take the core for a moment
    code = "start = time.process_time()\nimport mulnb\nseen = time.process_time() - start"
    assert min(fresh(code) for _ in range(3)) < 0.1


def test_your_model_needs_no_study():
    assert loaded("mulnb.your_model", "mulnb.study", "mulnb.results", "mulnb.explorer", "mulnb.notebooks") == []


@pytest.mark.slow
@pytest.mark.parametrize("module", ["mulnb.core.vocabulary", "mulnb.results.tables", "mulnb.figures", "mulnb.explorer.selection"])
def test_reading_results_needs_no_torch(module):
    assert loaded(module, "torch") == []


@pytest.mark.slow
@pytest.mark.parametrize("module", ["mulnb.results.tables", "mulnb.your_model", "mulnb.__main__"])
def test_the_api_works_without_the_notebooks_extra(module):
    packages = ["papermill", "jupyterlab", "nbformat", "nbclient", "ipykernel", "ipywidgets", "nbval"]
    assert loaded(module, *packages) == []
