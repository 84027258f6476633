"""A malicious file of each kind: archives, images, links, forget sets, and disks that refuse to be written."""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile
import zlib
from pathlib import Path

import pytest

from mulnb.config import Dataset
from mulnb.core.errors import UserError
from mulnb.data import archives, forget_file
from mulnb.data.reader import read_folder
from mulnb.data.sources import SOURCES

GB = 2**30


# ---- archives


def zip_of_3_gb(place: Path, declared: int = 3 * GB) -> Path:
    """A zip of 3 MB with one entry of 3 GB of zeros, whose directory may declare another size."""
    compress = zlib.compressobj(9, wbits=-15)
    block = compress.compress(bytes(2**20)) + compress.flush(zlib.Z_FULL_FLUSH)  # after it nothing refers to what was before
    last = zlib.compressobj(9, wbits=-15)
    packed = len(block) * 3 * 2**10 + len(end := last.flush())

    name = b"train/cat/a.png"
    fields = (0, 8, 0, 0, 0, packed, declared, len(name), 0)  # flags, deflated, time, date, CRC, sizes, name, extra
    with place.open("wb") as file:
        file.write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, *fields) + name)
        for _ in range(3 * 2**10):
            file.write(block)
        file.write(end)

        start = file.tell()
        file.write(struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, *fields, 0, 0, 0, 0, 0) + name)
        file.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, file.tell() - start, start, 0))
    return place


REFUSE = """
import sys
from pathlib import Path
from mulnb.core import memory
from mulnb.core.errors import UserError
from mulnb.data import archives
try:
    archives.unpacked(Path(sys.argv[1]))
except UserError as error:
    print(round(memory.peak_mb()), error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("declared", "words"), [(3 * GB, "3072 MB unpacked"), (2**20, "the zip is damaged")])
def test_3_gb_in_a_zip_are_refused_within_300_mb_of_memory(tmp_path, home, declared, words):
    place = zip_of_3_gb(tmp_path / "bomb.zip", declared)
    with zipfile.ZipFile(place) as packed:  # the entry is real: its first megabytes can be read
        assert packed.infolist()[0].file_size == declared and place.stat().st_size < 2**23
        assert packed.open("train/cat/a.png").read(2**19) == bytes(2**19)

    done = subprocess.run([sys.executable, "-c", REFUSE, str(place)], capture_output=True, text=True)
    megabytes, _, said = done.stdout.partition(" ")
    assert words in said and said.count("\n") == 1, done.stderr
    assert int(megabytes) < 300
    assert not list(home.rglob("*.png"))


def test_a_link_in_a_zip_becomes_no_link(tmp_path, home):
    entry = zipfile.ZipInfo("train/cat/a.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as packed:
        packed.writestr(entry, "/etc/passwd")
    archives.unpacked(tmp_path / "link.zip")
    [found] = home.rglob("a.png")
    assert not found.is_symlink() and found.read_text() == "/etc/passwd"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["upwards", "absolute", "link"])
def test_a_tar_that_is_not_the_published_one_is_not_unpacked(tmp_path, home, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as packed:
        if kind == "link":
            link = tarfile.TarInfo("cifar-10-batches-py")
            link.type, link.linkname = tarfile.SYMTYPE, str(outside)
            packed.addfile(link)
        (tmp_path / "x").write_bytes(b"x")
        names = {"upwards": "../outside/x", "absolute": str(outside / "x"), "link": "cifar-10-batches-py/x"}
        packed.add(tmp_path / "x", names[kind])

    with pytest.raises(UserError, match="incomplete or damaged"):
        SOURCES["cifar10"](Dataset(name="cifar10", root=str(tmp_path)))
    assert not list(outside.iterdir())


# ---- images and links


def picture_of(width: int, height: int, content: bytes) -> bytes:
    """A PNG, grey, with a header that says this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(12_000, 12_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (0, 8)])
def test_an_image_of_absurd_size_is_refused(tmp_path, width, height):
    rows = bytes(12_001 * 12_000) if width == 12_000 else bytes(2**20)  # the first one is a whole image, packed a thousandfold
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "bomb.png").write_bytes(picture_of(width, height, zlib.compress(rows, 1)))
    with pytest.raises(UserError, match=r"bomb\.png") as error:
        read_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_links_in_a_circle_are_one_line(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").symlink_to(tmp_path / "cat" / "a.png")
    with pytest.raises(UserError, match=r"a\.png") as error:
        read_folder(tmp_path)
    assert "\n" not in str(error.value)

    (tmp_path / "cat" / "a.png").unlink()
    (tmp_path / "cat" / "deeper").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UserError) as error:
        read_folder(tmp_path)
    assert "\n" not in str(error.value)


# ---- forget sets

WHOLE = {"format": "mulnb forget set 1", "low": [0], "medium": [1], "high": [2], "data": "x", "n": 9, "settings": {}, "hash": ""}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps(WHOLE).replace('"n": 9', '"n": 1e999'),
        json.dumps(WHOLE).replace('"n": 9', '"n": ' + "9" * 5000),
        json.dumps(WHOLE | {"low": [10**30]}),
        json.dumps(WHOLE | {"low": [2**63]}),
        json.dumps(WHOLE).replace('"settings": {}', '"settings": ' + '{"a": ' * 20_000 + "1" + "}" * 20_000),
    ],
    ids=["nested", "infinite", "long number", "large index", "64 bits", "deep settings"],
)
def test_a_hostile_forget_set_is_one_line(tmp_path, text):
    path = tmp_path / "set.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"set\.json") as error:
        forget_file.load(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.slow
def test_a_forget_set_of_absurd_length_is_not_read(tmp_path):
    with (tmp_path / "set.json").open("wb") as file:
        file.truncate(3 * GB)  # a sparse file: it takes no room
    with pytest.raises(UserError, match="longer than 256 MB"):
        forget_file.load(tmp_path / "set.json")


# ---- disks

STORE = """
import sys
import numpy as np
from mulnb.core import store
from mulnb.core.errors import UserError
good = store.Artifact({"x": np.arange(5)})
if sys.argv[1] == "first":
    store.put("kind", {"a": 1}, good)
    sys.exit()
try:
    store.put("kind", {"a": 2}, store.Artifact({"x": np.zeros(2**20)}))  # 8 MB
except UserError as error:
    print(error)
assert np.array_equal(store.get("kind", {"a": 1}).arrays["x"], np.arange(5))
"""
MOUNTED = """
set -e
mount -t tmpfs -o size=2m none "$MULNB_HOME"
"$@" first
[ -z "$READ_ONLY" ] || mount -o remount,ro "$MULNB_HOME"
"$@" second
ls -a "$MULNB_HOME/artifacts/kind"
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system of its own")
@pytest.mark.parametrize(("read_only", "reason"), [("", "No space left on device"), ("1", "Read-only file system")])
def test_a_full_or_read_only_disk_is_one_line_and_loses_nothing(tmp_path, read_only, reason):
    place = tmp_path / "ein Stör-Ordner 家"
    place.mkdir()
    own = ["unshare", "--mount", "--map-root-user"]  # mounts that nobody else sees
    if subprocess.run([*own, "mount", "-t", "tmpfs", "none", str(place)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")

    command = [*own, "sh", "-c", MOUNTED, "sh", sys.executable, "-c", textwrap.dedent(STORE)]
    environment = os.environ | {"MULNB_HOME": str(place), "READ_ONLY": read_only}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, *listed = done.stdout.splitlines()
    assert said.startswith(f"cannot write {place}/artifacts/kind/") and reason in said
    assert len(listed) == 3 and not any("partial" in name for name in listed)  # ".", ".." and what was good
