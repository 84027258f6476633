"""Folders that environment variables name: used as they are, or refused in one line."""

from __future__ import annotations

import pytest

from mulnb.core import paths
from mulnb.core.errors import UserError


@pytest.mark.parametrize(("variable", "folder"), [("MULNB_HOME", paths.home), ("MULNB_FIGURES", paths.figures)])
@pytest.mark.parametrize("given", [" ", "\t ", __file__])
def test_a_variable_that_names_no_folder_is_refused(monkeypatch, variable, folder, given):
    monkeypatch.setenv(variable, given)
    with pytest.raises(UserError, match=f"{variable} = .*(expected a folder|this is a file)"):
        folder()


@pytest.mark.parametrize("name", ["new", "mit Wörtern und Leerzeichen ", "~nobody-of-this-name"])
def test_a_folder_may_be_new_and_relative(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULNB_HOME", name)
    assert paths.home() == tmp_path / name
    assert not list(tmp_path.iterdir())  # asking makes nothing
