"""Where an exported forget set may go, and the command that unlearns it with every algorithm of its profile."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import sys
from pathlib import Path

from mulnb import config
from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.explorer import stock


class Exists(UserError):
    """The file to write holds another set. `free`: a name beside it that is not taken."""

    def __init__(self, path: Path) -> None:
        self.free = free_name(path)
        super().__init__(f"{path.name} exists and holds another set: export to {self.free.name}, or overwrite it")


def default(profile: Profile | None) -> str:
    """The file that is proposed, relative to `MULNB_HOME` where it lies in there."""
    if profile is None:
        return "forget_set.json"
    path = paths.results(profile.name) / "forget_set.json"
    return str(path.relative_to(paths.home()) if path.is_relative_to(paths.home()) else path)


def resolve(given: str | Path, profile: Profile | None) -> Path:
    """A relative path is meant from `MULNB_HOME`; without a profile, from the working directory."""
    root = Path.cwd() if profile is None else paths.home()
    return root / Path(given).expanduser()


def check_target(path: Path, profile: Profile | None) -> None:
    """Refuse a file in a folder that does not exist; only the profile's own folder of results is made."""
    own = None if profile is None else paths.results(profile.name)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the name of a file in it")
    if not path.parent.is_dir() and path.parent != own:
        raise UserError(f"the folder {path.parent} does not exist: make it first, or choose another")


def free_name(path: Path) -> Path:
    """`set.json` → `set-2.json`, the first such name that is not taken."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(name for name in names if not name.exists())


def command(profile: Profile, path: Path) -> str:
    """The shell command that unlearns an exported set with every algorithm of the profile, from any folder."""
    name = f"{profile.name}-{re.sub('[^A-Za-z0-9]+', '-', path.stem).strip('-').lower() or 'set'}"
    known = profile.name in config.known_profiles()
    changed = stock.changes(profile) if known else {}
    changed = {key: value for key, value in changed.items() if key not in ("name", "forget.file")}

    words = [sys.executable, "-m", "mulnb", "run", "--profile", profile.name if known else "YOUR.yaml", "--stage", "unlearning"]
    for key, value in {**changed, "name": name, "forget.file": str(path.resolve())}.items():
        words += ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
    home = f"MULNB_HOME={shlex.quote(str(paths.home()))} " if "MULNB_HOME" in os.environ else ""
    return home + shlex.join(words)
