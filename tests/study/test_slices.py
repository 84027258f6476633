"""A profile in slices: the most valuable work first, the tables of one run at the end, and what travels between machines."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from attempts import stored, tables
from PIL import Image

from mulnb import load_profile
from mulnb.__main__ import main
from mulnb.core import packs, paths, store
from mulnb.core.errors import UserError
from mulnb.results import publish
from mulnb.study import Study, cost, packing, recipes, runs, slices
from mulnb.study.cost import Prices

STAGES = ("memorization", "proxies", "unlearning", "sequential")
STEP = {"alpha": 0.95, "lr": 0.01, "epochs": 1, "batch": 128}
TINY = {
    "training.epochs": 1,
    "seeds": [0],
    "unlearning.scores": ["memorization", "confidence"],
    "unlearning.algorithms": {
        "fine_tune": {"vanilla": {"lr": 0.03, "epochs": 1, "batch": 128}},
        "neg_grad_plus": {"vanilla": STEP, "rum_f": STEP},
    },
    "sequential.steps": 2,
}
FREE = dict(pool_model=0.0, original=0.0, holdout=0.0, oracle=0.0, floor=0.0)


class Clock:
    """A clock that goes on by 1 000 s whenever it is looked at: real times are nothing beside it."""

    def __init__(self) -> None:
        self.looks = itertools.count()

    def __call__(self) -> float:
        return 1000.0 * next(self.looks)


def tiny() -> Study:
    return Study.of(load_profile("smoke", TINY))


def prices(study: Study, **seconds: float) -> Prices:
    """Work that costs nothing but what is named."""
    ways = {(algorithm, strategy): 0.0 for algorithm, strategy, _ in runs.ways(study.profile)}
    return Prices(**(FREE | seconds), runs=ways, steps={"vanilla": 0.0, "rum_f": 0.0})


def one_slice(study: Study, batches: int = 4) -> slices.Slice:
    """A slice with time for so many batches: two looks at the clock each."""
    return slices.run(study, 2000.0 * batches, Clock(), prices=prices(study))


def results(home: Path) -> dict[str, int]:
    """When each result was written; the images are no result."""
    return {name: when for name, when in stored(home).items() if "/images/" not in name}


def publish_all(study: Study) -> dict[str, pd.DataFrame]:
    for stage in STAGES:
        publish.publish(study.profile, stage)
    return tables(paths.home())


def assert_same(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    assert list(found) == list(expected) and len(expected) >= 8
    for name, frame in expected.items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True, obj=name)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Iterator[pytest.MonkeyPatch]:
    """Lets fixtures of the module choose their home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULNB_WORKERS", "1")
        patch.setenv("MULNB_PROGRESS", "")
        yield patch


@pytest.fixture(scope="module")
def sliced(here, tmp_path_factory) -> tuple[Path, list[slices.Slice]]:
    """A home that was filled in slices, packed after the third, and what each slice said."""
    home = tmp_path_factory.mktemp("sliced")
    here.setenv("MULNB_HOME", str(home))
    outcomes = [one_slice(tiny()) for _ in range(3)]
    packing.pack(tiny(), home / "packs 3")
    while outcomes[-1].next:
        outcomes.append(one_slice(tiny()))
        assert len(outcomes) < 30
    return home, outcomes


@pytest.fixture(scope="module")
def whole(here, tmp_path_factory) -> tuple[Path, dict[str, pd.DataFrame]]:
    """A home whose tables were made in one go."""
    home = tmp_path_factory.mktemp("whole")
    here.setenv("MULNB_HOME", str(home))
    return home, publish_all(tiny())


# ---- durations and the order


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("9m", 540), ("1h30m", 5400), ("2h", 7200), ("1m5s", 65)])
def test_a_duration_is_read(text, seconds):
    assert slices.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "9", "0m", "-9m", "9 m", "m", "9m1h", "1.5h", "9min", "9M", "١m", "9" * 30 + "s"])
def test_anything_else_is_one_line(text, capsys):
    assert main(["run", "--profile", "smoke", f"--slice={text}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "such as 90s, 9m or 1h30m" in said


def test_a_slice_takes_no_stage_and_publishes_nothing(capsys):
    for words in (["--stage", "proxies"], ["--publish"]):
        assert main(["run", "--profile", "smoke", "--slice", "9m", *words]) == 2
        assert capsys.readouterr().err == (
            "mulnb: --slice works through all stages and writes no tables: leave out --stage and --publish\n"
        )


def test_the_most_valuable_work_comes_first():
    profile = load_profile("cifar10")
    works = slices.plan(Study.of(profile))
    names = [work.name for work in works]
    first = ["original models", "hold-out retraining", "pool in blocks of 20", "oracles", "NegGrad+", "Fine-tune"]
    assert names[: len(first)] == first and len(set(names)) == len(names)

    counts = cost.counts(profile)
    in_all = counts["original models"] * 2 + counts["pool trainings"] // 20 + sum(list(counts.values())[2:])
    floors = 3 * 4 + 3 * 5  # of the forget sets, and of the steps of one chain for each seed
    assert sum(work.count for work in works) == in_all + floors


# ---- slices


@pytest.mark.slow
def test_slices_go_through_the_work_in_order_and_end_with_the_tables_of_one_run(sliced, whole, monkeypatch):
    home, outcomes = sliced
    names = [work.name for work in slices.plan(tiny())]
    done = [name for outcome in outcomes for name in outcome.done]
    assert list(dict.fromkeys(done)) == names  # nothing before its turn
    assert all(sum(outcome.done.values()) >= 1 for outcome in outcomes) and len(outcomes) >= 4
    assert [outcome.next for outcome in outcomes[:-1]] == [next(iter(outcome.done)) for outcome in outcomes[1:]]
    assert all(outcome.left >= 1 and outcome.remains_s >= 0 for outcome in outcomes[:-1])

    # the plan has everything that the tables need
    monkeypatch.setenv("MULNB_HOME", str(home))
    before = stored(home)
    assert_same(publish_all(tiny()), whole[1])
    assert stored(home) == before and {*before} == {*stored(whole[0])}
    again = one_slice(tiny())
    assert not again.next and str(again) == "slice: done nothing; no work is left"


def test_a_slice_that_is_too_short_for_anything_says_so(home):
    study = tiny()
    with pytest.raises(
        UserError,
        match="10 s are too short for anything: to begin took 0 s, and next is original models, which takes about 15 min: ",
    ):
        slices.run(study, 10, lambda: 0.0, prices=prices(study, original=900.0))
    assert results(home) == {}


def test_what_does_not_fit_into_the_rest_is_not_begun(home):
    study = tiny()
    outcome = slices.run(study, 3600, lambda: 0.0, prices=prices(study, pool_model=400.0))
    assert outcome.done == {"original models": 1, "hold-out retraining": 1}
    assert (outcome.next, outcome.left, outcome.needs_s) == ("pool in blocks of 10", 4, 4000.0)
    assert "next pool in blocks of 10 (4 left, 67 min to the next result); about 4.4 h of work remain" in str(outcome)


def test_a_measured_time_counts_more_than_the_probe_and_tells_how_right_the_probe_is():
    study = tiny()
    originals, holdout, pool = slices.plan(study)[:3]
    meter = slices.Meter(prices(study, original=10.0, holdout=2.0, pool_model=1.0))
    assert meter.expected(originals) == 10.0
    meter.stored(holdout, [4.0, 6.0])  # in an earlier slice
    assert meter.expected(holdout) == 5.0
    meter.measured(originals, 2, 60.0)  # three times what the probe had said
    assert meter.expected(originals) == 30.0 and meter.expected(pool) == 30.0


@pytest.mark.slow
def test_the_command_line_works_packs_and_says_that_all_is_done(home, capsys):
    words = ["--profile", "smoke", *(word for key, value in TINY.items() for word in ("--set", f"{key}={json.dumps(value)}"))]
    assert main(["run", *words, "--slice", "12h", "--pack", str(home / "packs")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2].startswith(
        "slice: done original models (1), hold-out retraining (1), pool in blocks of 10 (4), oracles (2), "
    )
    assert "no work is left: mulnb run --profile smoke --set " in said[-2] and said[-2].endswith(" writes the tables")
    assert said[-1].startswith(f"packed into {home / 'packs'}: 2 new files, ")
    assert main(["pack", str(home / "packs"), *words]) == 0
    assert capsys.readouterr().out == f"packed into {home / 'packs'}: nothing new\n"


# ---- packs


@pytest.mark.slow
def test_from_packs_alone_an_empty_store_gives_the_same_tables_without_training(sliced, whole, monkeypatch, tmp_path, home):
    monkeypatch.setenv("MULNB_HOME", str(sliced[0]))
    files = packing.pack(tiny(), tmp_path / "packs", limit=40_000)
    assert len(files) > 3 and all(file.stat().st_size <= 40_000 for file in files)
    assert packing.pack(tiny(), tmp_path / "packs", limit=40_000) == []  # all is packed

    monkeypatch.setenv("MULNB_HOME", str(home))
    assert main(["unpack", str(tmp_path / "packs")]) == 0
    before = results(home)
    assert {*before} == {*results(sliced[0])}
    assert_same(publish_all(tiny()), whole[1])
    assert results(home) == before
    held = [store.read(home / name.rpartition("/")[0])[1] for name in before]
    assert not [name for arrays in held for name in arrays if name.startswith("weights/")]


@pytest.mark.slow
def test_slices_go_on_from_packs_on_another_machine(sliced, whole, monkeypatch, home):
    monkeypatch.setenv("MULNB_HOME", str(home))
    for file in packs.files(sliced[0] / "packs 3"):
        if ".margins." not in file.name:  # only audits read them
            packs.unpack(file)
    began = stored(home)
    assert began

    outcome = one_slice(tiny(), batches=1000)
    assert not outcome.next and outcome.done["original models"] == 1  # trained again: runs begin with its weights
    assert "hold-out retraining" not in outcome.done
    changed = {name for name, when in began.items() if stored(home)[name] != when}
    original = recipes.original_job(tiny(), 0)
    assert changed == {f"artifacts/original/{original.key}/manifest.json"}

    # the same processor trains the same weights: it is the very artefact that was packed, with its seal
    manifest = f"artifacts/original/{original.key}/manifest.json"
    assert (home / manifest).read_text() == (sliced[0] / manifest).read_text()

    with pytest.raises(UserError, match=r"was unpacked without margin, margin_test: unpack the packs \*\.margins\.\* too"):
        publish_all(tiny())
    for file in packs.files(sliced[0] / "packs 3"):
        packs.unpack(file)
    assert_same(publish_all(tiny()), whole[1])


@pytest.mark.slow
def test_a_network_that_comes_out_differently_leaves_the_scores_as_they_were(home, monkeypatch):
    study = tiny()
    job = recipes.original_job(study, 0)
    study.get(job)
    target = store.folder(job.kind, job.parts)
    manifest, arrays = store.read(target)
    scores = {name: array for name, array in arrays.items() if not name.startswith("weights/")}
    scores["correct"] = ~scores["correct"]  # as another machine had found it
    store.keep(target, manifest, scores, arrays, instead=True)

    with pytest.warns(UserWarning, match=r"trained again for its weights.*both are right or wrong on the same 0\.0 %"):
        study.get(recipes.holdout_job(study, 0))
    found = store.get(job.kind, job.parts)
    assert not found.left_out and (found.arrays["correct"] == scores["correct"]).all()
    assert {name for name in found.arrays if name.startswith("weights/")}
    assert store.read(target)[0]["made_again"] is True


def test_only_who_needs_a_network_waits_for_its_weights(home):
    study = tiny()
    chosen = np.arange(6)
    [need] = recipes.oracle_job(study, chosen, [chosen], 0).needs
    assert not need.weights  # relearn time asks what the original model got right
    assert recipes.holdout_job(study, 0).needs[0].weights


# ---- on the command line of another machine, and with the paper's network


@pytest.mark.slow
def test_the_script_for_a_lent_machine_takes_up_packs_works_and_packs_what_is_new(sliced, home, tmp_path):
    earlier, new = sliced[0] / "packs 3", tmp_path / "new"
    words = [word for key, value in TINY.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    environment = os.environ | {"PYTHON": sys.executable, "SLICE": "12h", "LIMIT": "43200", "MULNB_HOME": str(home)}
    script = paths.CHECKOUT / "benchmarks" / "slices.sh"
    done = subprocess.run([script, "smoke", earlier, new, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "unpacked from " in done.stdout and "no work is left" in done.stdout
    assert not packs.known(new) & packs.known(earlier) and packs.files(new)

    # the two folders together are the whole study
    places = {place for folder in (earlier, new) for _, place in packs.known(folder)}
    assert places == {str(Path(name).parent.relative_to("artifacts")) for name in results(home)}


def pictures(root: Path) -> None:
    """A small tree of files in place of CIFAR-10."""
    rng = np.random.default_rng(0)
    for part, label, number in itertools.product(("train", "test"), range(4), range(8)):
        place = root / part / f"class {label}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 80, (32, 32, 3)) + 35 * label
        Image.fromarray(pixels.astype(np.uint8)).save(place)


@pytest.mark.slow
def test_a_dry_run_of_a_paper_profile_in_slices_and_from_its_packs(tmp_path, home, monkeypatch):
    pictures(tmp_path / "images")
    algorithms = {"neg_grad_plus": {"vanilla": {"alpha": 0.97, "lr": 0.01, "epochs": 1, "batch": 8}}}
    changes = {
        "limit.steps": 2,
        "dataset.root": str(tmp_path / "images"),
        "seeds": [0],
        "unlearning.scores": ["memorization"],
        "unlearning.algorithms": algorithms,
        "unlearning.rum": None,
        "sequential.strategies": ["vanilla"],
    }
    study = Study.of(load_profile("cifar10", changes))
    assert study.profile.model == load_profile("cifar10").model  # the network is the paper's

    outcomes = [slices.run(study, 10_000.0, Clock(), prices=prices(study))]
    assert outcomes[0].done == {"original models": 1, "hold-out retraining": 1, "pool in blocks of 4": 3}
    assert outcomes[0].next == "pool in blocks of 4" and outcomes[0].left == 1
    while outcomes[-1].next:
        outcomes.append(slices.run(study, 20_000.0, Clock(), prices=prices(study)))
    assert list(outcomes[1].done)[:4] == ["pool in blocks of 4", "oracles", "NegGrad+", "floor: original models"]

    folder = home / "packs"
    assert {file.name.split(".")[1] for file in packing.pack(study, folder)} == {"facts", "margins"}
    weights = store.get("original", recipes.original_job(study, 0).parts).arrays
    assert sum(array.nbytes for name, array in weights.items() if name.startswith("weights/")) > 40e6
    assert sum(file.stat().st_size for file in packs.files(folder)) < 1e6
    before = stored(home)
    expected = frames_of(study)
    assert stored(home) == before  # nothing was trained for them

    monkeypatch.setenv("MULNB_HOME", str(tmp_path / "elsewhere"))
    assert main(["unpack", str(folder)]) == 0
    elsewhere = Study.of(study.profile)
    assert elsewhere is not study
    for name, frame in frames_of(elsewhere).items():
        pd.testing.assert_frame_equal(frame, expected[name], check_exact=True, obj=name)
    kinds = {path.parent.parent.name for path in (tmp_path / "elsewhere").glob("artifacts/*/*/manifest.json")}
    assert kinds == {path.parts[1] for path in map(Path, before)}


def frames_of(study: Study) -> dict[str, pd.DataFrame]:
    """Every frame that figures are drawn from, times included."""
    found: dict[str, pd.DataFrame] = {}
    for stage in STAGES:
        found |= publish.publish(study.profile, stage)
    return found
