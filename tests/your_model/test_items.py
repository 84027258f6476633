"""Data sets that say one thing and do another: told in one line that names the example, before any work."""

from __future__ import annotations

import itertools
import os
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from small import HOLDOUT, draw
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, Subset, TensorDataset

from mulnb.core.errors import UserError
from mulnb.your_model import inputs

X, Y = draw(40, 3)
CPU, MAIN = torch.device("cpu"), os.getpid()
DRAWN = itertools.count()
TENSORS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Items(Dataset):
    def __init__(self, how=lambda index: (X[index], Y[index]), n=40):
        self.how, self.n = how, n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return self.how(index)


class Known(Items):
    """Its labels are known without reading the items."""

    targets = Y.tolist()


def read(given, labels=None):
    return inputs.read(given, labels, CPU, torch.float32)


def odd(change):
    """Items of which number 13 is another."""
    return Items(lambda index: (change(X[index]) if index == 13 else X[index], Y[index]))


def in_a_worker(act):
    """Items of which number 13 does something in a process that reads ahead."""

    def item(index):
        if index == 13 and os.getpid() != MAIN:
            act()
        return X[index], Y[index]

    return item


def divide():
    raise ValueError("corrupt\nfile")


@pytest.mark.parametrize(
    "loader",
    [
        lambda: DataLoader(TENSORS, batch_sampler=[[3, 1], [0, 2]]),
        lambda: DataLoader(TENSORS, batch_sampler=type("Mine", (BatchSampler,), {})(SequentialSampler(TENSORS), 4, False)),
        lambda: DataLoader(TENSORS, sampler=SequentialSampler(range(10))),
        lambda: DataLoader(Items(), sampler=[5, 4]),
    ],
)
def test_a_loader_in_an_order_of_its_own_is_refused(loader):
    with pytest.raises(UserError, match=r"shuffles or samples, .* give shuffle=False, or its .dataset"):
        read(loader())


@pytest.mark.parametrize("kind", [TENSORS, Items()])
@pytest.mark.parametrize(
    ("index", "words"),
    [
        (np.arange(40) < 20, r"indices of a Subset are bool: expected whole numbers \(of a mask"),
        ([0, 99], "a Subset has index 99, and its data set has 40 examples"),
        ([0, -41], "a Subset has index -41"),
    ],
)
def test_a_subset_of_examples_that_are_not_there(kind, index, words):
    for given in (Subset(kind, index), Subset(Subset(kind, index), [0]), DataLoader(Subset(kind, index))):
        with pytest.raises(UserError, match=words):
            read(given)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: odd(lambda image: image / 255), r"example 13 is float64 .* the first is uint8 .*: give all in uint8, or all"),
        (lambda: odd(lambda image: image.repeat(3, 0)), "example 13 is .*: give all the same number of channels, image.convert"),
        (lambda: odd(lambda image: image[:, :5]), r"example 13 is \[1, 5, 6\], the first is \[1, 6, 6\]: resize all to one size"),
        (lambda: Items(n=-1), "does not say how many examples it has"),
        (lambda: Items(n="many"), "does not say how many examples it has"),
        (lambda: DataLoader(Items(n=0)), "the data set is empty"),
        (lambda: Items(n=44), "example 4. cannot be read: IndexError"),
        (lambda: Items(lambda index: (X[index], X[index])), r"the label of example 0 is ndarray \[1, 6, 6\]"),
        (lambda: Items(lambda index: (X[index], [1, [2]])), r"the label of example 0 is \[1, \[2\]\]"),
        (lambda: Items(lambda index: (X[index], 0.5)), "the label of example 0 is 0.5: expected a whole number"),
        (lambda: Items(lambda index: (X[index], 10**30)), f"the label of example 0 is {10**30}: expected a whole number"),
        (
            lambda: Items(lambda index: (X[index], next(DRAWN))),
            r"example 0 has label \d+, and \d+ when it is read again: give every example one label",
        ),
    ],
)
def test_items_that_do_not_go_together(data, words):
    with pytest.raises(UserError, match=words):
        images = read(data())
        for _ in images.in_order():
            pass


def test_a_random_transform_is_found_where_the_first_items_are_steady():
    late = Items(lambda index: (X[index] / 255 if index < 20 else np.random.rand(1, 6, 6), Y[index]))
    with pytest.raises(UserError, match="is another image each time it is read"):
        read(late)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Items, Known])
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (divide, "^images: example 13 cannot be read: ValueError: corrupt file$"),
        (lambda: os._exit(3), "^images: a process that reads the data set ended: .*: give a DataLoader with num_workers=0$"),
    ],
)
def test_what_happens_in_a_reading_process_is_one_line(kind, act, words):
    with pytest.raises(UserError, match=words) as error:
        images = read(DataLoader(kind(in_a_worker(act)), num_workers=1))
        images.largest_batch = 8
        for _ in images.in_order():
            pass
    assert "\\n" not in str(error.value)


def test_named_tuples_lists_of_pairs_tables_and_labels_of_binary_cross_entropy():
    Example = namedtuple("Example", ["label", "image"])
    expected = read(X, Y)
    for given in (
        Items(lambda index: Example(Y[index], X[index])),
        [[image, int(label)] for image, label in zip(X, Y, strict=True)],
        pd.DataFrame({"image": list(X), "label": Y}),
        Items(lambda index: (X[index], float(Y[index]))),
        Items(lambda index: (X[index], torch.tensor(Y[index]).bfloat16())),
        (X, Y.astype(float)),
        (X, Y.astype(object)),
    ):
        found = read(given)
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.pixels(torch.arange(40)), torch.from_numpy(X))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (
            X.reshape(40, 36),
            Y,
            r"\[40, 36\]: .*; of vectors, add two axes, \[:, None, None\], and begin the model with nn.Flatten",
        ),
        (X.reshape(40, 36).astype(int), Y, r"int64 \[40, 36\]: .*; tokens and other whole numbers are not worked with"),
        (X[:, :, None], Y, "of volumes, give the depth as channels"),
        (X, np.eye(4)[Y], "of one-hot rows, argmax"),
        (X, np.eye(4)[Y] / 2 + 0.125, "several or soft labels of an image are not supported"),
        (X, np.ones((40, 4), dtype=int), "several or soft labels of an image are not supported"),
        (X, set(Y.tolist()), "labels: a set is no tensor or array of numbers"),
        (None, Y, "images are missing"),
        (np.ma.array(X, mask=X > 200), Y, "images: a masked array"),
        (torch.from_numpy(X).to("meta"), Y, "images: a tensor on the meta device"),
        (X, torch.from_numpy(Y).to("meta"), "labels: a tensor on the meta device"),
        ([*X[:20], *(X[20:] / 255)], Y, "image 20 is float64 .*: give all in uint8, or all scaled alike"),
    ],
)
def test_arrays_that_are_something_else_are_told_what_to_do(images, labels, words):
    with pytest.raises(UserError, match=words) as error:
        read(images, labels)
    assert "numpy.object_" not in str(error.value)


def test_vectors_with_two_more_axes_are_worked_with():
    table = HOLDOUT[0].reshape(60, 36).astype(np.float32)
    assert read(table[:, None, None], HOLDOUT[1]).inputs(torch.arange(2)).flatten(1).tolist() == table[:2].tolist()
