"""Where things are. All paths are absolute: nothing depends on the working directory.

The environment variable `MULNB_HOME` names the folder that holds `artifacts/`, `data/` and `figures/`. Its default is the
checkout, or the user's cache folder if the package is installed without a checkout. `MULNB_FIGURES` moves the figures alone, so
that a check can draw them again beside the committed ones.

In a checkout without these variables, a run writes to `results/`, which git ignores, and what it did not compute is read from
the committed `figures/`. `MULNB_PUBLISH`, set by `--publish`, writes to `figures/` itself.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mulnb.core.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[2]
# something else lies there, or on the way
IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP)
ADVICE = {  # where a file cannot be written
    errno.ENAMETOOLONG: "choose a shorter one",
    errno.EFBIG: "allow larger files (ulimit -f unlimited)",
    errno.EMFILE: "allow more open files (ulimit -n 1024)",
    errno.ENFILE: "allow more open files (ulimit -n 1024)",
}
PARTIAL = ".partial-"  # how the names of temporary files and folders begin
REPLACED = "-replaced-"  # in the name of a folder that another one is about to replace, before its own
NUMBERS = "/proc/self/ns/pid"  # stands for all processes whose numbers this one sees


def home() -> Path:
    """The folder that holds everything mulnb writes: `MULNB_HOME`, the checkout, or a cache folder of the user."""
    if given := _named_by("MULNB_HOME"):
        return given

    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "notebooks").is_dir():
        return CHECKOUT

    cache = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if not cache.is_absolute():  # an account without a home, as in some containers
        raise UserError("this account has no home folder: set MULNB_HOME to a folder that can be written to")
    return real(cache) / "mulnb"


def _named_by(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is not set, or empty.

    Raises:
        UserError: it names a file, or nothing but spaces.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    if not given.strip():
        raise UserError(f"{variable} = {given!r}: expected a folder, or leave it unset")

    place = real(given)
    if os.path.exists(place) and not os.path.isdir(place):  # Path.exists refuses one that is too long for the system
        raise UserError(f"{variable} = {given!r}: this is a file: name a folder")
    return place


def artifacts() -> Path:
    """The folder of the store, and of other files that can be computed again."""
    return home() / "artifacts"


def data() -> Path:
    """The folder that holds one folder of images per data set."""
    return home() / "data"


def figures() -> Path:
    """The folder to which results are written, in one folder per profile."""
    if given := _named_by("MULNB_FIGURES"):
        return given

    own = _in_checkout() and not os.environ.get("MULNB_PUBLISH")
    return home() / ("results" if own else "figures")


def committed() -> Path:
    """The folder of the results in git; only `--publish` writes there."""
    return CHECKOUT / "figures"


def readable() -> list[Path]:
    """The folders from which results are read: the user's own first, then, in a checkout, the committed ones."""
    own = figures()
    with_committed = _in_checkout() and not os.environ.get("MULNB_FIGURES") and own != committed()
    return [own, committed()] if with_committed else [own]


def _in_checkout() -> bool:
    """Whether everything lies in the checkout because the user named no other place."""
    return not os.environ.get("MULNB_HOME") and home() == CHECKOUT


def results(profile: str) -> Path:
    """The folder with the figures, tables and frames of the profile with this name."""
    return figures() / profile


def find_result(profile: str, name: str) -> Path:
    """A file of a profile's results, for reading.

    Args:
        profile: the profile's name.
        name: the file, relative to the profile's folder of results.

    Returns:
        The user's own file, else the committed one; the path that a run would write to if there is neither.
    """
    places = [folder / profile / name for folder in readable()]
    return next((place for place in places if os.path.isfile(place)), places[0])


def given(path: str | bytes | os.PathLike, what: str) -> Path:
    """A path as a user gave it; a ~ at its beginning is the home.

    Args:
        path: the path.
        what: what messages call it.

    Raises:
        UserError: it is no path, or one that no file can have.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise UserError(f"{what} is a {type(path).__name__}: expected the path of a file or a folder")

    text = os.fsdecode(path)
    if not text.strip() or "\0" in text:
        raise UserError(f"{what} {text!r} is no name of a file or a folder")
    return expanded(text)


def expanded(path: str | Path) -> Path:
    """The path with the home for a ~ at its beginning. Unlike `Path.expanduser`, it leaves a ~ of nobody as it is."""
    return Path(os.path.expanduser(path))


def real(path: str | Path) -> Path:
    """The path from the root, without links and with the home for a ~. Unlike `Path.resolve`, it lets a circle of links pass."""
    return Path(os.path.realpath(expanded(path)))


def file_ending(path: str | os.PathLike, suffix: str, what: str) -> Path:
    """The path of a file to be written, with this suffix added where it has another. Raises `UserError` for a folder."""
    found = given(path, what)
    if os.path.isdir(found):  # unlike Path.is_dir, it takes a name that is too long for the system
        raise UserError(f"{what} {found} is a folder: give the name of a file")
    return found if found.suffix.lower() == suffix else found.with_name(f"{found.name}{suffix}")


def check_place(path: Path, what: str) -> None:
    """Raises `UserError` if nothing can be written to `path`: for whoever writes only after long work."""
    above = path
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent

    if above != path and not os.path.isdir(above):
        raise UserError(f"{what} {path}: {above} is no folder: choose another place")
    if not os.access(above, os.W_OK):
        raise UserError(f"{what} {path}: {above} cannot be written to: choose another place, or make this one usable")


def write_file(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a file whole or not at all: readers see the old file or the complete new one. Returns `path`.

    Args:
        path: where the file goes; missing folders are made.
        write: fills the temporary file whose path it is given. The file has the same name, in a folder beside `path`, and is
            moved afterwards.

    Raises:
        UserError: the folder is not writable or the disk is full; names the path and the reason. No partial file stays.
    """
    with temporary_folder(path.parent, path) as temporary:
        write(temporary / path.name)
        with contextlib.suppress(OSError):  # some writers make files that only their owner may read
            os.chmod(temporary / path.name, temporary.stat().st_mode & 0o666)
        os.replace(temporary / path.name, path)
    return path


def partial_prefix(folder: Path) -> str:
    """How the names of this process's temporary files in `folder` begin.

    What processes of this machine that were killed have left there is removed first.
    """
    remove_left(folder)
    return f"{PARTIAL}{_machine()}-{os.getpid()}-"


def remove_left(folder: Path) -> None:
    """Remove the temporary files in `folder` of processes of this machine that were killed.

    A folder that such a process was about to replace (`folders.write_folder`) goes back to its place if the new one is not there.
    """
    for left in folder.glob(f"{PARTIAL}{_machine()}-*"):
        process = left.name.split("-")[2]
        if process.isdecimal() and not _is_alive(int(process)):
            with contextlib.suppress(OSError):  # somebody else's, where many share the folder
                clear(left)


def clear(left: Path) -> None:
    """Remove a temporary file or folder, or put it back if it is the old one of a folder that is missing now."""
    if not left.is_dir() or left.is_symlink():
        left.unlink()
        return

    replaced = left.name.partition(REPLACED)[2]
    if replaced and not os.path.lexists(left.with_name(replaced)):
        os.rename(left, left.with_name(replaced))
    else:
        shutil.rmtree(left)


def _machine() -> str:
    """A name of this machine: others may share a folder. Containers with one name number their processes each for itself."""
    name = re.sub("[^A-Za-z0-9]+", "", platform.node()) or "here"
    try:
        return f"{name}{os.stat(NUMBERS).st_ino}"
    except OSError:  # another system than Linux
        return name


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for temporary files inside a `with` block. One that a killed process left is removed by the next one's.

    Raises:
        OSError: there is no folder for temporary files, or it is full.
    """
    with tempfile.TemporaryDirectory(prefix=partial_prefix(Path(tempfile.gettempdir()))) as folder:
        yield Path(folder)


def _is_alive(process: int) -> bool:
    """Whether a process with this number runs on this machine."""
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):  # no process can have a number of thirty digits
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


@contextlib.contextmanager
def temporary_folder(parent: Path, goal: Path) -> Iterator[Path]:
    """A folder in `parent`, made if it is missing, for what `goal` is to hold; gone afterwards, unless it was renamed.

    Its rights are those that this process gives to any folder (its umask), unlike those of `tempfile.mkdtemp`.

    Raises:
        UserError: the system refused something inside the block; names `goal` and the reason.
    """
    temporary: Path | None = None

    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = parent / f"{partial_prefix(parent)}{secrets.token_hex(8)}"
        temporary.mkdir()
        yield temporary
    except OSError as error:
        raise _cannot_write(goal, error) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def free(path: Path, between: str = "-", first: int = 2) -> Path:
    """The first path beside `path` that is not taken: `set.json` → `set-2.json`, `set-3.json`, …

    Args:
        path: a file or folder.
        between: what stands before the number.
        first: the first number.
    """
    names = (path.with_name(f"{path.stem}{between}{number}{path.suffix}") for number in itertools.count(first))
    return next(name for name in names if not os.path.lexists(name))


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all. Returns `path`.

    Raises:
        UserError: as `write_file`.
    """
    return write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def check_writable(folder: Path) -> None:
    """Try whether anything can be written into a folder: before hours of work, not after.

    Raises:
        UserError: as `write_file`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(dir=folder, prefix=partial_prefix(folder))).rmdir()
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _cannot_write(path: Path, error: OSError) -> UserError:
    """The error to raise when `path` cannot be written, with the reason and what to do."""
    reason = error.strerror or error
    if error.errno in IN_THE_WAY:
        in_the_way = next(place for place in (path, *path.parents) if os.path.lexists(place))
        return UserError(f"cannot write {path}: {reason}: remove or rename {in_the_way}")
    if error.errno in ADVICE:
        return UserError(f"cannot write {path}: {reason}: {ADVICE[error.errno]}")
    return UserError(f"cannot write {path}: {reason}; free some space or set MULNB_HOME to a writable folder")
