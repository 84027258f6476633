"""Packs: whole or refused, small, and never anything but artefacts."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mulnb.__main__ import main
from mulnb.core import packs, paths, store
from mulnb.core.errors import UserError
from mulnb.core.packs import Piece
from mulnb.core.store import Artifact

WHOLE = {"weights/w": np.arange(40.0), "score": np.arange(20.0), "margin": np.ones(20, np.float16)}


def artifact(seed: int) -> tuple[Path, Piece]:
    """A stored artefact: its folder, and a piece with all of it."""
    parts = {"seed": seed, "many": [1, 2.5, "größer"], "none": None}
    store.put("original", parts, Artifact({name: array + seed for name, array in WHOLE.items()}, {"wall_s": 1.0}))
    target = store.folder("original", parts)
    manifest, arrays = store.read(target)
    return target, Piece(manifest, tuple(arrays), arrays)


def some(piece: Piece, *names: str) -> Piece:
    return Piece(piece.manifest, piece.names, {name: piece.arrays[name] for name in names})


def elsewhere(monkeypatch, tmp_path) -> Path:
    """Another machine, with an empty store."""
    monkeypatch.setenv("MULNB_HOME", str(tmp_path / "elsewhere"))
    return paths.artifacts()


def test_pieces_come_together_again_to_the_bytes_that_were_packed(tmp_path, monkeypatch):
    target, piece = artifact(1)
    [facts] = packs.write(tmp_path / "packs", "cifar10", "facts", [some(piece, "score")])
    [rest] = packs.write(tmp_path / "packs", "cifar10", "margins", [some(piece, "margin", "weights/w")])
    assert packs.known(tmp_path / "packs") == {("facts", piece.place), ("margins", piece.place)}

    there = elsewhere(monkeypatch, tmp_path) / piece.place
    assert packs.unpack(facts) == ({piece.place}, set()) and packs.unpack(facts) == (set(), set())
    found = store.get("original", piece.manifest["parts"])
    assert set(found.arrays) == {"score"} and found.left_out == ("margin", "weights/w") and found.meta == {"wall_s": 1.0}
    assert store.whole(json.loads((there / "manifest.json").read_text())) == piece.manifest

    assert packs.unpack(rest) == ({piece.place}, set())
    for name in ("manifest.json", "arrays.safetensors"):
        assert (there / name).read_bytes() == (target / name).read_bytes()


def test_a_result_in_two_packs_is_counted_once(tmp_path, monkeypatch, capsys):
    _, piece = artifact(1)
    packs.write(tmp_path / "packs", "cifar10", "facts", [some(piece, "score")])
    packs.write(tmp_path / "packs", "cifar10", "margins", [some(piece, "margin")])
    elsewhere(monkeypatch, tmp_path)
    assert main(["unpack", str(tmp_path / "packs")]) == 0
    assert "2 files, 1 result added to" in capsys.readouterr().out


def test_what_is_left_out_is_added_when_it_is_computed_again(tmp_path, monkeypatch):
    target, piece = artifact(1)
    files = packs.write(tmp_path, "a", "facts", [some(piece, "score", "margin")])
    there = elsewhere(monkeypatch, tmp_path) / piece.place
    packs.unpack(files[0])
    store.put("original", piece.manifest["parts"], Artifact(dict(piece.arrays), {"wall_s": 7.0}))
    assert (there / "manifest.json").read_bytes() == (target / "manifest.json").read_bytes()
    assert not [path for path in there.parent.iterdir() if path != there]  # nothing half replaced stays


def test_another_computation_is_not_mixed_with_what_is_there(tmp_path, monkeypatch):
    _, piece = artifact(1)
    [facts] = packs.write(tmp_path, "a", "facts", [some(piece, "score")])
    there = elsewhere(monkeypatch, tmp_path) / piece.place
    other = {name: array + 5 for name, array in piece.arrays.items()}
    store.put("original", piece.manifest["parts"], Artifact(other, {"wall_s": 2.0}))
    manifest, arrays = store.read(there)
    store.keep(there, manifest, {"margin": arrays["margin"]}, arrays, instead=True)
    assert packs.unpack(facts) == (set(), {piece.place})
    assert set(store.read(there)[1]) == {"margin"}


def test_files_are_small_and_equal_content_has_one_name(tmp_path):
    pieces = [artifact(seed)[1] for seed in range(12)]
    limit = 4000
    files = packs.write(tmp_path / "one", "my profile/x", "facts", pieces, limit)
    assert 1 < len(files) < 12 and all(file.stat().st_size <= limit for file in files)
    assert all(packs.FILE.fullmatch(file.name)["name"] == "my-profile-x" for file in files)
    again = packs.write(tmp_path / "two", "my profile/x", "facts", pieces, limit)
    assert [file.name for file in again] == [file.name for file in files]
    assert {place for _, place in packs.known(tmp_path / "one")} == {piece.place for piece in pieces}


def test_a_result_that_fits_into_no_file_is_one_line(tmp_path):
    _, piece = artifact(1)
    with pytest.raises(UserError, match=f"{piece.place}: facts of this one result take 0.0 MB, a pack has 0.0001 at most"):
        packs.write(tmp_path / "packs", "a", "facts", [piece], limit=100)
    assert not (tmp_path / "packs").exists()


def named(folder: Path, content: bytes) -> Path:
    """A file that bears the checksum of its content in its name."""
    path = folder / f"a.facts.{hashlib.sha256(content).hexdigest()[:16]}.zip"
    path.write_bytes(content)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path.read_bytes()


DAMAGE = ["a bit", "cut off", "no zip", "other key", "changed fact", "no arrays", "bad json", "too many names", "bomb"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_pack_is_one_line_and_nothing_of_it_is_stored(damage, tmp_path, monkeypatch):
    _, piece = artifact(1)
    [good] = packs.write(tmp_path, "a", "facts", [piece])
    store_there = elsewhere(monkeypatch, tmp_path)
    content = bytearray(good.read_bytes())
    said = {"manifest": dict(piece.manifest), "names": list(piece.names)}
    arrays = save(dict(piece.arrays))
    where = piece.place
    if damage == "a bit":
        content[len(content) // 2] ^= 1
    elif damage == "cut off":
        content = content[:-30]
    elif damage == "other key":
        where = "original/" + "0" * 24
    elif damage == "changed fact":
        said["manifest"]["meta"] = {"wall_s": 0.5}
    elif damage == "too many names":
        said["names"] = ["score"]

    if damage in ("a bit", "cut off"):
        good.write_bytes(content)
        bad = good
    elif damage == "no zip":
        bad = named(tmp_path, b"no zip")
    else:
        members = {f"{where}.json": json.dumps(said).encode(), f"{where}.safetensors": arrays}
        if damage == "no arrays":
            del members[f"{where}.safetensors"]
        elif damage == "bad json":
            members[f"{where}.json"] = b"{"
        elif damage == "bomb":
            members["original/zeros"] = bytes(40_000_000)
        bad = named(tmp_path, zipped(tmp_path / "made.zip", members))

    with pytest.raises(UserError, match=r"damaged, or no pack \(.*\): copy it again, or remove it") as caught:
        packs.unpack(bad)
    assert "\n" not in str(caught.value)
    assert not list(store_there.glob("*/*"))


def test_a_pack_under_the_name_of_another_is_refused(tmp_path, monkeypatch):
    one, other = (packs.write(tmp_path, "a", "facts", [artifact(seed)[1]])[0] for seed in (1, 2))
    other.replace(one)
    there = elsewhere(monkeypatch, tmp_path)
    with pytest.raises(UserError, match="its checksum is not that of its name"):
        packs.unpack(one)
    assert not list(there.glob("*/*"))


def test_a_pack_writes_nowhere_but_into_the_store(tmp_path, monkeypatch):
    _, piece = artifact(1)
    said = json.dumps({"manifest": piece.manifest, "names": piece.names}).encode()
    members = {"../../outside.json": said, "../../outside.safetensors": save(dict(piece.arrays)), "/etc/x.json": said}
    bad = named(tmp_path, zipped(tmp_path / "made.zip", members))
    before = {*tmp_path.rglob("*")}
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(UserError, match="it holds no results"):
        packs.unpack(bad)
    assert {*tmp_path.rglob("*")} == before


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="is no folder: name the one that the packs lie in"):
        packs.files(tmp_path / "missing")


MEMBER = f"pool/{'a' * 24}.json"


def changed(content, at, value):
    """A zip with other bytes in the heading of its only member, here and in the directory."""
    content = bytearray(content)
    there = content.index(b"PK\x01\x02")
    content[at], content[there + at + 2] = value, value
    return bytes(content)


def foreign(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip",
        foreign({}),
        foreign({"photo.png": "x"}),
        foreign({"../../up.json": "{}", f"pool/../{MEMBER}": "{}"}),
        foreign({MEMBER: "{}"})[:-30],
        foreign({MEMBER: "{"}),
        foreign({MEMBER: "[]"}),
        foreign({MEMBER: '{"manifest": "x", "names": []}', MEMBER.replace("json", "safetensors"): "x"}),
        changed(foreign({MEMBER: "{}" * 99}), 6, 1),  # says that it is encrypted
        changed(foreign({MEMBER: "{}" * 99}), 8, 99),  # packed in a way that nobody knows
    ],
)
def test_a_foreign_zip_under_the_name_of_a_pack_is_one_line(tmp_path, home, content):
    path = tmp_path / f"smoke.facts.{hashlib.sha256(content).hexdigest()[:16]}.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, or no pack") as error:
        packs.unpack(path)
    assert "\n" not in str(error.value) and not list(home.rglob("manifest.json"))
