"""Bad input: hundreds of odd profiles, overrides, folders, forget sets and scores, and a malicious file of each kind.

Each gives a right result or one line. The cases are the same in every run (`derandomize`).
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import socket
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulnb import forget, load_profile
from mulnb.config import parse_override
from mulnb.config.reading import PROFILES
from mulnb.core.errors import UserError
from mulnb.data import archives, cifar_batches
from mulnb.data.images import AS_PUBLISHED, ImageSet
from mulnb.data.reader import read_folder
from mulnb.data.scores import load_scores

NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.floats(), st.booleans(), st.none(), st.text(max_size=5))
VALUES = st.recursive(
    NUMBERS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
KEYS = st.sampled_from(
    [
        "training",
        "training.lr",
        "training.epochs",
        "training.batch",
        "training.momentum",
        "pool.models",
        "pool.share",
        "pool.training",
        "forget.size",
        "seeds",
        "dataset.size",
        "dataset.classes",
        "proxies.loss_curvature.h",
        "unlearning.scores",
        "unlearning.algorithms",
        "unlearning.rum",
        "audit.relearn",
        "unlearning.algorithms.fine_tune.vanilla.lr",
        "unlearning.algorithms.fine_tune.vanilla.batch",
        "tune.grid",
        "limit.steps",
        "name",
    ]
)


def cases(count):
    """So many cases, the same ones on every machine, however slow it is."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def one_line(call, *arguments, **more):
    """The result, or None after a `UserError` of one line. Anything else fails the test."""
    try:
        return call(*arguments, **more)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
        return None


@pytest.mark.slow
@cases(100)
@given(KEYS, VALUES)
def test_a_profile_with_any_value_is_loaded_or_refused(key, value):
    profile = one_line(load_profile, "smoke", {key: value})
    if profile is not None:
        assert np.isfinite(profile.training.lr) and profile.training.epochs >= 1 and np.isfinite(profile.proxies.loss_curvature.h)


@cases(80)
@given(st.text(max_size=30) | st.text("a.=:[]{}&*!-1e \n", max_size=20))
def test_any_override_is_read_or_refused(text):
    if (found := one_line(parse_override, text)) is not None:
        one_line(load_profile, "smoke", dict([found]))


@cases(50)
@given(st.binary(max_size=80) | st.text("ab:[]{}&*!-1 \n", max_size=40).map(str.encode))
def test_any_profile_file_is_refused(content):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "mine.yaml")
        path.write_bytes(content)
        assert one_line(load_profile, path) is None


@cases(40)
@given(
    st.dictionaries(st.sampled_from(["cat/a.png", "dog/b.jpg", "dog/c.txt", "d.png", "cat/sub/e.gif"]), st.binary(max_size=40))
)
def test_any_folder_is_refused_where_no_file_is_an_image(files):
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            Path(place, name).parent.mkdir(parents=True, exist_ok=True)
            Path(place, name).write_bytes(content)
        assert one_line(read_folder, place) is None


@cases(60)
@given(st.dictionaries(st.sampled_from(["format", "low", "medium", "high", "data", "n", "settings", "hash"]), VALUES) | VALUES)
def test_any_forget_set_that_was_not_saved_here_is_refused(tree):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "set.json")
        path.write_text(json.dumps(tree))
        assert one_line(forget.load, path) is None


@cases(60)
@given(st.lists(NUMBERS, max_size=6), st.sampled_from([".json", ".npy", ".npz", ".csv", ".pkl"]), st.booleans())
def test_any_scores_are_finite_or_refused(values, suffix, raw):
    images = np.zeros((3, 3, 2, 2), np.uint8)
    data = ImageSet(images, np.arange(3), ("a", "b", "c"), "made", np.arange(3), 3, AS_PUBLISHED)

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, f"scores{suffix}")
        if suffix == ".npy" and not raw:
            np.save(path, np.array(values, dtype=object), allow_pickle=True)
        else:
            path.write_text(json.dumps(values) if suffix == ".json" else "score\n" + "\n".join(map(str, values)))

        scores = one_line(load_scores, path, data=data)
        assert scores is None or (scores.shape == (3,) and np.isfinite(scores).all())


# --- a malicious file of each kind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a: &a [x, x]\n"
            + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in itertools.pairwise("abcdefghi")),
            "alias",
        ),
        ("a: &a [*a]", "refers to what holds it"),
        ("name: x\nname: y", "'name' is there twice"),
        ("[" * 5000, "nested"),
        ("a: !!python/object/apply:os.system [true]", "python"),
    ],
)
def test_hostile_yaml_is_one_line(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load_profile(path)
    assert "\n" not in str(error.value)


def test_a_folder_or_a_named_pipe_called_yaml_is_one_line(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("folder.yaml", "pipe.yaml"):
        with pytest.raises(UserError, match=r"\.yaml is not a file"):
            load_profile(tmp_path / name)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cuda:-1", "meta", "CPU"])
def test_an_absent_device_is_one_line(monkeypatch, name):
    monkeypatch.setenv("MULNB_DEVICE", name)
    with pytest.raises(UserError, match=f"MULNB_DEVICE = '{name}'"):
        load_profile("smoke")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_not_read_as_an_image(tmp_path, monkeypatch, kind):
    (tmp_path / "cat").mkdir()
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    if kind == "pipe":
        os.mkfifo("cat/a.png")
    elif kind == "device":
        os.symlink("/dev/zero", "cat/a.png")

    with socket.socket(socket.AF_UNIX) as server:
        if kind == "socket":
            server.bind("cat/a.png")
        with pytest.raises(UserError, match=rf"a\.png: cannot be read: it is not a file but a .*{kind}"):
            read_folder(tmp_path)


@pytest.mark.slow
def test_an_image_file_of_absurd_length_is_not_read(tmp_path):
    (tmp_path / "cat").mkdir()
    with (tmp_path / "cat" / "a.png").open("wb") as file:
        file.truncate(300 * 2**20)  # a sparse file: it takes no room
    with pytest.raises(UserError, match="longer than 256 MB"):
        read_folder(tmp_path)


def packed(place, declared=None):
    """A zip with one image, whose directory declares another size."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/cat/a.png", bytes(2**20))
    content = bytearray(place.read_bytes())

    if declared is not None:
        start = content.index(b"PK\x01\x02")  # the central directory, which zipfile believes
        content[start + 24 : start + 28] = struct.pack("<I", declared)
        place.write_bytes(content)
    return place


def test_a_zip_that_declares_3_gb_is_refused_before_it_is_unpacked(tmp_path, home):
    with pytest.raises(UserError, match=r"a\.png has 3072 MB unpacked"):
        archives.unpacked(packed(tmp_path / "bomb.zip", 3 * 2**30))
    assert not list(home.rglob("*.png"))


def test_a_zip_with_more_in_it_than_it_declares_is_refused(tmp_path, home):
    with pytest.raises(UserError, match="the zip is damaged"):
        archives.unpacked(packed(tmp_path / "liar.zip", 100))
    assert not list(home.rglob("*.png"))


def test_a_zip_keeps_its_files_inside_the_folder(tmp_path, home):
    with zipfile.ZipFile(tmp_path / "up.zip", "w") as archive:
        archive.writestr("../../../escaped.png", b"x")
    archives.unpacked(tmp_path / "up.zip")
    assert [path.parent.parent.name for path in tmp_path.rglob("escaped.png")] == ["unpacked"]


class Harmful:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_pickle_that_runs_a_program_is_not_loaded(tmp_path):
    with pytest.raises(pickle.UnpicklingError, match="system, which no CIFAR file needs"):
        cifar_batches.loads(pickle.dumps({"data": Harmful()}))
    batch = {"data": np.arange(6, dtype=np.uint8), "labels": [1, 2]}
    assert cifar_batches.loads(pickle.dumps(batch, protocol=2))["labels"] == [1, 2]


# --- what a user types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.lr=true", "training.lr = True: should not be true or false"),
        ("seeds=[yes]", r"seeds = \[True\]: should not be true or false"),
        ("training.epochs=1:30", "1:30 would be read as minutes and seconds"),
        ("training.epochs=99999999999999999999", "should be less than 2147483648"),
        ("training.milestones=[-1]", "greater than or equal to 1"),
        ("seeds=[]", "seeds = .*: should have at least 1 item"),
        ("seeds=[3, 3]", "3 is there twice"),
        ("unlearning.scores=[]", "should have at least 1 item"),
        ("unlearning.scores=[entropy, entropy]", "'entropy' is there twice"),
        ("sequential.strategies=[]", "should have at least 1 item"),
        ("tune.seeds=[]", "should have at least 1 item"),
        ("tune.grid.fine_tune.lr=[]", "should have at least 1 item"),
        ("tune.grid.fine_tune.lr=[0.1, -1]", r"tune\.grid\.fine_tune\.lr = -1(\.0)?: should be positive"),
        ("tune.grid={fine_tune: {}}", "no settings to try"),
        ("tune.extend={lrr: {factor: 2, high: 1}}", "tune.extend.lrr: no such axis"),
        ("tune.extend={lr: {factor: 2, low: 5, high: 1}}", "low = 5 is above high = 1"),
        ("forget.file=''", "should have at least 1 character"),
        ("pool.scores={file: ''}", "should have at least 1 character"),
        (f"name={'x' * 101}", "at most 100 letters"),
        ("training.lr=[", r"not valid YAML \(line 1: "),
        (f"training.lr={'[' * 3000}", "nested too deeply"),
        (f"{'a' * 3000}=1", "unknown key"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_short_line(text, words):
    with pytest.raises(UserError, match=words) as error:
        load_profile("smoke", dict([parse_override(text)]))
    assert "\n" not in str(error.value) and len(str(error.value)) < 1600


@pytest.mark.parametrize(
    ("name", "overrides"), [(None, None), (5, None), ({"name": "x"}, None), ("smoke", "a=b"), ("smoke", ["a"]), ("smoke", {5: 1})]
)
def test_arguments_of_other_kinds_are_refused(name, overrides):
    assert one_line(load_profile, name, overrides) is None


@pytest.mark.parametrize("name", ["a\nb", "a\n/b.yaml", "nul\0.yaml", "\x1b[31mred", "\udcff.yml", "x" * 5000])
def test_a_name_with_odd_signs_is_shown_on_one_line(name):
    with pytest.raises(UserError) as error:
        load_profile(name)
    assert str(error.value).isprintable() and len(str(error.value)) < 1600


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: a".encode("utf-16"), "save it as that"),
        ("name: Prüfung".encode("latin-1"), "not text in UTF-8"),
        (b"name:\tx\n\ty: 1", "use spaces instead of tabs"),
        (b"name: a\n---\nname: b", "line 2: "),
        (b"name: [a", "line 1: expected"),
    ],
)
def test_a_profile_file_says_in_which_line_it_is_wrong(tmp_path, content, words):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        load_profile(tmp_path / "mine.yaml")
    assert "unicode string" not in str(error.value)


def test_a_home_folder_is_meant_by_its_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_bytes((PROFILES / "smoke.yaml").read_bytes())
    assert load_profile("~/mine.yaml").name == "smoke"
