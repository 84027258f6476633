"""PIL images of odd modes and arrays in two orders of axes: read as what they hold, or told; never without a word."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mulnb.core.errors import Notice, UserError
from mulnb.your_model import adapt, api, pictures

GREY = np.arange(36, dtype=np.uint8).reshape(6, 6) * 7


def test_a_picture_in_floating_point_keeps_its_values():
    image = Image.fromarray(GREY.astype(np.float32) / 255)
    assert image.mode == "F"
    assert np.array_equal(pictures.picture(image, "image")[0], GREY.astype(np.float32) / 255)


def test_thirty_two_bits_hold_sixteen_or_are_refused():
    wide = Image.fromarray(GREY.astype(np.int32) * 257)
    assert wide.mode == "I"
    assert np.array_equal(pictures.picture(wide, "image")[0], GREY)
    for values in (GREY.astype(np.int32), GREY.astype(np.int32) - 5, GREY.astype(np.int32) * 1000):
        with pytest.raises(UserError, match=r"^image 3: the picture \(mode I\) cannot be read: its values are not"):
            pictures.picture(Image.fromarray(values), "image 3")


def test_a_mode_that_cannot_be_converted():
    with pytest.raises(UserError, match=r"^image 3: the picture \(mode La\) cannot be read"):
        pictures.picture(Image.fromarray(GREY).convert("LA").convert("La"), "image 3")


def test_images_as_the_files_of_hugging_face_hold_them(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    for given in ({"bytes": (tmp_path / "a.png").read_bytes(), "path": None}, {"path": str(tmp_path / "a.png"), "bytes": None}):
        assert np.array_equal(pictures.picture(given, "image"), np.stack([GREY] * 3))
        assert np.array_equal(pictures.as_tensor([given], "images")[0, 0], GREY)
    with pytest.raises(UserError, match="image 3: a NoneType is no tensor or array"):
        pictures.picture({"bytes": None, "path": None}, "image 3")


def test_what_is_no_path_of_a_folder(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    for given, words in ((None, "the folder is a NoneType"), (3, "the folder is a int"), (tmp_path / "a.zip", "a.zip is a file")):
        with pytest.raises(UserError, match=words):
            pictures.read_folder(given)
    with pytest.raises(UserError, match="none does not exist"):
        pictures.read_folder(bytes(tmp_path / "none"))


class Maps(Dataset):
    """Features [C, H, W] whose shape is also that of a picture [H, W, C]."""

    def __init__(self, shape, n=40):
        self.x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], index % 4


class Reads(nn.Module):
    """A network that reads whatever its first layer reads."""

    def __init__(self, first):
        super().__init__()
        self.first, self.head = first, nn.Linear(1, 4)

    def forward(self, x):
        return self.head(self.first(x).flatten(1).mean(1, keepdim=True))


def beside(first, images, labels=None, normalize=None):
    return api.beside(adapt.adapt(Reads(first)), images, labels, normalize)


@pytest.mark.parametrize("shape", [(64, 4, 4), (64, 3, 3), (2, 6, 3)])
@pytest.mark.parametrize("kind", [lambda maps: (maps,), lambda maps: (maps.x, torch.arange(40) % 4)])
@pytest.mark.filterwarnings("ignore:images are float32")
def test_axes_are_in_the_order_that_the_model_reads(shape, kind):
    maps = Maps(shape)
    with pytest.warns(Notice, match=r"images are taken as \[C, H, W\]: the model does not read them as \[H, W, C\]"):
        data = beside(nn.Conv2d(shape[0], 5, 1), *kind(maps))
    assert torch.equal(data.pixels(torch.arange(40)), maps.x)

    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        data = beside(nn.Conv2d(shape[2], 5, 1), *kind(maps), normalize=([0.0] * shape[2], 1))
    assert torch.equal(data.pixels(torch.arange(40)), maps.x.permute(0, 3, 1, 2))

    with pytest.warns(Notice, match=r"are taken as \[H, W, C\], and the model reads both orders: .* give \[1, \d+, \d+\]"):
        data = beside(nn.Identity(), *kind(maps))
    assert torch.equal(data.pixels(torch.arange(40)), maps.x.permute(0, 3, 1, 2))


def test_workers_read_axes_in_the_same_order():
    maps = Maps((64, 4, 4))
    with pytest.warns(Notice, match="the model does not read them"):
        data = beside(nn.Conv2d(64, 5, 1), DataLoader(maps, num_workers=1))
    data.largest_batch = 16
    assert torch.equal(torch.cat([batch for _, batch in data.in_order()]), maps.x) and data.items.seen


def test_a_folder_of_two_sizes_is_read_at_one(tmp_path):
    for name, wide in (("a", 6), ("b", 8)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((6, wide, 3), np.uint8)).save(tmp_path / name / "1.png")
    with pytest.raises(UserError, match="pass size to read_folder, for example size=6"):
        pictures.read_folder(tmp_path)
    with pytest.warns(Notice, match="resized"):
        assert pictures.read_folder(tmp_path, size=6).images.shape == (2, 1, 6, 6)
