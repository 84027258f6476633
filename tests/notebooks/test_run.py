"""The runner's promises: it runs notebooks as they are, checks them before and after, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from terminal import hears_signals

from mulnb.core import paths
from mulnb.core.errors import NotebookFailed
from mulnb.notebooks import kernel
from mulnb.notebooks import run as runner

DEFAULTS = 'profile = "smoke"\noverrides = {}'
WRITE = "from mulnb import paths\npaths.write_text(paths.results('smoke') / 'a.csv', '1');"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The runner sets these for its process: here they must be as before."""
    for name in ("MULNB_PROGRESS", "MULNB_WORKERS", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "note {books}"  # braces are formats to papermill, and a space is a space
    place.mkdir()
    return place


def make(folder, name, *cells, outputs=("a.csv",), parameters=DEFAULTS):
    tagged = [new_markdown_cell("# A title"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    notebook = new_notebook(cells=tagged + [new_code_cell(cell) for cell in cells])
    notebook.metadata = {"mulnb": {"outputs": list(outputs)}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(notebook, folder / f"{name}.ipynb")


def run(folder, *options):
    return runner.main(["--profile", "smoke", "--notebooks", str(folder), *options])


def executed(name):
    return nbformat.read(paths.artifacts() / "executed" / "smoke" / f"{name}.ipynb", as_version=4)


@pytest.mark.slow
def test_parameters_reach_the_kernel_of_this_python(folder, tmp_path, monkeypatch, capsys):
    broken = tmp_path / "jupyter" / "kernels" / "python3"  # what a user may have: another kernel of the same name
    broken.mkdir(parents=True)
    (broken / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    facts = "python=sys.prefix, workers=os.environ['MULNB_WORKERS'], folder=os.getcwd()"
    facts = f"facts = dict(profile=profile, overrides=overrides, {facts})"
    make(folder, "00_facts", f"import json, os, sys\n{facts}", WRITE.replace("'1'", "json.dumps(facts)"))
    make(folder, "06_explore", "1 / 0")  # runs only when named
    before = (folder / "00_facts.ipynb").read_bytes()

    assert run(folder, "--set", "pool.models=12", "--set", "seeds=[3, 4]", "--workers", "3") == 0

    facts = json.loads((paths.results("smoke") / "a.csv").read_text())
    overrides = {"pool.models": 12, "seeds": [3, 4]}
    assert facts == {
        "profile": "smoke",
        "overrides": overrides,
        "python": sys.prefix,
        "workers": "3",
        "folder": str(folder),  # as under JupyterLab and nbval
    }
    assert (folder / "00_facts.ipynb").read_bytes() == before
    assert executed("00_facts").metadata.papermill.parameters.overrides == overrides
    assert f"1 table: {paths.results('smoke')}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_kernel_that_a_notebook_names_does_not_matter(folder):
    make(folder, "00_one", "import sys", WRITE.replace("'1'", "sys.prefix"))
    notebook = nbformat.read(folder / "00_one.ipynb", as_version=4)
    notebook.metadata.kernelspec = {"name": "conda-env-x-py", "display_name": "Python [conda env:x]"}
    nbformat.write(notebook, folder / "00_one.ipynb")

    assert run(folder) == 0
    assert (paths.results("smoke") / "a.csv").read_text() == sys.prefix  # this environment's Python


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "digitz"], "unknown profile 'digitz': did you mean 'digits'?"),
        (["--set", "pool.modles=3"], "did you mean 'models'?"),
        (["--set", "seeds"], "expected key.sub=value"),
        (["--only", "00,09"], "there is no notebook 09; there are 00, 01"),
        (["--only", ""], "--only '': name notebooks by their numbers"),
        (["--only", "00,"], "--only '00,': name notebooks by their numbers"),
        (["--workers", "many"], "workers = 'many'"),
        (["--only"], "argument --only: expected one argument"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(folder, monkeypatch, capsys, options, message):
    make(folder, "00_one", WRITE)
    make(folder, "01_two", WRITE)
    monkeypatch.setattr(kernel, "execute", lambda *_: pytest.fail("a notebook was started"))
    assert run(folder, *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_a_parameter_that_a_notebook_does_not_know_is_a_mistake(folder, capsys):
    make(folder, "00_one", WRITE, parameters='profile = "smoke"')
    assert run(folder) == 2
    assert "00_one has no parameter overrides: it has profile" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failed_cell_stops_the_run_and_is_named(folder, capsys):
    make(folder, "00_bad", WRITE, "# a comment\nx = 1\nx / 0")
    make(folder, "01_next", WRITE)
    assert run(folder) == 1
    assert "00_bad, cell 4, at `x / 0`: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert not (paths.artifacts() / "executed" / "smoke" / "01_next.ipynb").exists()


@pytest.mark.slow
def test_a_mistake_of_the_user_in_a_notebook_is_its_message_alone(folder, capsys):
    make(folder, "00_mistake", "from mulnb import UserError\nraise UserError('forget.size = 999: too many')")
    assert run(folder) == 2
    assert capsys.readouterr().err == "mulnb: forget.size = 999: too many\n"


@pytest.mark.slow
def test_every_declared_output_must_be_written_by_this_run(folder, capsys):
    stale = paths.write_text(paths.results("smoke") / "stale.png", "from an earlier run")
    make(folder, "00_some", WRITE, outputs=["a.csv", "stale.png", "../paper/never.svg"])
    assert run(folder) == 1
    assert "00_some did not write stale.png, ../paper/never.svg to" in capsys.readouterr().err
    assert stale.read_text() == "from an earlier run"


def test_a_notebook_that_declares_nothing_fails(folder, capsys):
    make(folder, "00_silent", WRITE, outputs=[])
    assert run(folder) == 1
    assert "00_silent declares no outputs" in capsys.readouterr().err


@pytest.mark.slow
def test_an_error_in_a_widget_fails(folder, capsys):
    widget = "from ipywidgets import interact\n@interact(x=3)\ndef show(x):\n    raise ValueError('swallowed by the widget')"
    make(folder, "00_widget", WRITE, widget)
    assert run(folder) == 1
    assert "ValueError: swallowed by the widget" in capsys.readouterr().err


def test_printed_tracebacks_are_errors_and_warnings_are_not():
    def notebook(text):
        cell = new_code_cell(outputs=[new_output("stream", name="stderr", text=text)])
        return new_notebook(cells=[new_markdown_cell("x"), cell])

    printed = "callback failed\n\x1b[31mTraceback (most recent call last)\x1b[39m:\n  File ...\nKeyError: 'x'\n"
    assert kernel.hidden_errors(notebook(printed)) == ["KeyError: 'x'"]
    assert kernel.hidden_errors(notebook("UserWarning: this is slow\n")) == []


@pytest.mark.slow
def test_a_kernel_that_dies_is_a_failure_with_a_name(folder, capsys):
    make(folder, "00_dies", "import os\nos.abort()")
    assert run(folder) == 1
    assert "00_dies: Kernel died" in capsys.readouterr().err


@pytest.mark.slow
def test_a_kernel_that_somebody_interrupts_is_one_line(folder, capsys):
    make(folder, "00_waits", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)")
    assert run(folder) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "00_waits: its kernel was interrupted by another process: run the same command again" in line


@pytest.mark.slow
def test_an_interrupt_is_one_line_and_nothing_survives(folder, tmp_path):
    pids = tmp_path / "pids"
    deaf = ["sh", "-c", "trap '' INT TERM; exec sleep 600"]  # a worker that only SIGKILL ends
    spawn = f"import os, subprocess, time\nchild = subprocess.Popen({deaf})\nopen({str(pids)!r}, 'w').write"
    make(folder, "00_sleeps", f"{spawn}(f'{{os.getpid()}} {{child.pid}} .')\ntime.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", "mulnb.notebooks", "--profile", "smoke", "--notebooks", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_signals,
    )
    while process.poll() is None and not (pids.exists() and pids.read_text().endswith(".")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1 and "interrupted" in errors
    assert [pid for pid in pids.read_text().split()[:2] if alive(int(pid))] == []


def alive(pid):
    """A process that ended counts as gone even where nobody collects it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_saved_notebooks_show_what_a_reader_sees_and_nothing_of_the_run(folder, monkeypatch):
    noise = "import sys, ipywidgets\nprint('noise', file=sys.stderr)\ndisplay(ipywidgets.IntSlider())"
    make(folder, "00_shown", WRITE, noise, f"print({str(paths.CHECKOUT)!r} + '/figures')\nprofile.upper()")
    source = nbformat.read(folder / "00_shown.ipynb", as_version=4)

    assert run(folder, "--save-notebooks", "--set", "seeds=[3]") == 2  # it would show another run than it says
    assert run(folder, "--save-notebooks") == 0

    text = (folder / "00_shown.ipynb").read_text()
    saved = nbformat.reads(text, as_version=4)
    nbformat.validate(saved)
    assert [(cell.id, cell.source, cell.metadata) for cell in saved.cells] == [
        (cell.id, cell.source, cell.metadata) for cell in source.cells
    ]
    assert [cell.get("execution_count") for cell in saved.cells] == [None, 1, 2, 3, 4]
    stream, result = saved.cells[-1].outputs
    assert (stream.text, result.data["text/plain"], result.execution_count) == ("figures\n", "'SMOKE'", 4)
    assert saved.metadata.mulnb == source.metadata.mulnb and saved.metadata.kernelspec.name == "python3"
    unwanted = ("papermill", "injected", "noise", "widget-view", "widget-state", str(paths.CHECKOUT))
    beside_sources = json.dumps([saved.metadata, [[cell.metadata, cell.get("outputs")] for cell in saved.cells]])
    assert [word for word in unwanted if word in beside_sources] == []

    assert run(folder, "--save-notebooks") == 0
    assert (folder / "00_shown.ipynb").read_text() == text  # the same run again, the same bytes


def test_a_path_of_this_machine_is_not_saved():
    path = os.sep.join(["", "home", "somebody", "data"])
    shown = new_notebook(cells=[new_code_cell("path", outputs=[new_output("stream", name="stdout", text=f"see {path}\n")])])
    picture = new_output("display_data", data={"image/png": path})
    with pytest.raises(NotebookFailed, match=f"01_x, cell 1 prints {path}, a path"):
        kernel.with_outputs(shown, shown, "01_x")
    shown.cells[0].outputs = [picture]  # base64, where any short path may stand
    assert kernel.with_outputs(shown, shown, "01_x").cells[0].outputs == [picture]
