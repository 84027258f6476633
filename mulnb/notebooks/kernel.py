"""Execute one notebook with papermill, in a kernel of this very Python.

papermill leaves four things open that are closed here: which Python the kernel is; processes that outlive it; errors that end no
cell (a widget's callback prints its exception into an output, and papermill counts the notebook as done); and a reply that it
waits for without end, now and then, in a cell with widgets.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import re
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import nbformat
import papermill
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from traitlets import Type

from mulnb.core import lacks, paths
from mulnb.core.errors import NotebookFailed, UserError

# They repeat the exception and log noise after Ctrl-C.
for _logger in ("papermill", "asyncio"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL)

INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds
TRACEBACK = "Traceback (most recent call last)"
MACHINE_PATH = re.compile(r"/(?:work|tmp|root|home|Users)/\w[^\s'\"<>\\]*")
ANSI = re.compile(r"\x1b\[[0-9;]*m")  # colours of a terminal
INTERRUPTED = ("KeyboardInterrupt", "Stopped")  # what a signal to the kernel alone raises in a cell
SILENT = "it printed nothing"  # a kernel that died so was most likely killed by the system
PICTURES = {"image/png", "image/jpeg"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
PATIENCE_S = 3.0  # in which what is left of a kernel may end by itself
LOOK_AGAIN_S = 1.0  # how often a channel is asked again whether a message is there


def execute(source: Path, target: Path, parameters: dict[str, Any]) -> NotebookNode:
    """Execute a notebook.

    Args:
        source: the notebook; it is only read.
        target: where the executed notebook is written, also when a cell fails.
        parameters: values for its cell tagged `parameters`.

    Returns:
        The notebook with its outputs.

    Raises:
        UserError: a cell raised one.
        NotebookFailed: another failure; the message names the cell and the error.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    groups: list[int] = []

    with tempfile.TemporaryFile() as stderr:
        try:
            executed = papermill.execute_notebook(
                _escaped(source),
                _escaped(target),
                parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                log_output=False,
                cwd=source.parent,  # as under JupyterLab and nbval: what works in one works in all three
                kernel_manager_class=_kernel_class(stderr, groups),
            )
        except PapermillExecutionError as error:
            if error.ename == "UserError":
                raise UserError(error.evalue) from None
            if error.ename in INTERRUPTED:
                raise NotebookFailed(
                    f"{source.stem}: its kernel was interrupted by another process: run the same command again, what is "
                    "finished is kept"
                ) from None
            raise NotebookFailed(_explain(error, source, target)) from None
        except (DeadKernelError, RuntimeError) as error:
            said = _last_lines(stderr)
            cause = _likely_cause(f"{error} {said}")
            raise NotebookFailed(f"{source.stem}: {error}; {said}{cause}") from None
        finally:
            with _uninterrupted():
                for group in groups:
                    _end(group)

    if hidden := hidden_errors(executed):
        raise NotebookFailed(f"{source.stem}: an error hides in its outputs: {hidden[0]}\nsee {target}")
    return executed


def _escaped(path: Path) -> str:
    """papermill formats its paths: braces in a folder's name must not be read as a parameter."""
    return str(path).replace("{", "{{").replace("}", "}}")


# --- the kernel and its processes ----------------------------------------------------------------------------------------


def _kernel_class(stderr: IO[bytes], groups: list[int]) -> type[AsyncKernelManager]:
    """A kernel manager that starts this Python, whatever kernel the user has installed under the name python3.

    What the kernel's process prints goes to `stderr` (the output of cells does not), and its process group is added to `groups`.
    """
    errors_only = "--IPKernelApp.log_level=40"  # it would warn at every start that a local socket is not encrypted
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", errors_only]

    class Kernel(AsyncKernelManager):
        client_factory = Type(klass=AsyncKernelClient, default_value=_Client)

        async def start_kernel(self, **kwargs: Any) -> None:
            if runtime := os.environ.get("JUPYTER_RUNTIME_DIR"):  # else a killed run would leave the file in TMPDIR
                Path(runtime).mkdir(parents=True, exist_ok=True)
                self.connection_file = str(Path(runtime) / f"kernel-{uuid.uuid4().hex}.json")
            self._kernel_spec = KernelSpec(argv=argv, language="python", display_name="Python 3 (ipykernel)")
            await super().start_kernel(**kwargs, stderr=stderr)
            groups.append(self.provisioner.pgid)

    return Kernel


class _Channel(AsyncZMQSocketChannel):
    """A channel that looks again, instead of waiting for a signal that may be lost.

    ZeroMQ signals once that messages have come, and sending on the same socket takes that signal away. nbclient waits for a
    cell's reply on the channel on which it also sends the state of widgets: a reply that comes in just that moment would lie
    there unread, and the notebook would hang (nbclient, issue 312).
    """

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not await self.socket.poll(1000 * max(0.0, min(LOOK_AGAIN_S, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise queue.Empty
        return await self._recv()


class _Client(AsyncKernelClient):
    shell_channel_class = Type(_Channel)


def _end(group: int) -> None:
    """End what is left of a kernel's process group, such as workers: what tidies up behind them gets a moment to do so."""
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.suppress(ProcessLookupError):  # nothing is left
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)
        os.killpg(group, signal.SIGKILL)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C for a moment: a second one must not leave workers behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# --- what went wrong -----------------------------------------------------------------------------------------------------


def _last_lines(stderr: IO[bytes]) -> str:
    """The end of what a kernel printed before it died."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    if not lines:
        return SILENT
    return "\n".join(["the last lines that it printed:", *lines[-20:]])


def _explain(error: PapermillExecutionError, source: Path, target: Path) -> str:
    """The cell, the line and the error of a failed notebook, and where its traceback is."""
    cells = nbformat.read(source, as_version=4).cells
    parameters = next(number for number, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))

    # papermill inserted its own cell after the parameters, which the reader of the source does not count
    number = error.cell_index + 1 - (error.cell_index > parameters)

    # an IPython traceback marks the line with an arrow: "----> 3 x / 0"
    arrow = re.search(r"^-+> ?\d+ (.+)$", ANSI.sub("", "\n".join(error.traceback)), re.MULTILINE)
    line = (arrow[1] if arrow else error.source.partition("\n")[0]).strip()
    what = f"{error.ename}: {error.evalue}"
    return f"{source.stem}, cell {number}, at `{line}`: {what}{_likely_cause(what)}\nthe traceback is in {target}"


def _likely_cause(what: str) -> str:
    """A hint for errors that come from a lack of memory, however they call it."""
    if SILENT in what or lacks.of_memory(what):
        return " (probably out of memory: end other programs, give this one more, or use --workers 1)"
    return ""


def hidden_errors(notebook: NotebookNode) -> list[str]:
    """Errors that ended no cell: error outputs and printed tracebacks, in cells and inside widgets.

    Args:
        notebook: an executed notebook.

    Returns:
        The last line of each error, which says what happened.
    """
    outputs = []
    for cell in notebook.cells:
        outputs += cell.get("outputs", [])
    for widget in notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {}).values():
        outputs += widget.get("state", {}).get("outputs", [])

    found = []
    for output in outputs:
        if output["output_type"] == "error":
            found.append(f"{output['ename']}: {output['evalue']}")
        elif output["output_type"] == "stream":
            text = ANSI.sub("", "".join(output["text"]))
            if TRACEBACK in text:
                found.append(text.strip().splitlines()[-1])

    return found


# --- outputs that are fit to be committed ---------------------------------------------------------------------------------


def with_outputs(source: NotebookNode, executed: NotebookNode, name: str) -> NotebookNode:
    """`source` with the outputs of `executed`, and nothing else of the run.

    Sources, metadata and cell ids are those of `source`. papermill's cell and timings, stderr and widget state are left out, and
    paths in the checkout become relative.

    Args:
        source: the notebook as it is.
        executed: the same notebook, run by `execute`.
        name: how an error calls it.

    Raises:
        NotebookFailed: an output shows another path of this machine.
    """
    clean = nbformat.from_dict(json.loads(json.dumps(source)))
    ran = [cell for cell in executed.cells if INJECTED not in cell.metadata.get("tags", [])]
    count = 0

    for number, (cell, with_output) in enumerate(zip(clean.cells, ran, strict=True), start=1):
        cell.setdefault("id", f"cell-{number - 1:02d}")
        if cell.cell_type != "code":
            continue

        if cell.source.strip():
            count += 1
            cell.execution_count = count
        else:
            cell.execution_count = None

        shown = [output for output in with_output.outputs if output.get("name") != "stderr"]
        cell.outputs = [_clean(output, cell.execution_count) for output in shown]
        if found := MACHINE_PATH.search(json.dumps(_texts(cell.outputs))):
            raise NotebookFailed(f"{name}, cell {number} prints {found.group()}, a path of this machine: print names")

    clean.metadata.pop("papermill", None)
    clean.metadata.pop("widgets", None)
    clean.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    clean.metadata["language_info"] = {"name": "python"}  # its version would change with the machine
    clean.nbformat_minor = max(clean.nbformat_minor, 5)  # the first version with cell ids
    return clean


def _clean(output: NotebookNode, count: int | None) -> NotebookNode:
    """An output without paths of the checkout, without widgets, and with the cell's own number."""
    checkout = json.dumps(str(paths.CHECKOUT))[1:-1]  # as it is written within a JSON text
    output = nbformat.from_dict(json.loads(json.dumps(output).replace(f"{checkout}/", "").replace(checkout, ".")))
    if "execution_count" in output:
        output["execution_count"] = count
    for part in ("data", "metadata"):
        output.get(part, {}).pop(WIDGET_VIEW, None)  # without its state, a page shows an error in its place
    return output


def _texts(outputs: list[NotebookNode]) -> list[Any]:
    """What a reader reads. Pictures are left out: in base64, any short path may stand by chance."""
    texts = []
    for output in outputs:
        texts.append(output.get("text"))
        texts += [data for kind, data in output.get("data", {}).items() if kind not in PICTURES]
    return texts
