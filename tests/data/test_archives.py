"""A zip is unpacked once and whole."""

from __future__ import annotations

import io
import shutil
import zipfile

import numpy as np
import pytest
from image_trees import picture, refused, source, tiny, zipped

from mulnb.core.errors import Notice
from mulnb.data import archives, reader


@pytest.mark.parametrize("top", ["tiny-imagenet-200/", ""])
def test_a_zip_is_unpacked_once_into_the_artifacts_and_read_as_the_folder(tmp_path, top, home, monkeypatch):
    expected = tiny(tmp_path / "made")
    (tmp_path / "data").mkdir()
    place = zipped(tmp_path / "made", tmp_path / "data" / "tiny-imagenet-200.zip", top)
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr("__MACOSX/._train", b"litter")
    (tmp_path / "data").chmod(0o555)  # read-only data are fine

    train, test = source("tiny-imagenet", tmp_path / "data")
    folder_train, folder_test = source("tiny-imagenet", tmp_path / "made")
    assert np.array_equal(train.images, expected) and train.classes == folder_train.classes
    assert np.array_equal(test.images, folder_test.images) and np.array_equal(test.labels, folder_test.labels)

    monkeypatch.setattr(reader, "_decode_parts", None)
    monkeypatch.setattr(archives, "_unpack", None)
    assert np.array_equal(source("tiny-imagenet", place)[0].images, expected)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tiny-imagenet-200.zip"]
    assert len(list((home / "artifacts" / "unpacked").iterdir())) == 1


def test_a_zip_that_changed_is_unpacked_again(tmp_path):
    first = tiny(tmp_path / "made")
    place = zipped(tmp_path / "made", tmp_path / "tiny-imagenet-200.zip")
    assert np.array_equal(source("tiny-imagenet", place)[0].images, first)

    picture(777).save(tmp_path / "made" / "train" / "n01" / "images" / "n01_0.JPEG", quality=95)
    zipped(tmp_path / "made", place)
    second, _ = source("tiny-imagenet", place)
    assert not np.array_equal(second.images[0], first[0]) and np.array_equal(second.images[1:], first[1:])


@pytest.mark.parametrize("damage", ["delete", "empty", "all", "link"])
def test_an_unpacked_folder_that_lost_something_is_unpacked_again(tmp_path, home, damage):
    expected = tiny(tmp_path / "made")
    place = zipped(tmp_path / "made", tmp_path / "tiny-imagenet-200.zip")
    source("tiny-imagenet", place)
    [folder] = (home / "artifacts" / "unpacked").iterdir()
    image = folder / "train" / "n01" / "images" / "n01_0.JPEG"
    if damage == "empty":
        image.write_bytes(b"")
    elif damage == "delete":
        image.unlink()
    else:
        shutil.rmtree(folder)
        if damage == "link":
            folder.symlink_to(tmp_path / "nowhere")

    if damage == "all":  # nothing to say: there is none
        assert np.array_equal(source("tiny-imagenet", place)[0].images, expected)
    else:
        with pytest.warns(Notice, match="tiny-imagenet-200.zip are missing or cut off; it is moved to .* and unpacked again"):
            assert np.array_equal(source("tiny-imagenet", place)[0].images, expected)
    assert image.stat().st_size > 0


def test_a_broken_zip(tmp_path, home):
    tiny(tmp_path / "made")
    place = zipped(tmp_path / "made", tmp_path / "tiny-imagenet-200.zip")
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    message = refused("tiny-imagenet", place)
    assert message.startswith(f"{place}: not a complete zip") and "delete it and download it again" in message
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        start = archive.getinfo("train/n02/images/n02_1.JPEG").header_offset
    damaged = bytearray(whole)
    damaged[start + 120] ^= 255
    place.write_bytes(damaged)
    assert f"{place}: train/n02/images/n02_1.JPEG (" in refused("tiny-imagenet", place)
    assert not list((home / "artifacts" / "unpacked").iterdir())  # nothing half unpacked stays
