"""One notebook, executed by papermill in a kernel of this very Python, and what became of it.

Three things that papermill leaves open are closed here: which Python the kernel is, what survives it, and errors that no cell
raised (a widget's callback prints its exception into an output, and the notebook counts as done).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from mulnb.core import paths
from mulnb.core.errors import NotebookFailed, UserError

for _name in ("papermill", "asyncio"):  # they repeat what the exceptions say, and mourn what an interrupt left undone
    logging.getLogger(_name).setLevel(logging.CRITICAL)
INJECTED = "injected-parameters"
TRACEBACK = "Traceback (most recent call last)"
MACHINE_PATH = re.compile(r"/(?:work|tmp|root|home|Users)/\w[^\s'\"<>\\]*")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def execute(source: Path, target: Path, parameters: dict[str, Any]) -> NotebookNode:
    """Execute `source` with `parameters` into `target`, and return it with its outputs; `source` is only read.

    Raises `UserError` if a cell did, and `NotebookFailed` with the cell and its error for any other failure.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    groups: list[int] = []
    with tempfile.TemporaryFile() as stderr:
        try:
            # The kernel runs in the notebook's folder, as under JupyterLab and nbval: what works in one works in all three.
            executed = papermill.execute_notebook(
                _literal(source),
                _literal(target),
                parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                log_output=False,
                cwd=source.parent,
                kernel_manager_class=_kernel_class(stderr, groups),
            )
        except PapermillExecutionError as error:
            if error.ename == "UserError":
                raise UserError(error.evalue) from None
            raise NotebookFailed(_explain(error, source, target)) from None
        except (DeadKernelError, RuntimeError) as error:
            raise NotebookFailed(f"{source.stem}: {error}; {_last_words(stderr)}") from None
        finally:
            with _uninterrupted():
                for group in groups:
                    _end(group)
    if hidden := hidden_errors(executed):
        raise NotebookFailed(f"{source.stem}: an error hides in its outputs: {hidden[0]}\nsee {target}")
    return executed


def _literal(path: Path) -> str:
    """papermill formats its paths: braces in a folder's name must not be read as a parameter."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_class(stderr: Any, groups: list[int]) -> type[AsyncKernelManager]:
    """A kernel manager that starts this Python, whatever kernel the user has installed under the name python3.

    What the process itself says goes to `stderr` (notebook output does not pass there), its process group is added to `groups`.
    """
    quiet = "--IPKernelApp.log_level=40"  # it warns at every start that a socket on this machine is not encrypted
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", quiet]

    class Kernel(AsyncKernelManager):
        async def start_kernel(self, **kwargs: Any) -> None:
            self._kernel_spec = KernelSpec(argv=argv, language="python", display_name="Python 3 (ipykernel)")
            await super().start_kernel(**kwargs, stderr=stderr)
            groups.append(self.provisioner.pgid)

    return Kernel


def _end(group: int, patience: float = 0.5) -> None:
    """Kill what is left of a kernel's process group, such as workers, after a moment in which they may go by themselves."""
    deadline = time.monotonic() + patience
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)
        os.killpg(group, signal.SIGKILL)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """An impatient second Ctrl-C must not leave workers behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _last_words(stderr: Any) -> str:
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return "\n".join(["its last words:", *lines[-20:]]) if lines else "it left no word, as when the memory is used up"


def _explain(error: PapermillExecutionError, source: Path, target: Path) -> str:
    tags = [cell.metadata.get("tags", []) for cell in nbformat.read(source, as_version=4).cells]
    parameters = next(position for position, found in enumerate(tags) if "parameters" in found)
    number = error.cell_index + 1 - (error.cell_index > parameters)  # papermill put a cell of its own behind the parameters
    arrow = re.search(r"^-+> ?\d+ (.+)$", ANSI.sub("", "\n".join(error.traceback)), re.MULTILINE)
    line = (arrow[1] if arrow else error.source.partition("\n")[0]).strip()
    return f"{source.stem}, cell {number}, at `{line}`: {error.ename}: {error.evalue}\nthe traceback is in {target}"


def hidden_errors(notebook: NotebookNode) -> list[str]:
    """Errors that ended no cell: error outputs and printed tracebacks, in cells and inside widgets; the last line of each."""
    states = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    outputs += [output for widget in states.values() for output in widget.get("state", {}).get("outputs", [])]
    found = []
    for output in outputs:
        if output["output_type"] == "error":
            found.append(f"{output['ename']}: {output['evalue']}")
        elif output["output_type"] == "stream" and TRACEBACK in (text := ANSI.sub("", "".join(output["text"]))):
            found.append(text.strip().splitlines()[-1])
    return found


def with_outputs(source: NotebookNode, executed: NotebookNode, name: str) -> NotebookNode:
    """`source` with the outputs of `executed`, fit to be committed: nothing of the run but what a reader sees.

    Sources, metadata and cell ids are those of `source`; papermill's cell and timings, stderr and widget state are left behind,
    and the checkout's own path becomes relative. Raises `NotebookFailed` if another path of this machine stands in an output.
    """
    clean = nbformat.from_dict(json.loads(json.dumps(source)))
    cells = [cell for cell in executed.cells if INJECTED not in cell.metadata.get("tags", [])]
    count = 0
    for index, (cell, ran) in enumerate(zip(clean.cells, cells, strict=True)):
        cell.setdefault("id", f"cell-{index:02d}")
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = [_clean(output, cell.execution_count) for output in ran.outputs if output.get("name") != "stderr"]
        if found := MACHINE_PATH.search(json.dumps(_texts(cell.outputs))):
            raise NotebookFailed(f"{name}, cell {index + 1} prints {found.group()}, a path of this machine: print names")
    clean.metadata.pop("papermill", None)
    clean.metadata.pop("widgets", None)
    clean.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    clean.metadata["language_info"] = {"name": "python"}  # its version would change with the machine
    clean.nbformat_minor = max(clean.nbformat_minor, 5)  # the first with cell ids
    return clean


def _clean(output: NotebookNode, count: int | None) -> NotebookNode:
    output = _map_texts(output, lambda text: text.replace(f"{paths.CHECKOUT}/", "").replace(str(paths.CHECKOUT), "."))
    if "execution_count" in output:
        output["execution_count"] = count
    output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)  # without the state it shows an error
    output.get("metadata", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return output


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return NotebookNode({key: _map_texts(item, change) for key, item in value.items()})
    if isinstance(value, list):
        return [_map_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _texts(outputs: list[NotebookNode]) -> list[Any]:
    """What a reader reads, without pictures: in base64 any short path may stand by chance."""
    pictures = {"image/png", "image/jpeg"}
    return [
        [output.get("text"), *(data for mime, data in output.get("data", {}).items() if mime not in pictures)]
        for output in outputs
    ]
