"""How a command ends: one line on stderr, and an exit code that says of which kind the end was."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulnb.core import commands
from mulnb.core.errors import NotebookFailed, UserError


def ends_with(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "code", "line"),
    [
        (lambda: None, 0, ""),
        (lambda: 1, 1, ""),  # a command that reports its own verdict, as `mulnb forget`
        (ends_with(UserError("forget.size = 0: too few")), 2, "mulnb: forget.size = 0: too few\n"),
        (ends_with(NotebookFailed("01_x, cell 3: no")), 1, "mulnb: 01_x, cell 3: no\n"),
        (ends_with(KeyboardInterrupt()), 130, f"mulnb: {commands.INTERRUPTION}\n"),
    ],
)
def test_the_exit_code_says_how_it_ended(command, code, line, capsys):
    assert commands.exit_code(command) == code
    assert capsys.readouterr().err == line


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        commands.exit_code(ends_with(ZeroDivisionError()))


@pytest.mark.parametrize("words", [["--profil", "digits"], ["--workers"], ["digits"]])
def test_a_wrong_option_is_a_mistake_of_the_user_and_not_guessed(words):
    parser = commands.Parser(prog="mulnb")
    commands.add_profile(parser)
    commands.add_workers(parser)
    with pytest.raises(UserError, match="`mulnb --help` lists what is valid"):
        parser.parse_args(words)


def test_workers_and_backend_are_set_for_this_process_and_its_kernels(monkeypatch):
    monkeypatch.setenv("MULNB_BACKEND", "serial")
    commands.use_workers("3")
    assert commands.os.environ["MULNB_WORKERS"] == "3" and commands.os.environ["MULNB_BACKEND"] == "serial"
    with pytest.raises(UserError, match="'dask' is unknown"):
        commands.use_workers(None, "dask")


@pytest.mark.parametrize(
    ("words", "profile"),
    [([], "digits"), (["--profile", "smoke"], "smoke"), (["smoke"], "smoke"), (["--set", "a=1", "smoke"], "smoke")],
)
def test_a_profile_may_be_named_with_and_without_the_option(words, profile):
    parser = commands.Parser()
    commands.add_profile(parser, by_place=True)
    assert parser.parse_args(words).profile == profile
    assert parser.parse_args([*words, "--set", "b=2", "--set", "c=3"]).set[-2:] == ["b=2", "c=3"]


def test_a_profile_is_named_once():
    parser = commands.Parser()
    commands.add_profile(parser, by_place=True)
    with pytest.raises(UserError, match="not allowed with argument"):
        parser.parse_args(["digits", "--profile", "smoke"])


def refused_by_the_system():
    Path("/nowhere/at/all").read_bytes()


def test_what_the_system_refuses_is_one_line_and_names_the_place(capsys):
    assert commands.exit_code(refused_by_the_system) == 2
    assert capsys.readouterr().err.startswith("mulnb: /nowhere/at/all: No such file or directory: ")
    assert commands.exit_code(ends_with(MemoryError())) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("count", ["", "0", "²", "２", "1.5", "-1", " 2", "9" * 30, "1_0", "0x2"])
def test_workers_are_a_plain_number(monkeypatch, count):
    monkeypatch.setenv("MULNB_WORKERS", "1")
    with pytest.raises(UserError, match="should be a whole number of at least 1"):
        commands.use_workers(count)


def test_an_empty_address_is_no_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="expected HOST:PORT"):
        commands.use_workers(None, None, " ")


@pytest.mark.parametrize("words", [[""], [" "], ["a\0b"], [__file__]])
def test_an_option_that_names_a_folder_takes_no_file_and_no_empty_word(words):
    parser = commands.Parser(prog="mulnb")
    parser.add_argument("folder", type=commands.folder)
    with pytest.raises(UserError, match=r"no folder|no name of a folder"):
        parser.parse_args(words)
