"""Export and import of a forget set: where the file may go, the row of widgets, and the command that unlearns the set."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from mulnb import config
from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.data import forget_file
from mulnb.explorer import stock
from mulnb.explorer.voice import Voice
from mulnb.forget import ForgetSet

LONGEST = 255  # bytes of a file's name on all usual systems


class Exists(UserError):
    """The file to write holds another set. `free`: a name beside it that is not taken."""

    def __init__(self, path: Path) -> None:
        self.free = paths.free(path)
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
    return root / paths.given(given, "the file")


def check_target(path: Path, profile: Profile | None) -> None:
    """Refuse a file that would not be read back, or has no folder; only the profile's own folder of results is made."""
    # a typing mistake in the path must not become a folder
    own = None if profile is None else paths.results(profile.name)
    if max(len(os.fsencode(part)) for part in path.parts) > LONGEST:
        raise UserError(f"{path}: the name is too long: choose a shorter one")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the name of a file in it")
    if path.suffix.lower() in forget_file.PLAIN:
        raise UserError(f"{path}: strata are JSON, and {path.suffix} is read as a plain list: call the file {path.stem}.json")
    if not path.parent.is_dir() and path.parent != own:
        raise UserError(f"the folder {path.parent} does not exist: make it first, or choose another")


def holds(path: Path, chosen: ForgetSet) -> bool:
    """Whether a file holds this very set, so that writing it again changes nothing."""
    try:
        return forget_file.load(path).hash == chosen.hash
    except UserError:
        return False


def command(profile: Profile, path: Path) -> str:
    """The shell command that unlearns an exported set with every algorithm of the profile, from any folder."""
    name = f"{profile.name}-{re.sub('[^A-Za-z0-9]+', '-', path.stem).strip('-').lower() or 'set'}"
    known = profile.name in config.known_profiles()
    changed = stock.overrides(profile) if known else {}
    changed = {key: value for key, value in changed.items() if key not in ("name", "forget.file")}

    # this Python by its full path: the reader's shell may have no environment active
    words = [sys.executable, "-m", "mulnb", "run", "--profile", profile.name if known else "YOUR.yaml", "--stage", "unlearning"]
    for key, value in {**changed, "name": name, "forget.file": str(path.resolve())}.items():
        # JSON is YAML, too, and quotes colons and hashes, which YAML would read otherwise
        words += ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
    # another home would have another store, and compute everything again
    home = f"MULNB_HOME={shlex.quote(str(paths.home()))} " if "MULNB_HOME" in os.environ else ""
    return home + shlex.join(words)


class FileRow:
    """A field for the file and the buttons Export and Import; Overwrite appears when the file holds another set.

    Args:
        profile: whose command is shown after an export; None for data without a profile.
        export: writes the chosen set to the file, or raises `Exists`; its second argument allows to overwrite.
        load: chooses the set in the file.
    """

    def __init__(
        self,
        profile: Profile | None,
        export: Callable[[str, bool], ForgetSet],
        load: Callable[[str], ForgetSet],
        voice: Voice,
    ) -> None:
        self.profile, self.export, self.load, self.voice = profile, export, load, voice
        self._taken = ""  # the file that Overwrite would replace

        self.field = widgets.Text(default(profile), description="file", layout={"width": "380px"})
        self.save_button = widgets.Button(description="Export", icon="download", layout={"width": "90px"})
        self.load_button = widgets.Button(description="Import", icon="upload", layout={"width": "90px"})
        self.overwrite_button = widgets.Button(description="Overwrite", layout={"width": "90px", "display": "none"})
        self.save_button.on_click(voice.guard(lambda _: self._on_save()))
        self.load_button.on_click(voice.guard(lambda _: self._on_load()))
        self.overwrite_button.on_click(voice.guard(lambda _: self._on_overwrite()))
        self.children = (self.field, self.save_button, self.overwrite_button, self.load_button)

    @property
    def file(self) -> str:
        """The file in the field, or the default one."""
        return self.field.value.strip() or default(self.profile)

    def _on_save(self, overwrite: bool = False) -> None:
        try:
            saved = self.export(self.file, overwrite)
        except Exists as error:
            self._ask(error)
            return
        self.overwrite_button.layout.display = "none"

        path = resolve(self.file, self.profile)
        words = f"{len(saved.strata.forget)} indices written to {html.escape(path.name)}, hash {saved.hash[:12]}."
        if self.profile is not None:
            words += f" To unlearn it with every algorithm: <code>{html.escape(command(self.profile, path))}</code>"
        self.voice.say(words)

    def _ask(self, error: Exists) -> None:
        """Put the free name into the field, and offer to overwrite the old one after all."""
        self._taken = self.file
        self.field.value = str(Path(self.file).with_name(error.free.name))
        self.overwrite_button.layout.display = None
        taken, free = html.escape(Path(self._taken).name), html.escape(error.free.name)
        self.voice.say(f"{taken} exists and holds another set. Export again to write {free}, or Overwrite {taken}.", bad=True)

    def _on_overwrite(self) -> None:
        self.field.value = self._taken
        self._on_save(overwrite=True)

    def _on_load(self) -> None:
        found = self.load(self.file)
        self.voice.say(f"{len(found.strata.forget)} indices read, hash {found.hash[:12]}.")
