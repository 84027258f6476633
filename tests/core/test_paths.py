"""Folders that environment variables name: used as they are, or refused in one line."""

from __future__ import annotations

import os

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


def test_a_circle_of_links_is_refused_when_something_is_written(tmp_path, monkeypatch):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    monkeypatch.setenv("MULNB_HOME", str(tmp_path / "circle"))
    assert not paths.find_result("smoke", "a.csv").exists()  # asking is no mistake
    with pytest.raises(UserError, match=r"cannot write .*/circle/artifacts: .*: remove or rename .*/circle$"):
        paths.check_writable(paths.artifacts())


@pytest.mark.parametrize("given", [None, 5, ["a"], "", " \t", "a\0b", b"a\x00"])
def test_what_is_no_path_is_refused(given):
    with pytest.raises(UserError, match=r"--out .*(expected the path of a file|is no name of a file)"):
        paths.given(given, "--out")


def test_a_path_may_begin_at_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.given("~/a b", "x") == tmp_path / "a b" and paths.given(b"c", "x").name == "c"
    assert str(paths.given("~nobody-of-this-name/a", "x")) == "~nobody-of-this-name/a"  # Path.expanduser would raise


def test_a_place_is_looked_at_before_long_work(tmp_path):
    (tmp_path / "file").write_text("x")
    paths.check_place(tmp_path / "new" / "deep", "--out")
    paths.check_place(tmp_path / "file", "--out")
    for below in ("file/out", "file/a/b"):
        with pytest.raises(UserError, match=r"--out .*: .*file is no folder: choose another place"):
            paths.check_place(tmp_path / below, "--out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]  # looking makes nothing


def test_containers_with_one_name_leave_each_others_files_alone(tmp_path, monkeypatch):
    """Each numbers its processes for itself: a process of another one looks as if it were dead."""
    before = paths.partial_prefix(tmp_path)
    left = tmp_path / f"{before.replace(str(os.getpid()), '9' * 9)}x"
    left.touch()
    (tmp_path / "pid").touch()
    monkeypatch.setattr(paths, "NUMBERS", str(tmp_path / "pid"))
    assert paths.partial_prefix(tmp_path) != before and left.exists()
    monkeypatch.undo()
    paths.remove_left(tmp_path)
    assert not left.exists()
