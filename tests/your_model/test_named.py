"""Classes by name and images by file: known only where they certainly are those of the labels and items that are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from small import draw
from torch.utils.data import ConcatDataset, Dataset, Subset

from mulnb.core.errors import UserError
from mulnb.your_model import api, inputs

datasets = pytest.importorskip("torchvision.datasets")
from torchvision.transforms import ToTensor  # noqa: E402

PIXELS = draw(12, 5)[0]
ORDER = [2, 0, 3, 1]


@pytest.fixture
def root(tmp_path):
    """Folders a, b, c and d with three images each."""
    for place, pixels in enumerate(PIXELS):
        (tmp_path / "abcd"[place // 3]).mkdir(exist_ok=True)
        Image.fromarray(pixels[0]).save(tmp_path / "abcd"[place // 3] / f"{place:02d}.png")
    return tmp_path


def read(given, labels=None):
    return inputs.read(given, labels, torch.device("cpu"), torch.float32)


def folder(root, kind=datasets.ImageFolder, **more):
    return kind(root, ToTensor(), **more)


def named(data, name):
    return api.request_of({"class": name}, data).tolist()


class Backwards(datasets.ImageFolder):
    """Its items come in another order than its list says."""

    def __getitem__(self, index):
        return super().__getitem__(len(self) - 1 - index)


class Numbered(datasets.ImageFolder):
    """Its classes have numbers of its own."""

    def find_classes(self, directory):
        return list("abcd"), dict(zip("abcd", ORDER, strict=True))


class Attribute(datasets.ImageFolder):
    """Its labels are something else than its folders."""

    def __getitem__(self, index):
        return super().__getitem__(index)[0], index % 2


def test_a_class_has_the_label_that_the_data_set_makes_of_it(root):
    whole = folder(root, target_transform=ORDER.__getitem__)
    for given in (whole, Subset(whole, range(12)), folder(root, Numbered), folder(root, target_transform=int)):
        data = read(given)
        assert named(data, "b") == [3, 4, 5] and named(data, "d") == [9, 10, 11]
        assert api.request_of(["b/04.png"], data).tolist() == [4]


def test_names_that_may_be_those_of_other_labels_are_not_known(root):
    whole = folder(root, target_transform=ORDER.__getitem__)
    joined = ConcatDataset([whole])
    joined.classes = whole.classes
    part = Subset(folder(root), range(12))
    part.target_transform = None
    for given in (
        (folder(root, target_transform=lambda label: label // 2),),
        (joined,),
        (folder(root, Backwards),),
        (folder(root), np.arange(12) % 4),
    ):
        data = read(*given)
        with pytest.raises(UserError, match="class 'b' is unknown: classes are not known here; give its number"):
            named(data, "b")
        assert len(named(data, 1)) > 2
    assert named(read(part), "b") == [3, 4, 5]
    with pytest.raises(UserError, match="class 'b' is unknown"):
        named(read(ConcatDataset([folder(root)])), "b")


def test_files_are_those_of_the_items_or_not_known(root):
    for given in ((folder(root, Backwards),), (folder(root, Backwards), np.arange(12) % 4)):
        with pytest.raises(UserError, match=r"has file names .* and the images have none: give indices"):
            api.request_of(["b/04.png"], read(*given))
    for given in ((folder(root, Attribute),), (folder(root), np.arange(12) % 4), (Subset(folder(root), range(12)),)):
        data = read(*given)
        (place,) = api.request_of(["b/04.png"], data)
        assert torch.equal(data.pixels(torch.tensor([place])) * 255, torch.from_numpy(PIXELS[[4]]).expand(1, 3, 6, 6).float())


def test_a_list_with_words_says_nothing_of_the_labels():
    class Own(Dataset):
        root, samples = "/x", [(f"/x/{place}.png", "word") for place in range(12)]

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return PIXELS[index], index % 2

    assert read(Own()).files[4] == "4.png"
