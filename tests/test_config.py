"""Profiles and the command line: a mistake is one line that names the key, the value and what is valid, exit 2."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import yaml

import mulnb
from mulnb import config, load_data, load_profile, unlearning
from mulnb.__main__ import main
from mulnb.core import paths
from mulnb.core.errors import UserError

MISTAKES = {
    "pool.modls=3": ["pool.modls", "3", "did you mean 'models'", "share"],
    "pool.share=1.5": ["pool.share", "1.5", "less than 1"],
    "pool.share=0": ["pool.share", "0", "greater than 0"],
    "training.epochs=ten": ["training.epochs", "ten", "integer"],
    "training.schedule=linear": ["training.schedule", "linear", "cosine"],
    "dataset.name=mnist": ["dataset.name", "mnist", "digits"],
    "forget.size=0": ["forget.size", "0", "greater than or equal to 1"],
    "forget.size=500": ["forget.size = 500", "1500 of 1295", "at most 431"],
    "sequential.steps=40": ["sequential.steps = 40", "at most 10"],
    "seeds=[1, 1]": ["seeds", "distinct"],
    "seeds=[1000]": ["tune.seeds", "1000"],
    "seeds=[]": ["seeds", "at least 1"],
    "seeds=3": ["seeds = 3: should be a list"],
    "unlearning.scores=[memory]": ["unlearning.scores.0", "memory", "memorization"],
    "unlearning.algorithms.fine_tune.rum_g={}": ["rum_g", "rum_f"],
    "unlearning.algorithms.forgetful={vanilla: {}}": ["unknown unlearning algorithm 'forgetful'", "salun"],
    "unlearning.algorithms.fine_tune.rum_f.alpha=1": ["'fine_tune' has no setting 'alpha'", "lr"],
    "unlearning.algorithms.salun={rum_f: {}}": ["salun has no 'vanilla'"],
    "sequential.algorithm=scrub": ["sequential.algorithm 'scrub'", "fine_tune"],
    "unlearning.algorithms.neg_grad_plus={vanilla: {}}": ["sequential.strategies ['rum_f']", "neg_grad_plus (vanilla)"],
    "extra=1": ["unknown key 'extra'", "valid keys here"],
    "name.sub=1": ["name.sub", "is a value"],
    "nonsense": ["--set nonsense", "key.sub=value"],
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_clear_line(override, capsys):
    assert main(["run", "--profile", "digits", "--set", override]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    for words in MISTAKES[override]:
        assert words in printed.err, printed.err


def test_the_mistake_in_the_readme_is_told_like_this(capsys):
    readme = (paths.CHECKOUT / "README.md").read_text()
    command, answer = re.search(r"^\$ mulnb (.+)\n(mulnb: .+\n)", readme, re.MULTILINE).groups()
    assert main(command.split()) == 2
    assert capsys.readouterr().err == answer


def test_unknown_profile_names_the_known_and_the_nearest(capsys):
    assert main(["show", "digts"]) == 2
    error = capsys.readouterr().err
    assert "unknown profile 'digts'" in error and "did you mean 'digits'" in error and "smoke" in error
    assert main(["show", "banana"]) == 2
    error = capsys.readouterr().err
    assert "did you mean" not in error and "known are cifar10" in error  # a near name is offered only if it is near
    assert main(["show", "nowhere.yaml"]) == 2
    assert "nowhere.yaml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["- a\n- b", "a: [", "\xff\xfe"])
def test_a_file_that_is_no_profile(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_profile(path)


@pytest.mark.parametrize("name", config.known_profiles())
def test_shipped_profiles_are_whole(name, tmp_path):
    profile = load_profile(name)
    assert profile.name == name
    for algorithm, strategies in profile.unlearning.algorithms.items():
        for settings in strategies.values():
            for stage in settings if isinstance(settings, tuple) else [settings]:
                unlearning.check(algorithm, stage)
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    assert load_profile(path) == profile
    with pytest.raises(ValueError, match="frozen"):
        profile.name = "other"


def test_overrides_change_what_they_name_and_nothing_else():
    plain, changed = load_profile("digits"), load_profile("digits", {"pool.models": 50, "training.lr": "1e-2"})
    assert changed.pool.models == 50 and changed.training.lr == 0.01
    assert changed.model_copy(update={"pool": plain.pool, "training": plain.training}) == plain
    assert config.parse_override("seeds=[3, 4]") == ("seeds", [3, 4])


def test_digits_is_what_the_issue_asks_for():
    profile = load_profile("digits")
    # 10 seeds: METHOD asks for at least as many on `digits`
    assert (profile.pool.models, profile.forget.size, len(profile.seeds)) == (100, 40, 10)
    splits = load_data(profile)
    assert len(splits.train) + len(splits.holdout) + len(splits.test) == 1797
    assert splits.flipped.mean() == pytest.approx(0.1, abs=0.001)
    for algorithm in profile.unlearning.algorithms.values():
        assert set(algorithm) == {"vanilla", "repeat", "shuffle", "rum_f"}


@pytest.mark.slow
def test_show_says_what_will_be_done(capsys):
    assert main(["show", "smoke", "--set", "pool.models=24"]) == 0
    printed = capsys.readouterr().out
    # 4 scores × 2 seeds and, of each of 5 steps, the union of 2 strategies' chains; 2 oracles of each forget set,
    # of the chains only the first strategy has the second one: 2·8 + 3·10
    assert yaml.safe_load(printed)["pool"]["models"] == 24
    assert main(["show", "--profile", "smoke", "--set", "title=8×8"]) == 0 and "title: 8×8" in capsys.readouterr().out
    assert "24 pool models" in printed and "46 oracles" in printed and "about" in printed


def test_profiles_are_listed(capsys):
    assert main(["profiles"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in config.known_profiles())


def test_help_and_a_wrong_option(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0

    for argv, message in (
        (["run", "--stage", "dance"], "invalid choice: 'dance'"),
        ([], "COMMAND"),
        (["run", "--stag=all"], "--stag=all; `mulnb run --help`"),
        (["claims", "smoke", "digits"], "digits; `mulnb claims --help`"),
        (["claims", "--fast", "more"], "unrecognized arguments: --fast; `mulnb claims --help`"),
        (["--fast", "run"], "`mulnb --help`"),
        (["extra"], "invalid choice: 'extra'"),
    ):
        assert main(argv) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("mulnb: ") and message in line


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"mulnb {mulnb.__version__}\n"


def test_workers_must_be_a_number(capsys):
    for given in ("0", "two", "-1"):
        assert main(["run", "--profile", "smoke", f"--workers={given}"]) == 2
        assert f"workers = '{given}'" in capsys.readouterr().err


@pytest.mark.slow
def test_reading_a_profile_does_not_load_torch():
    """A warm run of the notebooks must not wait for it."""
    code = "import sys, mulnb.study, mulnb.figures, mulnb.results.publish; "
    code += "mulnb.load_profile('digits'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_claims_without_results_say_which_command_makes_them(home, capsys):
    assert main(["claims", "--profile", "smoke", "--set", "seeds=[1, 2]"]) == 2
    assert capsys.readouterr().err == (
        "mulnb: profile smoke has no results yet: compute them with mulnb run --profile smoke --set 'seeds=[1, 2]'\n"
    )
    assert not home.exists()


@pytest.mark.slow
def test_claims_end_with_the_file_that_has_every_estimate(home, capsys):
    shutil.copytree(paths.CHECKOUT / "figures" / "digits" / "data", home / "figures" / "digits" / "data")
    assert main(["claims", "digits"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"every estimate: {home / 'figures' / 'digits' / 'claims.md'}"
    assert "### Every case" in (home / "figures" / "digits" / "claims.md").read_text()


def test_what_was_never_computed_is_not_packed(home, capsys):
    assert main(["pack", str(home / "packs"), "--profile", "smoke"]) == 2
    assert "no results that can be packed" in capsys.readouterr().err and not (home / "packs").exists()


@pytest.mark.slow
def test_show_points_to_a_gpu_and_to_the_reduced_profile_where_a_processor_takes_days(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["show", "cifar10"]) == 0
    *_, gpu, reduced = capsys.readouterr().out.splitlines()
    assert "no GPU" in gpu and reduced.endswith("mulnb run --profile cifar10-small")

    assert main(["show", "smoke"]) == 0
    assert "reduced profile" not in capsys.readouterr().out


def test_the_options_of_every_command_are_listed_without_torch():
    code = "import sys\nfrom mulnb.__main__ import main\nfor name in ('run', 'show', 'claims', 'forget', 'bench'):\n"
    code += "    try:\n        main([name, '--help'])\n    except SystemExit as stop:\n        assert stop.code == 0\n"
    code += "print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()[-1] == "False"


def test_forget_reports_mistakes_as_every_command_does(capsys):
    assert main(["forget", "--model", "net.safetensors"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--factory" in line and "mulnb forget --help" in line
