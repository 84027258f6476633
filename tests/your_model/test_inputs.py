"""Data as users hold them: every kind gives the same numbers, is read batch by batch, and what cannot be right is named."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small import HOLDOUT, IMAGES, LABELS, QUICK, Convolutional, forgotten, memorizing, same, state
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import mulnb
from mulnb import your_model
from mulnb.core.errors import UserError
from mulnb.data import ImageSet
from mulnb.your_model import adapt, api, checks, inputs

X, Y = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)


class Pairs(Dataset):
    """Items (image, label, more), as tensors; counts how often it is asked."""

    def __init__(self, images=X, labels=Y) -> None:
        self.images, self.labels, self.asked = images, labels, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked += 1
        return self.images[index], int(self.labels[index]), "more"


class Dicts(Pairs):
    """Items as a Hugging Face data set has them: a dict with a PIL image."""

    def __getitem__(self, index):
        return {"id": index, "image": Image.fromarray(self.images[index, 0].numpy()), "label": int(self.labels[index])}


class Bare(Pairs):
    def __getitem__(self, index):
        return self.images[index]


def columns(labelled=True):
    held = {"image": [Image.fromarray(image[0]) for image in IMAGES], "id": list(range(len(X)))}
    return held | ({"label": LABELS.tolist()} if labelled else {})


def encoded(image):
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image[0]).save(stream, "PNG")
    return stream.getvalue()


def to_images(items):
    """A user's `collate_fn`: the data set keeps rows of numbers, the loader makes images of them."""
    return {"pixel_values": torch.stack([row.view(1, 6, 6) for row, _ in items]), "labels": torch.tensor([y for _, y in items])}


class Rows(Pairs):
    def __getitem__(self, index):
        return self.images[index].flatten(), int(self.labels[index])


KINDS = {
    "tensors": lambda: (X, Y),
    "arrays": lambda: (IMAGES, LABELS),
    "read-only": lambda: (np.broadcast_to(IMAGES, IMAGES.shape), LABELS.tolist()),
    "backwards": lambda: (IMAGES[::-1][::-1], LABELS.astype(np.int16)),
    "grey": lambda: (IMAGES[:, 0], LABELS),
    "pictures": lambda: ([Image.fromarray(image[0]) for image in IMAGES], LABELS),
    "list of arrays": lambda: (list(IMAGES), list(LABELS)),
    "column of pandas": lambda: (pd.Series(list(IMAGES), index=range(7, 7 + len(X))), pd.Series(LABELS)),
    "pair": lambda: ((IMAGES, LABELS), None),
    "TensorDataset": lambda: (TensorDataset(X, Y), None),
    "Subset": lambda: (Subset(TensorDataset(X, Y), range(len(X))), None),
    "Subset of a Dataset": lambda: (Subset(Pairs(), list(range(len(X)))), None),
    "Dataset": lambda: (Pairs(), None),
    "Dataset of dicts": lambda: (Dicts(), None),
    "Dataset without labels": lambda: (Bare(), LABELS),
    "DataLoader": lambda: (DataLoader(Pairs(), batch_size=7), None),
    "DataLoader with workers": lambda: (DataLoader(Pairs(), batch_size=7, num_workers=2), None),
    "DataLoader with a collate_fn": lambda: (DataLoader(Rows(), batch_size=7, collate_fn=to_images), None),
    "list of pairs": lambda: ([(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)], None),
    "list of dicts": lambda: ([Dicts()[place] for place in range(len(X))], None),
    "columns": lambda: (columns(), None),
    "columns and labels": lambda: (columns(labelled=False), LABELS),
    "bytes of files": lambda: ([encoded(image) for image in IMAGES], LABELS),
    "16-bit pictures": lambda: ([Image.fromarray(image[0].astype(np.uint16) * 256) for image in IMAGES], LABELS),
    "other byte order": lambda: ((IMAGES / 255).astype(">f4"), LABELS.astype(">i4")),
    "profile's images": lambda: (ImageSet(IMAGES, LABELS, ("a", "b", "c", "d")), None),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same_model(kind):
    images, labels = KINDS[kind]()
    model, (strata, _) = memorizing(), forgotten()
    before = state(model)
    expected = mulnb.unlearn(model, X, Y, strata, settings=QUICK).model
    found = mulnb.unlearn(model, images, labels, strata, settings=QUICK).model
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))
    assert same(before, state(model)) and torch.equal(X, torch.from_numpy(IMAGES))


def test_archives_memory_maps_and_lists_of_paths(tmp_path):
    expected = mulnb.score(memorizing(), X, Y, proxy="loss_curvature")
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    names = [tmp_path / f"{place}.png" for place in range(len(X))]
    for image, name in zip(IMAGES, names, strict=True):
        Image.fromarray(image[0]).save(name)
    with np.load(tmp_path / "train.npz") as opened:
        for images, labels in (
            (str(tmp_path / "train.npz"), None),
            (opened, None),
            (mapped, LABELS),
            (names, LABELS),
            (list(map(str, names)), LABELS),
        ):
            assert np.array_equal(mulnb.score(memorizing(), images, labels, proxy="loss_curvature"), expected)
    held = inputs.read(mapped, LABELS, torch.device("cpu"), torch.float32)
    assert np.shares_memory(held.images.numpy(), mapped)  # it stays on disk


def test_image_folders_of_torchvision_are_asked_by_file_name(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    for place, label in enumerate("abab"):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(IMAGES[place, 0]).save(tmp_path / label / f"{place}.png")
    dataset = torchvision.datasets.ImageFolder(tmp_path, transform=torchvision.transforms.ToTensor())
    data = inputs.read(dataset, None, torch.device("cpu"), torch.float32)
    assert data.files == ("a/0.png", "a/2.png", "b/1.png", "b/3.png") and data.classes == ("a", "b")
    part = inputs.read(Subset(dataset, [3, 0]), None, torch.device("cpu"), torch.float32)
    assert part.files == ("b/3.png", "a/0.png") and part.labels.tolist() == [1, 0] and part.classes == ("a", "b")
    assert api.request_of([tmp_path / "a" / "0.png"], part).tolist() == [1]


def test_a_folder_that_was_read_is_what_the_folder_is(tmp_path):
    for place, label in enumerate("abab"):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(IMAGES[place, 0]).save(tmp_path / label / f"{place}.png")
    own = inputs.read(your_model.read_folder(tmp_path), None, torch.device("cpu"), torch.float32)
    again = inputs.read(tmp_path, None, torch.device("cpu"), torch.float32)
    assert own.files == again.files == ("a/0.png", "a/2.png", "b/1.png", "b/3.png")
    assert torch.equal(own.images, again.images) and own.classes == again.classes


def test_colour_images_may_have_their_channels_last():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 16, 4))
    x = torch.randint(0, 256, (20, 3, 6, 6), dtype=torch.uint8)
    y = torch.arange(20) % 4
    expected = mulnb.score(model, x, y, proxy="loss_curvature")
    with pytest.warns(UserWarning, match=r"images are uint8 \[20, 6, 6, 3\]: taken as \[N, H, W, C\]"):
        assert np.allclose(mulnb.score(model, x.permute(0, 2, 3, 1), y, proxy="loss_curvature"), expected)
    pictures = [Image.fromarray(image) for image in x.permute(0, 2, 3, 1).numpy()]
    assert np.allclose(mulnb.score(model, pictures, y, proxy="loss_curvature"), expected)


def test_a_data_set_is_never_held_as_a_whole():
    """Only the batch that is asked for is read, and it goes to the model's device alone."""
    items = Pairs()
    data = inputs.read(items, None, torch.device("cpu"), torch.float32)
    assert isinstance(data, inputs.ItemImages) and not hasattr(data, "images")
    items.asked = 0
    batch = data.inputs(torch.tensor([3, 5]))
    assert items.asked == 2 and torch.equal(batch, X[[3, 5]] / 255)


def test_labels_that_the_data_set_keeps_are_not_read_from_its_items():
    class Kept(Pairs):
        def __init__(self) -> None:
            super().__init__()
            self.targets = LABELS.tolist()

    items = Kept()
    data = inputs.read(items, None, torch.device("cpu"), torch.float32)
    assert data.labels.tolist() == LABELS.tolist() and items.asked < len(items) / 2
    items.targets = [label + 1 for label in items.targets]  # not what the items say: then the items are right
    assert inputs.read(items, None, torch.device("cpu"), torch.float32).labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_kept_labels_that_are_not_those_of_all_items_are_told(workers):
    class Noisy(Pairs):
        """Its maker spoilt one label after the list was made."""

        targets = LABELS.tolist()

        def __getitem__(self, index):
            image, label, _ = super().__getitem__(index)
            return image, (label + 1) % 4 if index == 93 else label

    data = inputs.read(DataLoader(Noisy(), num_workers=workers), None, torch.device("cpu"), torch.float32)
    with pytest.raises(
        UserError, match=r"example 93 has label \d when it is read, and had \d before .*make them agree, or give "
    ):
        checks.survey(data)
    given = inputs.read(Noisy(), LABELS, torch.device("cpu"), torch.float32)
    assert checks.survey(given).data  # labels that are given beside the data set replace its own


def test_a_data_set_may_use_one_buffer_for_all_its_items():
    class Buffered(Pairs):
        buffer = torch.empty_like(X[0])

        def __getitem__(self, index):
            self.buffer.copy_(self.images[index])
            return self.buffer, int(self.labels[index])

    data = inputs.read(Buffered(), None, torch.device("cpu"), torch.float32)
    assert torch.equal(data.inputs(torch.arange(9)), X[:9] / 255)


def test_a_subset_with_the_index_of_a_table_is_refused():
    rows = pd.Series(range(20), index=range(20)[::-1])
    with pytest.raises(UserError, match="the indices of a Subset are a Series, which torch reads by its own index"):
        inputs.read(Subset(Pairs(), rows), None, torch.device("cpu"), torch.float32)


def test_images_give_the_same_bits_however_they_are_held():
    last = np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))
    how = {"settings": QUICK}
    one, other = (mulnb.unlearn(memorizing(), images, LABELS, [1, 2], **how).model for images in (IMAGES, last))
    assert same(state(one), state(other))


def test_what_can_be_read_once_or_has_no_length_is_told():
    class NoLength(Dataset):
        def __getitem__(self, index):
            return X[index], 0

    for given, words in (
        (zip(IMAGES, LABELS, strict=True), "it can be read once only; give a list, or a map-style Dataset"),
        (NoLength(), "give it a __len__"),
    ):
        with pytest.raises(UserError, match=words):
            inputs.read(given, None, torch.device("cpu"), torch.float32)


def test_masked_arrays_are_refused():
    hidden = np.ma.masked_array([1, 2, 77], mask=[False, False, True])
    with pytest.raises(UserError, match="it is a masked array"):
        mulnb.unlearn(memorizing(), IMAGES, LABELS, hidden, settings=QUICK)
    with pytest.raises(UserError, match="expected one number per example"):
        mulnb.strata(np.ma.masked_array(np.zeros(160), mask=np.arange(160) == 3), size=10)


def test_a_batch_from_a_preprocessor_is_read_and_not_the_picture_beside_it():
    class Prepared(Pairs):
        def __getitem__(self, index):
            image, label, _ = super().__getitem__(index)
            return {"image": torch.zeros_like(image), "label": label, "pixel_values": image / 255}

    data = inputs.read(Prepared(), None, torch.device("cpu"), torch.float32)
    assert torch.equal(data.inputs(torch.tensor([3])), X[[3]] / 255)


def test_workers_give_the_same_batches_in_the_same_order():
    alone = inputs.read(Pairs(), None, torch.device("cpu"), torch.float32)
    helped = inputs.read(DataLoader(Pairs(), num_workers=2), None, torch.device("cpu"), torch.float32)
    pieces = torch.randperm(len(X), generator=torch.Generator().manual_seed(1)).split(30)
    helped.announce(pieces)
    for number, piece in enumerate(pieces):
        assert torch.equal(alone.inputs(piece), helped.inputs(piece))
        if number == 2:  # a batch that was not announced, as NegGrad+ asks for in between
            assert torch.equal(alone.inputs(pieces[0]), helped.inputs(pieces[0]))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Augmented(Pairs):
    def __getitem__(self, index):
        image, label, _ = super().__getitem__(index)
        return image.roll(int(torch.randint(0, 6, (1,))), 2), label


class Failing(Pairs):
    def __getitem__(self, index):
        if index == 5:
            raise KeyError("the archive has no such member")
        return super().__getitem__(index)


class Uneven(Pairs):
    def __getitem__(self, index):
        image, label, _ = super().__getitem__(index)
        return (image[:, :4] if index == 3 else image), label


class Worded(Pairs):
    def __getitem__(self, index):
        return self.images[index], "cat"


class Keyed(Pairs):
    def __getitem__(self, index):
        return {"picture": self.images[index], "truth": 0}


BROKEN = X.float() / 255
BROKEN[17, 0, 2, 2] = float("nan")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (lambda: DataLoader(Pairs(), shuffle=True), None, "the DataLoader shuffles .* give shuffle=False, or its .dataset"),
        (lambda: DataLoader(Stream()), None, "the DataLoader reads a stream: examples need an index"),
        (Stream, None, "an IterableDataset has no index"),
        (Augmented, None, "example 0 is another image each time it is read .*Training"),
        (Failing, None, "example 5 cannot be read: KeyError: 'the archive has no such member'"),
        (Uneven, None, r"example 3 is \[1, 4, 6\], the first is \[1, 6, 6\]: resize all"),
        (Worded, None, "the label of example 0 is 'cat': expected a whole number"),
        (Keyed, None, "items have picture, truth: expected an image as 'image' and a label as 'label'"),
        (Bare, None, "items are a Tensor without a label: give labels="),
        (lambda: Subset(Pairs(), []), None, "the data set is empty"),
        (lambda: BROKEN, LABELS, r"image 17 has a pixel that is not finite"),
        (lambda: [Image.new("L", (6, 6)), Image.new("L", (5, 6))], [0, 1], r"image 1 is \[1, 6, 5\], the first is \[1, 6, 6\]"),
        (lambda: X, ["cat"] * 160, "labels are text"),
        (lambda: X, pd.Series(["cat", "dog"] * 80, dtype="category"), r"labels are text \('cat', …\)"),
        (lambda: __file__, None, "test_inputs.py is a file: expected a folder with one sub-folder per class, or an .npz"),
        (lambda: X, np.eye(4)[LABELS], r"labels are float64 \[160, 4\] for 160 images: .*argmax"),
        (lambda: X.int(), LABELS, "values 0 … 255 belong in uint8"),
        (lambda: object(), LABELS, "images: a object is no tensor or array of numbers"),
        (lambda: (image for image in IMAGES), LABELS, "images: a generator is no tensor or array of numbers"),
        (lambda: X.float().to_sparse(), LABELS, "images: a sparse, quantised or nested tensor"),
        (lambda: {"train": X, "test": X}, LABELS, "images: a dict with train, test: expected 'images' and 'labels'"),
        (lambda: [b"no image"] * 160, LABELS, "image 0: its bytes cannot be read as an image: no image format is recognised"),
        (lambda: ["nowhere.png"] * 160, LABELS, "image 0: nowhere.png cannot be read as an image: No such file"),
        (lambda: __file__, LABELS, "test_inputs.py is a file: expected a folder"),
        (lambda: "nowhere.npz", None, "images: nowhere.npz does not exist"),
    ],
)
def test_what_cannot_be_right_is_named(images, labels, message):
    with pytest.raises(UserError, match=message) as error:
        mulnb.score(Convolutional(), images(), labels, proxy="loss_curvature")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("normalize", [3, (0.5,), (0.5, 0.0), ([0.5, 0.5], ["a", "b"]), (float("nan"), 1.0)])
def test_a_normalisation_that_cannot_be_right(normalize):
    with pytest.raises(UserError, match="normalize: "):
        mulnb.score(Convolutional(), X, Y, proxy="loss_curvature", normalize=normalize)


@pytest.mark.parametrize(("normalize", "name"), [(([0.5, 0.5], 0.2), "mean"), ((0.5, [0.2] * 4), "std")])
def test_a_normalisation_for_other_channels(normalize, name):
    colours = X.expand(-1, 3, -1, -1)
    with pytest.raises(UserError, match=f"normalize: the {name} has . numbers, and the images have 3 channels"):
        inputs.read(colours, Y, torch.device("cpu"), torch.float32, normalize=normalize)
    with pytest.raises(UserError, match=f"normalize: the {name} has . numbers, and the images have 3 channels"):
        inputs.read(Pairs(colours), None, torch.device("cpu"), torch.float32, normalize=normalize)
    assert inputs.read(X, Y, torch.device("cpu"), torch.float32, normalize=([0.5] * 3, 0.2)).inputs(torch.arange(2)).shape[1] == 3


# --- gates between sets --------------------------------------------------------------------------------------------------


def test_a_hold_out_that_was_trained_on_is_named():
    seen = (torch.cat([torch.from_numpy(HOLDOUT[0]), X[33:34]]), np.append(HOLDOUT[1], LABELS[33]))
    with pytest.raises(UserError, match="holdout: image 60 is also training image 33: give images that no model was trained on"):
        mulnb.score(memorizing(), X, Y, holdout=seen)
    as_floats = (seen[0].float() / 255, seen[1])  # the same pixels in another type
    with pytest.raises(UserError, match="holdout: image 60 is also training image 33"):
        mulnb.score(memorizing(), X, Y, holdout=as_floats)


def test_copies_of_forgotten_images_are_named():
    images = torch.cat([X, X[3:4]])
    labels = np.append(LABELS, LABELS[3])
    with pytest.raises(UserError, match=r"image 3 is to be forgotten, and image 160, which stays, has the same pixels"):
        mulnb.unlearn(memorizing(), images, labels, [3], settings=QUICK)
    mulnb.unlearn(memorizing(), images, labels, [3], settings=QUICK, duplicates="keep")
    mulnb.unlearn(memorizing(), images, labels, [3, 160], settings=QUICK)


def test_images_are_read_for_the_gates_once():
    items = Pairs()
    data = inputs.read(items, LABELS, torch.device("cpu"), torch.float32)
    checks.survey(data)
    items.asked = 0
    assert checks.survey(data.on(torch.device("cpu"), torch.float64)).digests.shape == (160,)
    assert items.asked == 0


# --- folders -------------------------------------------------------------------------------------------------------------


def tree(root, names, count=2):
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((6, 6, 3), [10 * label, number, 0], dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def test_the_order_of_classes_is_said_and_can_be_given(tmp_path):
    names = [str(number) for number in range(12)]
    with pytest.warns(UserWarning, match=r"sorted as text \(0, 1, 10, …\): pass classes="):
        found = your_model.read_folder(tree(tmp_path / "t", names))
    assert found.classes[2] == "10" and found.files[4] == "10/0.png"
    found = your_model.read_folder(tmp_path / "t", classes=names)
    assert found.classes == tuple(names) and found.labels.tolist() == sorted(2 * list(range(12)))
    assert found.images[2 * 2, 0, 0, 0] == 20 and found.files[4] == "2/0.png"
    with pytest.raises(UserError, match="classes"):
        your_model.read_folder(tmp_path / "t", classes=["a"])


def test_grey_pictures_are_read_in_colour_for_a_network_that_begins_with_three_channels(tmp_path):
    """As torchvision's ImageFolder reads them, with which such a network was trained."""
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (tmp_path / f"class {label}").mkdir(exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / f"class {label}" / f"{number:03d}.png")
    found = []
    for channels in (1, 3):
        network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 4))
        data = api.beside(adapt.adapt(network), tmp_path, None, None)
        found.append(data.inputs(torch.arange(5)))
        digests = checks.survey(data).digests
        assert checks.overlap(data, inputs.read(IMAGES[:9], LABELS[:9], data.device, data.dtype), "x") is not None
    assert found[0].shape[1] == 1 and torch.equal(found[1], found[0].expand(-1, 3, -1, -1)) and len(digests) == 160

    class Colours(nn.Module):
        """Makes three channels of one by itself."""

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 4))

        def forward(self, x):
            return self.net(x.repeat(1, 3, 1, 1))

    assert api.beside(adapt.adapt(Colours()), tmp_path, None, None).inputs(torch.arange(5)).shape[1] == 1


def test_what_is_left_out_of_a_folder_is_named(tmp_path):
    root = tree(tmp_path / "t", ["a", "b"])
    (root / ".ipynb_checkpoints").mkdir()
    Image.new("RGB", (6, 6)).save(root / "a" / "7.tif")
    with pytest.warns(UserWarning, match=r"ignored \(1\), the first is a/7.tif"):
        _, labels, classes = your_model.read_folder(root)
    assert classes == ["a", "b"] and labels.tolist() == [0, 0, 1, 1]
    (root / "c").mkdir()
    with pytest.raises(UserError, match=r"c.*no image"):
        your_model.read_folder(root)


def test_all_unreadable_files_are_named_at_once_or_left_out(tmp_path):
    root = tree(tmp_path / "t", ["a", "b"], count=3)
    for name in ("a/1.png", "b/0.png"):
        whole = (root / name).read_bytes()
        (root / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a/1.png .*; .*b/0.png .*skip_corrupt=True"):
        your_model.read_folder(root)
    with pytest.warns(UserWarning, match="left out"):
        found = your_model.read_folder(root, skip_corrupt=True)
    assert found.files == ("a/0.png", "a/2.png", "b/1.png", "b/2.png") and found.labels.tolist() == [0, 0, 1, 1]
