"""The folder that a call of `mulnb.forget` writes: new or empty before, whole afterwards. Loads no torch."""

from __future__ import annotations

import json
from pathlib import Path

from mulnb.core import folders, paths
from mulnb.core.errors import UserError

FILES = ("model.safetensors", "report.html", "report.json", "request.json", "trials.csv")


def check(out: Path, what: str, ledger: Path | None = None) -> None:
    """Look at the folder before the search.

    Args:
        out: the folder.
        what: what messages call it.
        ledger: the file that is to have the request afterwards.

    Raises:
        UserError: there is something in it, or nothing can be written to it.
    """
    if not folders.is_free(out):
        if ledger is not None and _lacks(ledger, out):
            raise UserError(
                f"{what} {out} has a whole result, but {ledger} does not have the request: remove {out} and run again, "
                "or name a new folder"
            )
        raise UserError(f"{what} {out} exists and is not empty: name a new folder")
    paths.check_place(out, what)


def check_apart(out: Path, ledger: Path) -> None:
    """Raises `UserError` if a folder and a ledger are in each other's way: the ledger, written last, would find no place."""
    folder, file = paths.real(out), paths.real(ledger)
    if folder == file or file in folder.parents or (file.parent == folder and file.name in FILES):
        raise UserError(f"the folder {out} and the ledger {ledger} are in each other's way: name another ledger")


def what_stays(out: Path, ledger: Path | None, before: int) -> str:
    """What an interrupted call has left: first the folder is written, whole, and then the ledger, which had `before` bytes."""
    if folders.is_free(out):
        return "nothing was written, and the same command begins anew"
    if not _is_whole(out):
        return f"{out} has only a part of a result: remove it, and the same command begins anew"
    if ledger is not None and size(ledger) == before:
        return f"{ledger} does not have the request: remove {out}, and the same command begins anew"
    return f"the result in {out} is complete"


def size(file: Path | None) -> int:
    """Bytes of a file; 0 if there is none."""
    return file.stat().st_size if file and file.is_file() else 0


def _is_whole(out: Path) -> bool:
    """Whether all files of a result are there."""
    return all((out / name).is_file() for name in FILES)


def _lacks(ledger: Path, out: Path) -> bool:
    """Whether a folder has a whole result that belongs into the ledger and is not there: a run was killed in between."""
    if not _is_whole(out):
        return False
    try:
        asked = set(_read(out / "request.json")["index"])
        colour = _read(out / "report.json")["verdict"]["colour"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # others' files of these names
        return False

    from mulnb.your_model.ledger import Requests, examples_of

    entered = [set(examples_of(entry)) for entry in Requests(ledger)]
    return colour != "red" and asked not in entered


def _read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))
