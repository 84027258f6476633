"""Worker processes never share an opened file with this one: a data set is copied for them, or read here."""

from __future__ import annotations

import io
import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mulnb.core.errors import Notice, UserError
from mulnb.your_model import inputs
from mulnb.your_model.copied import copy_of

N = 600
X = torch.rand(N, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def path(tmp_path):
    X.numpy().tofile(tmp_path / "x.bin")
    return tmp_path / "x.bin"


class Records(Dataset):
    """Opens its file when it is first read, so that every worker has one of its own."""

    file = None
    targets = (np.arange(N) % 4).tolist()

    def __init__(self, path, at_once=False):
        self.path = path
        if at_once:
            self.file = open(path, "rb", buffering=0)  # noqa: SIM115

    def __len__(self):
        return N

    def __getitem__(self, index):
        self.file = self.file or open(self.path, "rb", buffering=0)  # noqa: SIM115
        self.file.seek(index * 144)
        return torch.frombuffer(bytearray(self.file.read(144)), dtype=torch.float32).view(1, 6, 6), self.targets[index]


def read(given, labels=None):
    data = inputs.read(given, labels, torch.device("cpu"), torch.float32)
    data.largest_batch = 50
    return data


def wrong(data):
    return sum(int((batch != X[start : start + len(batch)]).flatten(1).any(1).sum()) for start, batch in data.in_order())


def test_every_worker_opens_its_own_file(path):
    items = Records(path)
    for _ in range(2):  # also in a second call
        data = read(DataLoader(items, num_workers=2))
        assert data.workers == 2 and items.file is None and wrong(data) == 0


def test_an_opened_file_is_read_in_one_process(path, monkeypatch):
    with pytest.warns(
        Notice, match=r"images: the data set cannot be copied for worker processes \(cannot pickle .*open files in"
    ):
        data = read(DataLoader(Records(path, at_once=True), num_workers=2))
    assert data.workers == 0 and wrong(data) == 0

    monkeypatch.setattr(inputs, "SLOW", 0)
    with pytest.warns(Notice, match="cannot be copied"):
        assert read(Records(path)).workers == 0  # it was opened while it was read

    class Plain(Records):
        def __getitem__(self, index):
            return X[index], self.targets[index]

    assert read(Plain(path)).workers > 0


def test_rows_that_a_worker_reads_otherwise_are_told():
    main = os.getpid()

    class Shifted(Records):
        def __getitem__(self, index):
            return X[index if os.getpid() == main else index - 1], self.targets[index]

    data = read(DataLoader(Shifted(""), num_workers=1))
    with pytest.raises(UserError, match=r"example 0 is another image when a worker process reads it .*num_workers=0$"):
        wrong(data)


HELD = open(os.devnull, "rb")  # noqa: SIM115


def closed_over():
    file = open(os.devnull, "rb")  # noqa: SIM115
    return lambda index: file.read(index)


class OfTheClass:
    file = HELD


class OfTheModule:
    def __getitem__(self, index):
        return HELD.read(index)


@pytest.mark.parametrize("held", [HELD, [1] * 2000 + [HELD], closed_over(), closed_over, OfTheClass(), OfTheModule(), HELD.read])
def test_an_opened_file_is_found_wherever_it_is(held):
    found, why = copy_of({"held": held})
    if held is closed_over:  # it opens a file, and holds none
        assert found == {"held": held}
    else:
        assert found is None and why


def test_a_copy_shares_what_is_only_looked_at(tmp_path):
    array, two, long = np.ones(3), 2, [(f"{place}.png", place % 3) for place in range(3000)]
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    held = {"x": X, "array": array, "f": lambda value, by=[3]: value * two + by[0], "lock": threading.Lock(), "long": long}
    found, why = copy_of(held | {"again": long, "bytes": io.BytesIO(b"abc"), "kind": Records, "many": [X[0]] * 2000})
    assert not why and found["x"] is X and found["array"] is array and found["f"](5) == 13 and found["kind"] is Records
    assert found["long"] == long and found["long"] is found["again"] is not long and found["bytes"].read() == b"abc"
    with Image.open(tmp_path / "a.png") as image:
        assert copy_of([image])[0] is None  # its file is open until it is read
        image.load()
        assert copy_of([image])[0] == [image]
