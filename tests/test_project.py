"""Facts about the project's own files: what a user copies, installs and cites must agree with what the code says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from mulnb.core import paths
from mulnb.notebooks import run as runner

ROOT = paths.CHECKOUT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
# composed, so that this file does not name what it forbids
HOSTS = ["pypi" + ".org", "pypi." + "python", "python" + "hosted.org", "registry.npm" + "js", "deb." + "debian"]
MACHINE_PATH = re.compile("/" + "(?:work|tmp|root|home)" + "/[a-z]")


def git_files(*patterns):
    """What is committed, or would be: tracked files and new ones that git does not ignore."""
    # a checkout that belongs to another user, as in a container, is fine
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file()]


def pinned():
    """Name → (versions, hashes) of the lock; a package may have several versions, by platform."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", LOCK):
        if match := re.match(r"([a-z0-9._-]+)==([^\s;]+)", block):
            versions, hashes = found.setdefault(match[1], ([], []))
            versions.append(match[2])
            hashes.append(len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)))
    return found


def names(requirements):
    return {Requirement(text).name.lower() for text in requirements}


def test_every_dependency_is_pinned_in_the_lock():
    # the build backend, too: run_all.sh installs the project without a download that nobody checks
    extras, lock = PROJECT["project"]["optional-dependencies"], pinned()
    installed = extras["notebooks"] + extras["test"] + extras["cluster"]
    needed = PROJECT["project"]["dependencies"] + installed + PROJECT["build-system"]["requires"]
    for requirement in map(Requirement, needed):
        versions, _ = lock.get(requirement.name.lower(), ([], []))
        assert versions and all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_lock_has_hashes_and_no_addresses():
    lock = pinned()
    assert len(lock) > 100
    assert [name for name, (_, hashes) in lock.items() if 0 in hashes] == []
    assert "://" not in LOCK and "--index" not in LOCK


def test_the_api_installs_without_the_notebooks():
    needed, extra = names(PROJECT["project"]["dependencies"]), names(PROJECT["project"]["optional-dependencies"]["notebooks"])
    assert {"jupyterlab", "ipykernel", "papermill", "nbval", "ipywidgets"} <= extra
    assert not needed & extra


def test_the_readme_says_what_each_dependency_is_for():
    text = (ROOT / "README.md").read_text()
    section = text[text.index("### Dependencies") : text.index("## Citing")].lower()
    everything = names(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        everything |= names(extra)
    assert [name for name in sorted(everything) if name not in section] == []


def test_environment_yml_leaves_everything_to_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python" + PROJECT["project"]["requires-python"], "pip"]
    (line,) = pip["pip"]
    extras = re.fullmatch(r"-e \.\[(.+)\]", line)[1].split(",")
    assert extras == ["notebooks", "test", "cluster"] and set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    assert environment["name"] == PROJECT["project"]["name"]


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (PROJECT["project"]["version"], PROJECT["project"]["license"])
    cited = [reference["identifiers"][0]["value"] for reference in citation["references"]]
    assert cited == ["arXiv:2410.16516", "arXiv:2406.01257", "arXiv:2008.03703"]
    for reference in citation["references"]:
        assert reference["type"] and reference["title"]
        assert all(author["family-names"] and author["given-names"] for author in reference["authors"])


def test_the_license_is_the_one_that_is_declared():
    assert PROJECT["project"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n\nCopyright (c) 2026 The mulnb authors\n")


def test_the_version_is_said_once():
    import mulnb

    assert mulnb.__version__ == PROJECT["project"]["version"]


def test_every_package_folder_is_shipped():
    folders = {path.parent for path in git_files("mulnb/**/*.py", "mulnb/*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)
    assert PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["mulnb", "mulnb.*"]


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    named = []
    for path in git_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture or a table in binary
        if path.suffix == ".ipynb":  # pictures in base64 may hold any short path
            text = re.sub(r'"image/(?:png|jpeg)": "[^"]*"', "", text)
        named += [f"{path.relative_to(ROOT)}: {word}" for word in HOSTS if word in text]
        named += [f"{path.relative_to(ROOT)}: {found.group()}" for found in MACHINE_PATH.finditer(text)]
    assert named == []


def test_the_checkout_stays_small():
    sizes = {path: path.stat().st_size for path in git_files()}
    assert sum(sizes.values()) < 10e6, sorted(sizes, key=sizes.get)[-5:]


def test_every_mistake_of_METHOD_10_has_a_test_with_its_number():
    named = re.compile(r"^def test_method10_(\w+?)_", re.MULTILINE)
    numbers = {
        number for path in git_files("tests/test_*.py", "tests/**/test_*.py") for number in named.findall(path.read_text())
    }
    assert numbers == {f"{number:02d}" for number in range(1, 12)}


# run_all.sh


def run_all(*options, root=ROOT, **kwargs):
    return subprocess.run([root / "run_all.sh", *options], capture_output=True, text=True, timeout=300, **kwargs)


def test_help_lists_every_option():
    script = (ROOT / "run_all.sh").read_text()
    cases = script[script.index("case $1 in") : script.index("esac")]
    taken = set(re.findall(r"--[a-z-]+", re.sub("#.*|fail .*", "", cases)))
    passed_on = {name for action in runner.parser()._actions for name in action.option_strings} - {"-h", "--notebooks"}
    assert passed_on <= taken and "--test" in taken
    shown = run_all("--help")
    assert shown.returncode == 0
    assert taken == set(re.findall(r"^  (--[a-z-]+)", shown.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profiles"], "unknown option '--profiles'"),
        (["digits"], "unknown option 'digits'"),
        (["--only"], "--only needs a value"),
        (["--test", "--profile", "digits"], "--test takes no other option"),
        (["--profile", "digits", "--lab"], "--lab comes first: its options follow it"),
    ],
)
def test_a_wrong_option_is_one_line(options, message):
    result = run_all(*options)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1 and message in result.stderr


def test_the_scripts_are_sound():
    for script in (ROOT / "run_all.sh", ROOT / ".ci" / "run"):
        subprocess.run(["bash", "-n", script], check=True)
        assert os.access(script, os.X_OK)
    assert "./run_all.sh --test" in (ROOT / ".ci" / "run").read_text()


@pytest.fixture
def fresh(tmp_path):
    """A copy of run_all.sh in a folder with a space, and stand-ins for python3 and uv that write down how they are called."""
    root, tools, calls = tmp_path / "a b", tmp_path / "tools", tmp_path / "calls"
    root.mkdir()
    tools.mkdir()
    for name in ("run_all.sh", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, root)

    def stand_in(name, code):
        (tools / name).write_text(f'#!/bin/bash\necho "{name} $*" >>"{calls}"\n{code}\n')
        (tools / name).chmod(0o755)

    # `python3 -m venv --clear FOLDER` makes a folder whose python writes down its calls, too
    venv = '[ "$2" = venv ] || exit 0\nrm -rf "${@: -1}"; mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python"'
    stand_in("python3", venv)
    stand_in("uv", '[[ "$*" != *"${UV_REFUSES:-no such word}"* ]] && exit "${UV_FAILS:-0}"; exit 1')

    def call(*options, **environment):
        calls.unlink(missing_ok=True)
        # a value that is empty counts as not given
        known = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHON": "", **environment}
        result = run_all(*options, root=root, cwd="/", env={**os.environ, **known})
        return result.returncode, calls.read_text() if calls.exists() else ""

    call.root = root
    return call


def locked(path):
    return set(re.findall(r"^([a-z0-9-]+)==", path.read_text(), re.MULTILINE))


def test_a_set_up_for_the_processor_alone_takes_torch_without_cuda_and_stays(fresh):
    code, calls = fresh("--cpu")
    versions = re.findall(r"^((?:torch|torchvision)==[0-9.]+)", (fresh.root / "requirements.lock").read_text(), re.MULTILINE)
    assert code == 0 and len(versions) == 2
    assert re.search(rf"--torch-backend cpu --no-deps {' '.join(versions)}$", calls, re.MULTILINE)

    assert calls.count("uv pip sync") == 1 and "cpu.lock" in calls
    left_out = locked(fresh.root / "requirements.lock") - locked(fresh.root / ".venv" / "cpu.lock")
    assert {"torch", "torchvision", "triton", "nvidia-cublas"} <= left_out
    assert all(name.startswith(("torch", "nvidia", "cuda", "triton")) for name in left_out)
    assert fresh() == (0, "python3 -P -m mulnb.notebooks\n")


def test_without_pytorchs_index_it_leaves_out_what_torch_does_not_load(fresh):
    code, calls = fresh("--cpu", UV_REFUSES="--torch-backend")
    assert code == 0 and calls.count("uv pip sync") == 2

    names, every = locked(fresh.root / ".venv" / "cpu.lock"), locked(fresh.root / "requirements.lock")
    assert {"torch", "numpy", "nvidia-cublas", "nvidia-cudnn-cu13"} <= names < every
    assert "triton" in every - names and all(name.startswith(("nvidia", "cuda", "triton")) for name in every - names)
    assert fresh() == (0, "python3 -P -m mulnb.notebooks\n")


def test_set_up_needs_no_word_of_linux_alone(fresh, tmp_path):
    """As on macOS, which has shasum instead of sha256sum: a PATH with the few words that the script may use."""
    few = tmp_path / "few"
    few.mkdir()
    for name in ("bash", "cat", "cp", "dirname", "head", "mkdir", "rm", "shasum", "tail"):
        if not (found := shutil.which(name)):
            pytest.skip(f"this machine has no {name}")
        (few / name).symlink_to(found)

    tools = tmp_path / "tools"
    code, calls = fresh("--only", "02", PATH=f"{tools}:{few}")
    assert code == 0 and "uv pip sync" in calls
    assert fresh("--only", "02", PATH=f"{tools}:{few}") == (0, "python3 -P -m mulnb.notebooks --only=02\n")


def test_set_up_is_done_once_and_again_when_the_lock_changes(fresh):
    code, calls = fresh("--profile", "-odd name", "--set", "seeds=[1, 2]")
    assert code == 0
    assert "uv pip sync" in calls and "--require-hashes requirements.lock" in calls
    assert "uv pip install" in calls and "--no-deps" in calls and "--editable ." in calls
    assert calls.splitlines()[-1] == "python3 -P -m mulnb.notebooks --profile=-odd name --set=seeds=[1, 2]"

    assert fresh("--only", "02") == (0, "python3 -P -m mulnb.notebooks --only=02\n")
    words = ["--profile", "my own.yaml", "--no-browser"]
    assert fresh("--lab", *words) == (0, f"python3 -P -m mulnb.notebooks.lab {' '.join(words)}\n")
    assert fresh("--site", "--out", "my site") == (0, "python3 -P -m mulnb.site --out my site\n")

    with (fresh.root / "requirements.lock").open("a") as lock:
        lock.write("# another version\n")
    code, calls = fresh()
    assert code == 0 and "uv pip sync" in calls and "-m venv" not in calls
    assert fresh() == (0, "python3 -P -m mulnb.notebooks\n")

    moved = fresh.root.with_name("c d")  # the scripts of an environment name the folder that they were made in
    fresh.root.rename(moved)
    fresh.root = moved
    result = run_all(root=moved, env={**os.environ, "PATH": "/nonexistent:" + os.environ["PATH"], "PYTHON": "false"})
    assert result.returncode == 2 and "PYTHON=false is not a Python 3.11 or later" in result.stderr


def test_a_set_up_that_failed_is_not_taken_for_done(fresh):
    code, calls = fresh(UV_FAILS="3")
    assert code == 3 and "mulnb.notebooks" not in calls
    code, calls = fresh()
    assert code == 0 and "-m venv --clear" in calls and "uv pip sync" in calls


# notebooks


def notebooks():
    return git_files("notebooks/*.ipynb")


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_committed_notebook(path):
    tree = json.loads(path.read_text())
    code = [cell for cell in tree["cells"] if cell["cell_type"] == "code"]
    tags = [tag for cell in code for tag in cell["metadata"].get("tags", [])]
    assert tags.count("parameters") == 1
    assert tags.count("nbval-check-output") >= 1
    assert all(cell["outputs"] for cell in code if "nbval-check-output" in cell["metadata"].get("tags", []))
    kinds = {(output["output_type"], output.get("name")) for cell in code for output in cell["outputs"]}
    assert kinds and ("error", None) not in kinds and ("stream", "stderr") not in kinds
    assert "widgets" not in tree["metadata"] and "papermill" not in tree["metadata"]
    assert tree["metadata"]["kernelspec"]["name"] == "python3"
    assert tree["metadata"]["mulnb"]["outputs"]
    ids = [cell["id"] for cell in tree["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_notebooks_of_a_run_are_there():
    assert [path.name[:2] for path in runner.select(ROOT / "notebooks", None)] == ["00", "01", "02", "03", "04", "05", "08"]
