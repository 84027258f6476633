"""The published CIFAR files: found, downloaded, checked."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from image_trees import CLASSES, refused, source

from mulnb.data.images import AS_PUBLISHED


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small CIFAR-10 archive in the published format, with its own checksums. Returns (folder, images, labels) of it."""
    from torchvision import datasets

    rng = np.random.default_rng(0)
    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images, labels = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8), np.arange(60) % 3

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(name, part):
        return write(name, {"data": images[part].reshape(-1, 3072), "labels": labels[part].tolist()})

    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [batch(f"data_batch_{k}", slice(10 * k - 10, 10 * k)) for k in range(1, 6)])
    monkeypatch.setattr(kind, "test_list", [batch("test_batch", slice(50, 60))])
    name, md5 = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(kind, "meta", {"filename": name, "key": "label_names", "md5": md5})
    archive = tmp_path / "made" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, folder.name)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return tmp_path / "made", images, labels


def test_the_published_files(published, tmp_path, monkeypatch):
    place, images, labels = published
    (tmp_path / "packed").mkdir()
    archive = shutil.copy(place / "cifar-10-python.tar.gz", tmp_path / "packed")
    for root in (place, place / "cifar-10-batches-py", tmp_path / "packed", Path(archive)):
        train, test = source("cifar10", root)
        assert np.array_equal(train.images, images[:50]) and np.array_equal(test.images, images[50:])
        assert np.array_equal(train.labels, labels[:50]) and train.classes == CLASSES
        assert train.source == "CIFAR-10 (torchvision, checksum verified)"
        assert train.index.tolist() == list(range(50)) and train.source_size == 50 and train.order == AS_PUBLISHED
    assert [path.name for path in (tmp_path / "packed").iterdir()] == ["cifar-10-python.tar.gz"]


def test_published_files_that_are_damaged(published):
    place, *_ = published
    batch = place / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-100])
    message = refused("cifar10", place)
    assert message.startswith(f"{batch.parent}: a file is missing or damaged (its checksum differs): delete the folder")
    shutil.rmtree(batch.parent)
    archive = place / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    message = refused("cifar10", place)
    assert message.startswith(f"{archive} is incomplete or damaged") and "delete it and run again" in message


def test_a_download_is_whole_or_not_there(published, home, monkeypatch):
    from torchvision.datasets import utils

    place, images, _ = published
    whole, sent = (place / "cifar-10-python.tar.gz").read_bytes(), []

    def offline(url, max_hops):
        raise OSError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr(utils, "_get_redirect_url", offline)
    message = refused("cifar10", None)
    where = home / "data" / "cifar10"
    assert message.startswith(f"CIFAR-10: cifar-10-python.tar.gz cannot be downloaded to {where} ([Errno -3] Temporary failure")
    assert "run again" in message and "cifar-10-batches-py" in message and "train/<class>/*" in message
    assert not where.parent.exists()  # no empty folder is left, which would look like a data set
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, path: sent.append(Path(path).write_bytes(whole[: len(whole) // 2])))
    assert "cannot be downloaded" in refused("cifar10", None) and sent and not where.exists()
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, path: sent.append(Path(path).write_bytes(whole)))
    assert np.array_equal(source("cifar10", None)[0].images, images[:50])
    assert [path.name for path in where.iterdir()] == ["cifar-10-python.tar.gz"]
