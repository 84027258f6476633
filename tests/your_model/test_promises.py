"""Whatever is brought: the answer is a right result or one `UserError`, and nothing that was given has changed."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small import same, state
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import mulnb
from mulnb.core.errors import UserError

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

N, SIDE, CLASSES = 24, 4, 3
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 1, SIDE, SIDE), dtype=np.uint8)
LABELS = np.arange(N) % CLASSES
HOLDOUT = (RNG.integers(0, 256, (12, 1, SIDE, SIDE), dtype=np.uint8), np.arange(12) % CLASSES)


def net(*more, out=CLASSES):
    body = (nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2))
    return nn.Sequential(*body, nn.Linear(12, out), *more)


class Wrap(nn.Module):
    def __init__(self, how, **parts):
        super().__init__()
        self.net, self.how = net(**parts), how
        self.spare = nn.Linear(2, 2)  # never used

    def forward(self, x):
        return self.how(self.net(x), self.training)


def partly_frozen():
    model = net().train()
    model[0].requires_grad_(False)
    model[1].eval().requires_grad_(False)
    return model


def with_hook():
    model = net()
    model.register_forward_hook(lambda *_: None)
    return model


def poisoned():
    model = net()
    with torch.no_grad():
        model[5].weight[0, 0] = float("nan")
    return model


MODELS = {
    "plain": net,
    "eval": lambda: net().eval(),
    "double": lambda: net().double(),
    "half": lambda: net().half(),
    "bf16": lambda: net().bfloat16(),
    "partly frozen": partly_frozen,
    "hooked": with_hook,
    "parallel": lambda: nn.DataParallel(net()),
    "compiled": lambda: torch.compile(net(), backend="eager"),
    "dict": lambda: Wrap(lambda z, training: {"loss": z.sum(), "logits": z}),
    "object": lambda: Wrap(lambda z, training: SimpleNamespace(logits=z)),
    "auxiliary": lambda: Wrap(lambda z, training: (z, z) if training else z),
    "one logit": lambda: Wrap(lambda z, training: z, out=1),
    "maps": lambda: Wrap(lambda z, training: z[:, :, None, None]),
    "sigmoid": lambda: net(nn.Sigmoid()),
    # these cannot work
    "softmax": lambda: net(nn.Softmax(1)),
    "frozen": lambda: net().requires_grad_(False),
    "scripted": lambda: torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.zeros(2, 1, 4, 4)),
    "no tensor": lambda: Wrap(lambda z, training: None),
    "raises": lambda: Wrap(lambda z, training: 1 / 0),
    "not finite": poisoned,
    "no parameters": lambda: nn.Flatten(),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
    "no module": lambda: "resnet18",
}


class Items(Dataset):
    def __init__(self, how):
        self.how = how

    def __len__(self):
        return N

    def __getitem__(self, index):
        return self.how(index)


def to_images(indices):
    """A user's `collate_fn`."""
    return torch.from_numpy(IMAGES[indices]), torch.from_numpy(LABELS[indices])


def spoilt():
    images = IMAGES.astype(np.float32) / 255
    images[7, 0, 1, 1] = np.inf
    return images


DATA = {
    "arrays": lambda: (IMAGES.copy(), LABELS.copy()),
    "tensors": lambda: (torch.from_numpy(IMAGES.copy()), torch.from_numpy(LABELS.copy())),
    "floats": lambda: (IMAGES.astype(np.float64) / 255, LABELS.astype(np.int32)),
    "grey": lambda: (IMAGES[:, 0].copy(), LABELS.tolist()),
    "pictures": lambda: ([Image.fromarray(image[0]) for image in IMAGES], LABELS),
    "TensorDataset": lambda: (TensorDataset(torch.from_numpy(IMAGES.copy()), torch.from_numpy(LABELS.copy())), None),
    "items": lambda: (Items(lambda index: (IMAGES[index], LABELS[index], index)), None),
    "dicts": lambda: (Items(lambda index: {"image": Image.fromarray(IMAGES[index, 0]), "label": int(LABELS[index])}), None),
    "loader": lambda: (DataLoader(Items(lambda index: (IMAGES[index], LABELS[index])), batch_size=5), None),
    "own collate": lambda: (DataLoader(Items(lambda index: index), batch_size=5, collate_fn=to_images), None),
    "list of pairs": lambda: ([(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)], None),
    "columns": lambda: ({"images": IMAGES.copy(), "labels": LABELS.copy()}, None),
    # these cannot work
    "generator": lambda: ((image for image in IMAGES), LABELS),
    "shuffled": lambda: (DataLoader(Items(lambda index: (IMAGES[index], LABELS[index])), shuffle=True), None),
    "too few labels": lambda: (IMAGES, LABELS[:-1]),
    "other labels": lambda: (IMAGES, LABELS + 1),
    "not finite": lambda: (spoilt(), LABELS),
    "text": lambda: ("images", LABELS),
    "nothing": lambda: (None, None),
    "colours": lambda: (np.repeat(IMAGES, 3, axis=1), LABELS),
}

index_lists = st.lists(st.integers(0, N - 1), min_size=1, max_size=8, unique=True)
REQUESTS = st.one_of(
    index_lists,
    index_lists.map(np.array),
    index_lists.map(torch.tensor),
    index_lists.map(lambda index: np.isin(np.arange(N), index)),
    st.integers(0, CLASSES - 1).map(lambda label: {"class": label}),
    index_lists.map(lambda index: {"index": index}),
    index_lists.map(lambda index: np.array(index, dtype=object)),
    st.lists(st.integers(-1, CLASSES), max_size=2).map(lambda labels: {"classes": labels}),
    st.lists(st.integers(-3, N + 3), max_size=5),
    st.sampled_from([None, True, [], "request.csv", [0.5], [[1, 2]], {"colour": 1}, range(N), ["a.png"], np.zeros(N, bool)]),
)
TRAINED = ("fine_tune", "l1_sparse", "neg_grad", "neg_grad_plus", "random_label", "salun")
ALGORITHMS = {
    **{name: {"epochs": 1, "batch": 8} for name in TRAINED},
    "scrub": {"epochs": 1, "msteps": 1, "batch": 8},
    "influence": {"samples": 4},
    "retrain": {"epochs": 1, "batch": 8, "lr": 0.1},
    "magic": {},
}


def contents(data):
    """A copy of everything in the data that could be changed."""
    if isinstance(data, TensorDataset):
        return [tensor.clone() for tensor in data.tensors]
    if isinstance(data, (np.ndarray, torch.Tensor)):
        return [torch.as_tensor(data).clone()]
    if isinstance(data, list) and isinstance(data[0], Image.Image):
        return [torch.from_numpy(np.array(image)) for image in data]
    return [copy.deepcopy(data)] if isinstance(data, (list, str, type(None))) else []


def unchanged(before, after):
    for a, b in zip(before, after, strict=True):
        if not (torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, torch.Tensor) else a == b):
            return False
    return True


def held(model):
    return state(model) if isinstance(model, nn.Module) and not hasattr(model, "initialize_parameters") else None


@pytest.mark.slow
@hypothesis.settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    st.sampled_from(sorted(MODELS)), st.sampled_from(sorted(DATA)), REQUESTS, st.sampled_from(sorted(ALGORITHMS)), st.booleans()
)
def test_a_right_result_or_one_user_error_and_nothing_has_changed(model, data, request, algorithm, judged):
    torch.manual_seed(1)
    network = MODELS[model]()
    images, labels = DATA[data]()
    before = held(network)
    known = [contents(images), contents(labels), contents(IMAGES), contents(LABELS)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            how = {"algorithm": algorithm, "strategy": "vanilla", "settings": ALGORITHMS[algorithm], "fresh": net}
            found = mulnb.unlearn(network, images, labels, request, **how)
            if judged:
                mulnb.evaluate(found, images, labels, request, holdout=HOLDOUT, original=network)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) > 10
    else:
        assert all(torch.isfinite(parameter).all() for parameter in found.model.parameters())
        plain = mulnb.your_model.adapt.plain(network)
        if algorithm != "retrain":
            assert [value.shape for value in found.model.state_dict().values()] == [
                value.shape for value in plain.state_dict().values()
            ]
            assert [part.training for part in found.model.modules()] == [part.training for part in plain.modules()]
    assert unchanged([*known[0], *known[1], *known[2], *known[3]], _again(images, labels))
    if before is not None:
        assert same(before, state(network))


def _again(images, labels):
    return [*contents(images), *contents(labels), *contents(IMAGES), *contents(LABELS)]


@pytest.mark.parametrize("model", ["plain", "half", "dict", "auxiliary", "partly frozen", "compiled"])
@pytest.mark.parametrize("data", ["arrays", "dicts", "loader"])
def test_what_should_work_does(model, data):
    torch.manual_seed(1)
    images, labels = DATA[data]()
    found = mulnb.unlearn(MODELS[model](), images, labels, [1, 4], settings=ALGORITHMS["neg_grad_plus"])
    assert found.seconds > 0
