"""`mulnb forget` with anything that a hurried hand may type: exit 2 and one line, before any work, or the right examples."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from small import HOLDOUT, IMAGES, LABELS, TEST, Convolutional, memorizing

from mulnb.__main__ import main
from mulnb.core import folders
from mulnb.core.errors import UserError
from mulnb.core.stopping import Stopped
from mulnb.data.request import indices
from mulnb.your_model import adapt, api, forgetting, page
from mulnb.your_model.ledger import Requests

N = len(LABELS)
NETS = """
import numpy as np
from small import HOLDOUT, IMAGES, LABELS, Convolutional

class Normalised(Convolutional):
    # expects (x - 0.5) / 0.25, and notes where it is moved
    places = []
    def forward(self, x): return super().forward(0.25 * x + 0.5)
    def to(self, place): self.places.append(place); return super().to(place)

NUMBER = 5
def needs(width): return Convolutional()
def returns_text(): return "a network"
def fails(): raise KeyError("no such layer")
def nothing(): return None
def ends(): raise SystemExit(1)
def number(): return 5
def without_labels(): return IMAGES
def shifted(): return (HOLDOUT[0].astype(np.float32), HOLDOUT[1])
def colour(): return (np.repeat(HOLDOUT[0], 3, axis=1), HOLDOUT[1])
"""
GIVEN = {
    "model": "model.safetensors",
    "factory": "hostile_nets:Convolutional",
    "data": "train.npz",
    "holdout": "unseen.npz",
    "request": "request.csv",
    "out": "out",
    "trials": "1",
    "budget": "1",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with everything that the command needs."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds the current folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "hostile_nets.py").write_text(NETS)
    api.save_weights(memorizing(), tmp_path / "model.safetensors")
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    np.savez(tmp_path / "unseen.npz", images=HOLDOUT[0], labels=HOLDOUT[1])
    (tmp_path / "request.csv").write_text("index\n1\n4\n")
    return tmp_path


def refused(capsys, *more, **changes):
    """The one line with which the command ends."""
    words = [word for name, value in (GIVEN | changes).items() for word in (f"--{name}", value)]
    assert main(["forget", *words, *more]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and printed.err.startswith("mulnb: ") and "Traceback" not in printed.err, printed.err
    return printed.err


# --- what is to be forgotten ---------------------------------------------------------------------------------------------

TEXTS = {
    "empty.csv": ("", "is empty: expected one example a line"),
    "blank.txt": (" \n\n\t\n", "is empty: expected one example a line"),
    "comment.txt": ("# by mail\n", "is empty: expected one example a line"),
    "request.xlsx": ("1", "is of an unknown kind: expected .csv, .txt, .json, .jsonl, .parquet or .npy"),
    "request": ("1", "is of an unknown kind"),
    "range.csv": ("index\n5\n160\n", "index 160 of 0 … 159"),
    "negative.csv": ("-1\n", "index -1 of 0 … 159"),
    "long.csv": ("99999999999999999999\n1\n", "index 99999999999999999999 of 0 … 159"),
    "longer.csv": ("9" * 5000, "has file names ('999"),
    "twice.csv": ("5\n7\n5\n", "names an example twice: 5"),
    "twice.txt": ("5 7, 5.0", "names an example twice: 5"),
    "names.csv": ("file\na.png\n", "has file names ('a.png', …), and the images have none: give indices"),
    "fraction.csv": ("index\n1.5\n", "has file names ('1.5', …)"),
    "columns.csv": ("a,b\n1,2\n3,4\n", "has columns a, b: call the one to be read 'index' or 'file'"),
    "short.csv": ("why,index\nspam,3\nspam\n", "line 3 has too few columns"),
    "list.json": ("[[1, 2]]", "int64 [1, 2]: expected example indices"),
    "ragged.json": ("[[1], [2, 3]]", "is no list of examples"),
    "other.json": ('{"a": {"b": [1]}}', "has a: expected {'class': number or name}"),
    "null.json": ("null", "expected a JSON list of indices or file names"),
    "none.json": ('{"index": null}', "the request is None"),
    "nothing.json": ('{"index": []}', "the request is empty"),
    "half.json": ("[0.5]", "float64 [1]: expected example indices"),
    "nan.json": ("[NaN]", "float64 [1]: expected example indices"),
    "large.json": ("[1e300]", "float64 [1]: expected example indices"),
    "text.json": ('["1", 2', "text.json cannot be read"),
    "word.json": ('{"index": "a.png"}', "has file names ('a.png', …)"),
    "no class.json": ('{"class": []}', "is an empty list of classes: name at least one"),
    "class.json": ('{"class": 9}', "no example is of class 9"),
    "true.json": ('{"class": true}', "class True is neither a number nor a name"),
    "long class.json": ('{"class": 1' + "0" * 400 + "}", "is neither a number nor a name"),
    "cat.json": ('{"class": "cat"}', "class 'cat' is unknown: classes are not known here; give its number"),
    "set.json": ('{"low": [1], "medium": [2], "high": [3]}', "is no forget set"),
    "all.csv": ("\n".join(map(str, range(N))), "nothing would be retained"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_requests_in_text_that_cannot_be_meant(project, capsys, name):
    text, words = TEXTS[name]
    (project / name).write_text(text)
    assert words in refused(capsys, request=name)
    assert not (project / "out").exists()


ARRAYS = {
    "short mask": (np.array([True, False, True]), "is a mask of 3 values for 160 examples"),
    "wide mask": (np.ones((N, 2), dtype=bool), "is a mask of 160×2 values for 160 examples"),
    "no mask": (np.zeros(N, dtype=bool), "is a mask without a True"),
    "objects": (np.array([1, None], dtype=object), "cannot be read: Object arrays cannot be loaded"),
    "fractions": (np.array([1.5, 2.0]), "float64 [2]: expected example indices"),
    "not finite": (np.array([1.0, np.inf]), "float64 [2]: expected example indices"),
    "complex": (np.array([1j]), "complex128 [1]: expected example indices"),
    "table": (np.array([[1, 2], [3, 4]]), "int64 [2, 2]: expected example indices"),
    "dates": (np.array(["2026-01-01"], dtype="datetime64[D]"), "expected example indices"),
    "records": (np.array([(1, 2)], dtype=[("a", int), ("b", int)]), "expected example indices"),
    "nobody": (np.empty(0, dtype=int), "the request is empty"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_requests_in_arrays_that_cannot_be_meant(project, capsys, kind):
    array, words = ARRAYS[kind]
    np.save(project / "request.npy", array)
    assert words in refused(capsys, request="request.npy")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.npy", b"", "cannot be read"),
        ("text.npy", b"1\n2\n", "cannot be read"),
        ("cut.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<i8'", "cannot be read"),
        ("text.npz", b"1\n2\n", "cannot be read"),
        ("cut.npz", b"PK\x03\x04 and no more", "cannot be read"),
        ("latin.csv", b"file\ncaf\xe9.png\n", "cannot be read: it is not in UTF-8: save it as such"),
    ],
)
def test_requests_in_damaged_files(project, capsys, name, content, words):
    (project / name).write_bytes(content)
    assert words in refused(capsys, request=name)


def test_requests_that_are_no_file(project, capsys):
    (project / "folder.csv").mkdir()
    np.savez(project / "none.npz")
    np.savez(project / "two.npz", a=[1], b=[2])
    for name, words in {
        "nowhere.csv": "nowhere.csv does not exist",
        "folder.csv": "folder.csv is a folder: expected a .csv, .txt, .json or .npy file",
        "": "the request '' is no name of a file",
        "~nobody-of-this-name/request.csv": "request.csv does not exist",
        "x" * 5000 + ".csv": "does not exist",
        "none.npz": "none.npz is empty",
        "two.npz": "has a, b: call the array to be read 'index' or 'file'",
    }.items():
        assert words in refused(capsys, request=name), name


# --- everything else -----------------------------------------------------------------------------------------------------

OPTIONS = [
    ({"model": "nowhere.pt"}, "nowhere.pt does not exist"),
    ({"model": "hostile.safetensors"}, "does not exist"),
    ({"model": "folder"}, "folder cannot be read as a state dict"),
    ({"model": "empty.pt"}, "empty.pt cannot be read as a state dict"),
    ({"model": "text.pt"}, "text.pt cannot be read as a state dict"),
    ({"model": "text.safetensors"}, "text.safetensors cannot be read as a state dict"),
    ({"model": "module.pt"}, "module.pt holds more than tensors, a whole module perhaps: save model.state_dict()"),
    ({"model": "other.pt"}, "does not fit the factory's network"),
    ({"model": "nan.pt"}, "of the model is not finite"),
    ({"model": ""}, "the model '' is no name of a file"),
    ({"factory": "hostile_nets:NUMBER"}, "hostile_nets has no function 'NUMBER'"),
    ({"factory": "hostile_nets:"}, "expected MODULE:FUNCTION"),
    ({"factory": "hostile_nets:needs"}, "it failed: TypeError"),
    ({"factory": "hostile_nets:returns_text"}, "it returned a str"),
    ({"factory": "hostile_nets:fails"}, "it failed: KeyError: 'no such layer'"),
    ({"factory": "broken_nets:f"}, "broken_nets cannot be imported: SyntaxError"),
    ({"factory": "raising_nets:f"}, "raising_nets cannot be imported: ZeroDivisionError"),
    ({"factory": ".nets:f"}, "--factory .nets:f: expected the module's name, my_project.models for my_project/models.py"),
    ({"factory": "./nets.py:f"}, "--factory ./nets.py:f: expected the module's name"),
    ({"data": "folder/nets:f"}, "--data folder/nets:f: expected the module's name"),
    ({"factory": "hostile_nets:ends"}, "and it failed: it ends the program (sys.exit(1))"),
    ({"data": "hostile_nets:ends"}, "--data hostile_nets:ends: the function failed: it ends the program (sys.exit(1))"),
    (
        {"factory": "ending_nets:f"},
        "ending_nets cannot be imported: it ends the program (sys.exit(2)): put that under if __name__",
    ),
    ({"data": "hostile_nets:fails"}, "--data hostile_nets:fails: the function failed: KeyError"),
    ({"data": "hostile_nets:nothing"}, "the function returned None"),
    ({"data": "hostile_nets:number"}, "images are int64 []"),
    ({"data": "hostile_nets:without_labels"}, "labels are missing"),
    ({"data": "folder"}, "folder"),
    ({"data": "text.npz"}, "text.npz cannot be read"),
    ({"data": "keys.npz"}, "a dict with a: expected 'images' and 'labels'"),
    ({"data": "short.npz"}, "labels are int64 [3] for 160 images"),
    ({"data": "words.npz"}, "labels are text"),
    ({"data": "nan.npz"}, "image 7 has a pixel that is not finite"),
    ({"data": "objects.npz"}, "objects.npz cannot be read"),
    ({"data": "~nobody-of-this-name"}, "--data ~nobody-of-this-name: expected a folder, an .npz"),
    ({"holdout": "train.npz"}, "the hold-out is not unseen"),
    ({"holdout": "few.npz"}, "holdout has 6 images"),
    ({"holdout": "hostile_nets:shifted"}, "hold-out: values go up to"),
    ({"holdout": "hostile_nets:colour"}, "holdout: the model failed on images that are float32 [8, 3, 6, 6]"),
    ({"test": "nowhere.npz"}, "--test nowhere.npz does not exist"),
    ({"out": "text.pt"}, "--out text.pt exists and is not empty"),
    ({"out": "."}, "--out . exists and is not empty"),
    ({"out": "text.pt/out"}, "--out text.pt/out: text.pt is no folder: choose another place"),
    ({"out": ""}, "--out '' is no name of a file or a folder"),
    ({"mean": "0.1,0.2,0.3", "std": "1"}, "channels"),
    ({"mean": "0.5", "std": "0"}, "every std positive"),
    ({"mean": "nan", "std": "1"}, "the mean must be finite"),
    ({"mean": "0.5", "std": "inf"}, "every std positive and finite"),
    (
        {"mean": "127.5", "std": "64"},
        "the mean is 127.5, and uint8 images are scaled to [0, 1] first: divide mean and std by 255",
    ),
    ({"out": "new", "ledger": "new"}, "the folder new and the ledger new are in each other's way: name another ledger"),
    ({"out": "new", "ledger": "new/model.safetensors"}, "are in each other's way"),
    ({"out": "new/out", "ledger": "new"}, "are in each other's way"),
    ({"mean": "1,,2", "std": "1"}, "--mean 1,,2: expected numbers"),
    ({"scores": "nowhere.npy"}, "nowhere.npy does not exist"),
    ({"scores": "folder"}, "folder is a folder: expected a file of scores"),
    ({"scores": "scores.npz"}, "3 scores for 160 images"),
    ({"ledger": "folder"}, "folder is no file: give the path of a ledger"),
    ({"ledger": "text.pt"}, "line 1: no request; the file is no ledger"),
    ({"ledger": "text.pt/ledger"}, "the ledger text.pt/ledger: text.pt is no folder"),
    ({"budget": "0"}, "budget = 0.0: should be a positive number"),
    ({"budget": "nan"}, "budget = nan: should be a positive number"),
    ({"budget": "inf"}, "budget = inf: should be a positive number"),
    ({"budget": "soon"}, "invalid float value: 'soon'; `mulnb forget --help`"),
    ({"trials": "0"}, "trials = 0: should be a whole number of at least 1"),
    ({"seed": "-1"}, "seed = -1: should be a whole number from 0"),
    ({"seed": "1.5"}, "invalid int value: '1.5'"),
    ({"device": ""}, "is not there: this machine has cpu"),
]


@pytest.mark.parametrize(("changes", "words"), OPTIONS, ids=[" ".join(map(" ".join, changes.items())) for changes, _ in OPTIONS])
def test_options_that_cannot_be_meant(project, capsys, changes, words):
    (project / "folder").mkdir()
    (project / "empty.pt").write_bytes(b"")
    for name in ("text.pt", "text.safetensors", "text.npz"):
        (project / name).write_text("hello\n")
    (project / "broken_nets.py").write_text("def f(:\n")
    (project / "raising_nets.py").write_text("1 / 0\n")
    (project / "ending_nets.py").write_text("import sys\nsys.exit(2)  # as argparse does\n")
    torch.save(torch.nn.Linear(2, 2), project / "module.pt")
    torch.save(Convolutional(out=7).state_dict(), project / "other.pt")
    weights = {name: value * torch.nan for name, value in memorizing().state_dict().items()}
    torch.save(weights, project / "nan.pt")
    pixels = IMAGES / 255
    pixels[7, 0, 2, 2] = np.nan
    np.savez(project / "keys.npz", a=IMAGES)
    np.savez(project / "short.npz", images=IMAGES, labels=LABELS[:3])
    np.savez(project / "words.npz", images=IMAGES, labels=["cat"] * N)
    np.savez(project / "nan.npz", images=pixels, labels=LABELS)
    np.savez(project / "objects.npz", images=np.array([None] * N, dtype=object), labels=LABELS)
    np.savez(project / "few.npz", images=HOLDOUT[0][:6], labels=HOLDOUT[1][:6])
    np.savez(project / "scores.npz", memorization=[0.1, 0.2, 0.3])

    assert words in refused(capsys, **changes)
    assert not (project / "out").exists()


@pytest.mark.parametrize("more", [["extra"], ["--fast"], ["--request"]])
def test_a_word_that_is_not_known_names_the_help_of_this_command(project, capsys, more):
    assert "`mulnb forget --help` lists what is valid" in refused(capsys, *more)


def test_what_a_ledger_refuses_is_told_before_the_search(project, capsys, monkeypatch):
    """The search takes minutes: a request that cannot be written down must not begin it."""
    found = api.unlearn(memorizing(), IMAGES, LABELS, [3], settings={"epochs": 1, "batch": 32, "lr": 0.01})
    Requests("ledger.jsonl").add(api.whole(np.array([3])), found, before=memorizing(), data="other data")
    monkeypatch.setattr(forgetting, "tuned", lambda *_, **__: pytest.fail("the search began"))
    assert "its requests are about other images or labels" in refused(capsys, ledger="ledger.jsonl")
    (project / "request.csv").write_text("3")
    assert "example 3 of the request is already forgotten" in refused(capsys, ledger="ledger.jsonl")
    assert len(json.loads((project / "ledger.jsonl").read_text())["strata"]["high"]) == 1


def run(**changes):
    return main(["forget", *[word for name, value in (GIVEN | changes).items() for word in (f"--{name}", value)]])


def interrupted(*_, **__):
    raise Stopped(signal.SIGTERM)


def test_an_interrupt_says_that_nothing_was_written(project, capsys, monkeypatch):
    monkeypatch.setattr(forgetting, "tuned", interrupted)
    assert run(ledger="ledger.jsonl") == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "mulnb: interrupted; nothing was written, and the same command begins anew\n"
    assert not (project / "out").exists() and not (project / "ledger.jsonl").exists()


@pytest.mark.slow
def test_an_interrupt_says_what_was_written_before_it(accepted, project, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Requests, "add", interrupted)
        assert run(ledger="ledger.jsonl") == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert said == "mulnb: interrupted; ledger.jsonl does not have the request: remove out, and the same command begins anew\n"

    def added(self, *words, **more):
        add(self, *words, **more)
        interrupted()

    add = Requests.add
    monkeypatch.setattr(Requests, "add", added)
    assert run(ledger="ledger.jsonl", out="again") == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "mulnb: interrupted; the result in again is complete\n"
    assert {path.name for path in (project / "again").iterdir()} == {path.name for path in (project / "out").iterdir()}
    assert len(Requests("ledger.jsonl")) == 1


@pytest.mark.slow
def test_of_two_at_once_the_slower_overwrites_nothing(accepted, project, capsys, monkeypatch):
    """Neither the model of the faster one, which the ledger has, nor a folder of its own whose model the ledger would lack."""
    found = api.unlearn(memorizing(), IMAGES, LABELS, [9], settings={"epochs": 1, "batch": 32, "lr": 0.01})
    search = forgetting.tuned

    def slow(*words, **more):
        Requests("ledger.jsonl").add(api.whole(np.array([9])), found, before=memorizing(), data="data")
        (project / "taken").mkdir(exist_ok=True)
        (project / "taken" / "model.safetensors").write_text("another model")
        return search(*words, **more)

    monkeypatch.setattr(forgetting, "tuned", slow)
    said = refused(capsys, ledger="ledger.jsonl")
    assert "ledger.jsonl: another request was added meanwhile: begin again with the model that it left" in said
    assert not (project / "out").exists() and len(Requests("ledger.jsonl")) == 1

    shutil.rmtree(project / "taken")
    (project / "ledger.jsonl").unlink()
    said = refused(capsys, out="taken")
    assert "another program wrote into taken meanwhile: its files stay; name a new folder and run again" in said
    assert [path.read_text() for path in (project / "taken").iterdir()] == ["another model"]


@pytest.mark.slow
def test_a_result_that_the_ledger_lacks_is_named_and_half_a_result_is_not_called_whole(accepted, project, capsys, monkeypatch):
    """After a kill between the two, and in a folder that is a disk of its own, where files come one by one."""
    with monkeypatch.context() as patched:
        patched.setattr(Requests, "add", interrupted)
        run(ledger="ledger.jsonl")
    capsys.readouterr()
    words = "--out out has a whole result, but ledger.jsonl does not have the request: remove out and run again"
    assert words in refused(capsys, ledger="ledger.jsonl")
    assert "--out out exists and is not empty: name a new folder" in refused(capsys)

    def killed(source, target):
        interrupted() if target == project / "half" / "report.html" else os.rename(source, target)

    (project / "half").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path.name == "half")
    monkeypatch.setattr(folders.os, "replace", killed)
    assert run(out="half") == 128 + signal.SIGTERM
    assert "half has only a part of a result: remove it, and the same command begins anew" in capsys.readouterr().err


@pytest.mark.slow
def test_the_ledger_has_a_request_once_its_model_is_on_disk(accepted, project, capsys, monkeypatch):
    def full(self, folder):
        raise UserError(f"cannot write {folder}: No space left on device")

    save = forgetting.Forgotten.save_new
    monkeypatch.setattr(forgetting.Forgotten, "save_new", full)
    assert run(ledger="ledger.jsonl") == 2 and not (project / "ledger.jsonl").exists()

    monkeypatch.setattr(forgetting.Forgotten, "save_new", save)
    assert run(ledger="ledger.jsonl") == 1
    capsys.readouterr()
    (entry,) = Requests("ledger.jsonl")
    left = adapt.plain("out/model.safetensors", Convolutional)
    assert page.weights_hash(left) == entry["model_after"]
    (project / "request.csv").write_text("index\n9\n")
    assert "the model is not the one that request 1 left" in refused(capsys, ledger="ledger.jsonl", out="next")


def test_copies_of_requested_images_are_refused_or_forgotten_too(accepted, project, capsys):
    images, labels = IMAGES.copy(), LABELS.copy()
    images[9], labels[9] = images[1], labels[1]
    np.savez(project / "train.npz", images=images, labels=labels)
    assert "duplicates=" in refused(capsys)
    assert run(duplicates="forget") in (0, 1)
    written = project / "out" / "request.json"
    assert json.loads(written.read_text())["index"] == [1, 4, 9]
    assert indices(written, N).tolist() == [1, 4, 9]  # what was written is a request again


def test_scores_say_which_end_is_memorized_and_stand_ins_may_have_a_maker_of_their_own(accepted, project, capsys, monkeypatch):
    np.save(project / "own.npy", np.linspace(0, 1, N))
    assert "which end of 'own' is memorized" in refused(capsys, scores="own.npy")
    asked = {}
    monkeypatch.setattr(forgetting, "forget", lambda *given, **options: asked.update(options) or interrupted())
    run(scores="own.npy", memorized="low", fresh="hostile_nets:Convolutional")
    assert asked["scores"].tolist() == np.linspace(1, 0, N).tolist() and isinstance(asked["fresh"](), Convolutional)


def test_every_option_arrives_where_it_is_meant(accepted, project):
    np.savez(project / "test.npz", images=TEST[0][:25], labels=TEST[1][:25])
    normalised = {"factory": "hostile_nets:Normalised", "mean": "0.5", "std": "0.25", "device": "cpu"}
    # a hundredth of a second: on no machine enough for stand-ins
    assert run(**normalised, test="test.npz", seed="7", about="by letter", ledger="ledger.jsonl", budget="0.01") in (0, 1)
    report, asked = (json.loads((project / "out" / name).read_text()) for name in ("report.json", "request.json"))

    with torch.no_grad():
        known, unseen = (memorizing()(torch.from_numpy(images) / 255).argmax(1).numpy() for images in (IMAGES, TEST[0][:25]))
    right = np.delete(known == LABELS, [1, 4]).mean()
    assert report["rows"]["original"]["acc_retain"] == pytest.approx(right, abs=1e-6)
    assert report["rows"]["original"]["acc_test"] == pytest.approx((unseen == TEST[1][:25]).mean(), abs=1e-6)
    assert report["how"]["seed"] == 7 and "cpu" in sys.modules["hostile_nets"].Normalised.places
    assert asked["how"]["reference"] is None and "longer than the budget" in asked["how"]["why"]
    assert len((project / "out" / "trials.csv").read_text().splitlines()) == 1 + 1
    assert [entry["about"] for entry in Requests("ledger.jsonl")] == ["by letter"]
