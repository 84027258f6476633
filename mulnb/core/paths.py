"""Where things are: absolute paths, never the working directory.

`MULNB_HOME` holds `artifacts/`, `data/` and `figures/`; it defaults to the checkout, or to the user's cache folder where the
package is installed without one. `MULNB_FIGURES` moves the figures alone, so that a check can redraw them beside the
committed ones.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mulnb.core.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[2]


def home() -> Path:
    if given := os.environ.get("MULNB_HOME"):
        return Path(given).expanduser().resolve()
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "notebooks").is_dir():
        return CHECKOUT
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser().resolve() / "mulnb"


def artifacts() -> Path:
    return home() / "artifacts"


def data() -> Path:
    return home() / "data"


def figures() -> Path:
    """The folder that holds one folder of results per profile."""
    given = os.environ.get("MULNB_FIGURES")
    return Path(given).expanduser().resolve() if given else home() / "figures"


def results(profile: str) -> Path:
    return figures() / profile


def write_file(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it: readers see the old file or the whole new one.

    Raises `UserError` with the path and the reason when the folder is not writable or the disk is full; nothing half-written
    stays.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # the suffix is kept: savefig and to_parquet choose the format by it
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        os.chmod(temporary, 0o644)  # mkstemp makes private files
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space or set MULNB_HOME to a writable folder"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    return write_file(path, lambda temporary: temporary.write_text(text))
