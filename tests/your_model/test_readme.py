"""The README's section "Use": its lines are executed as they stand, in a folder where the files that they name exist."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from small import HOLDOUT, IMAGES, LABELS, trained
from torch import nn

import mulnb
from mulnb.core import paths

README = (paths.CHECKOUT / "README.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## Use.*?(?=^## )", README, re.MULTILINE | re.DOTALL)[0]
FORGET, RECORD = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


class Colours(nn.Module):
    """A network for the RGB images that an ImageFolder gives."""

    def __init__(self):
        super().__init__()
        self.grey = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        return self.grey(x[:, :1])


def folder(root, images, labels):
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        (root / f"class {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(root / f"class {label}" / f"{place:03}.png")


@pytest.mark.slow
def test_the_ten_lines_for_a_dataset(tmp_path, monkeypatch):
    lines = [line for line in FORGET.splitlines() if line.strip()]
    assert len(lines) <= 10 and "budget=300" in FORGET
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "train", IMAGES, LABELS)
    folder(tmp_path / "unseen", *HOLDOUT)
    torch.manual_seed(0)
    model = Colours()
    trained(model.grey)
    torch.save(model, "mine.pt")
    names = {}
    exec(FORGET.replace("budget=300", "budget=None, trials=3"), names)
    report = json.loads((tmp_path / "forgotten" / "report.json").read_text())
    assert report["verdict"]["words"] == names["found"].verdict.words
    assert list((tmp_path / "forgotten").glob("*.safetensors")) and isinstance(names["found"].model, nn.Module)


def test_the_explorer_of_ones_own_scores(monkeypatch):
    assert "`mulnb.explore(images, labels, scores)`" in README
    assert mulnb.explore is mulnb.explorer.explore
    shown = mulnb.explore(IMAGES, LABELS, np.linspace(0, 1, len(LABELS)))
    assert type(shown).__name__ == "Explorer" and len(shown.stock) == len(LABELS)
    for name in ("mulnb.explorer.panel", "mulnb.explorer.canvas"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "anywidget", None)  # as if it were not installed
    with pytest.raises(mulnb.UserError, match=r"needs the package anywidget: pip install 'mulnb\[notebooks\]'"):
        mulnb.explore(IMAGES, LABELS, np.linspace(0, 1, len(LABELS)))


def test_the_two_lines_of_the_recorder():
    before, inside = [line for line in RECORD.splitlines() if line.strip()]
    torch.manual_seed(0)
    model, train = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), IMAGES
    names = {"mulnb": mulnb, "train": train}
    exec(before, names)
    for _ in range(2):
        for index in torch.arange(len(train)).split(50):
            names |= {"index": index, "labels": torch.from_numpy(LABELS)[index]}
            names["logits"] = model(torch.from_numpy(train[index.numpy()]) / 255)
            exec(inside, names)
    scores = eval("recorder.scores('confidence')", names)
    assert scores.shape == (len(train),) and np.isfinite(scores).all()
    assert len(mulnb.strata(scores, size=10).forget) == 30
