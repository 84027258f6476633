"""The recorder in anybody's loop: the proxies that `fit` itself would record, kept in a file, and missing epochs are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import IMAGES, LABELS, Convolutional
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import mulnb
from mulnb import proxies, training
from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.your_model.callbacks import Indexed, lightning_callback, trainer_callback

X, Y = torch.from_numpy(IMAGES) / 255, torch.from_numpy(LABELS)


def test_a_plain_loop_records_what_fit_records():
    torch.manual_seed(0)
    data = training.Examples(X, Y)
    recorder = mulnb.Recorder(len(X))
    ours = proxies.SignalRecorder(len(X), torch.device("cpu"))

    class Both:
        def record(self, batch, logits):
            ours.record(batch, logits)
            recorder.record(batch.index, logits, batch.labels)

    training.fit(Convolutional(), data, Recipe(epochs=3, batch=32, lr=0.05), 0, recorder=Both())
    raw = ours.raw()
    for name, entry in proxies.PROXIES.items():
        if not entry.post_hoc:
            assert np.allclose(recorder.scores(name), proxies.orient(name, raw[name]), atol=1e-5), name


def record(recorder, epochs=2, skip=None):
    torch.manual_seed(0)
    for epoch in range(epochs):
        for index in torch.randperm(len(X)).split(20):
            if (epoch, 5) == skip and 5 in index:
                continue
            recorder.record(index, torch.randn(len(index), 4), Y[index])


def test_the_file_gives_the_same_scores(tmp_path):
    recorder = mulnb.Recorder(len(X))
    record(recorder)
    again = mulnb.Recorder.load(recorder.save(tmp_path / "signals"))
    for name in ("confidence", "entropy", "forgetting", "learning_time"):
        assert np.array_equal(again.scores(name), recorder.scores(name))
    record(again)  # a training that was interrupted goes on
    assert again.counts.tolist() == [4] * len(X) and again.scores().shape == (160,)
    (tmp_path / "other.npz").write_bytes(b"nothing")
    for path in ("other.npz", "none.npz"):
        with pytest.raises(UserError, match="cannot be read as a Recorder's file"):
            mulnb.Recorder.load(tmp_path / path)


def test_missing_epochs_are_named():
    recorder = mulnb.Recorder(len(X))
    with pytest.raises(UserError, match="nothing was recorded"):
        recorder.scores()
    record(recorder, epochs=3, skip=(1, 5))
    with pytest.raises(UserError, match=r"was recorded 2 times, most were 3 times \(20 differ\): record every batch"):
        recorder.scores()


def test_outputs_of_every_kind_are_recorded():
    recorder, other = mulnb.Recorder(4), mulnb.Recorder(4)
    z = torch.tensor([-2.0, -1.0, 1.0, 2.0])
    recorder.record(np.arange(4), {"logits": z[:, None]}, [0, 1, 1, 0])
    other.record(torch.arange(4), torch.stack([torch.zeros(4), z], 1), torch.tensor([0, 1, 1, 0]))
    assert np.array_equal(recorder.scores(), other.scores())
    assert np.allclose(recorder.scores(), [1 - torch.sigmoid(t) for t in (z[3], z[1], z[2], z[0])])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: mulnb.Recorder(0), r"Recorder\(0\): give the number of training examples"),
        (lambda r: r.record([4], torch.zeros(1, 4), [0]), "index runs from 4 to 4: expected"),
        (lambda r: r.record([0.5], torch.zeros(1, 4), [0]), "index runs from"),
        (lambda r: r.record([1, 1], torch.zeros(2, 4), [0, 0]), "has an example twice"),
        (lambda r: r.record([[1], [2, 3]], torch.zeros(2, 4), [0, 0]), "index is a list: expected whole numbers"),
        (lambda r: r.record(torch.zeros(2, device="meta"), torch.zeros(2, 4), [0, 0]), "index is a Tensor: expected"),
        (lambda r: r.record([1], torch.zeros(1, 4).to_sparse(), [0]), "returns a sparse tensor"),
        (lambda r: r.record([1], torch.zeros(1, 4, device="meta"), [0]), "returns a meta tensor"),
        (lambda r: r.record([1], np.array([["a", "b"]]), [0]), "the model returns a ndarray"),
        (lambda r: mulnb.Recorder(10**15), "do not fit into memory"),
        (lambda r: r.record([1], torch.zeros(2, 4), [0]), "for 1 images"),
        (lambda r: r.record([1], torch.zeros(1, 4), [0, 1]), "for 1 examples"),
        (lambda r: (r.record([1], torch.zeros(1, 4), [9]), r.check()), "labels run from 9 to 9 for 4 classes"),
        (lambda r: (r.record([1], torch.full((1, 4), torch.nan), [0]), r.check()), "not finite"),
        (lambda r: r.scores("loss_curvature"), "'loss_curvature' is not read off training"),
    ],
)
def test_what_cannot_be_recorded(call, message):
    with pytest.raises(UserError, match=message):
        call(mulnb.Recorder(4))


# --- other people's loops ------------------------------------------------------------------------------------------------


class Dicts(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return {"pixel_values": X[index], "labels": int(Y[index])}


def test_indexed_says_which_example_an_item_is():
    assert Indexed(Dicts())[7]["example_index"] == 7
    assert Indexed(TensorDataset(X, Y))[7][2] == 7 and len(Indexed(Dicts())) == len(X)


def test_hugging_face_trainer(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 4}
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**shape, image_size=6, patch_size=3, num_channels=1))
    how = {"num_train_epochs": 2, "remove_unused_columns": False, "report_to": [], "save_strategy": "no", "use_cpu": True}
    settings = transformers.TrainingArguments(str(tmp_path), **how, disable_tqdm=True, logging_strategy="no")
    recorder = mulnb.Recorder(len(X))
    callback = trainer_callback(recorder, model)
    transformers.Trainer(model, settings, train_dataset=Indexed(Dicts()), callbacks=[callback]).train()
    assert recorder.counts.tolist() == [2] * len(X) and np.isfinite(recorder.scores()).all()
    assert not model._forward_hooks and not model._forward_pre_hooks
    assert mulnb.score(model, X, Y, proxy="loss_curvature").shape == (160,)


def test_lightning_trainer():
    lightning = pytest.importorskip("lightning", reason="lightning is not installed: pip install lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = Convolutional()

        def training_step(self, batch, _):
            x, labels, index = batch
            logits = self.network(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits, "labels": labels, "index": index}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    recorder = mulnb.Recorder(len(X))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", callbacks=[lightning_callback(recorder)], **quiet)
    trainer.fit(Module(), DataLoader(Indexed(TensorDataset(X, Y)), batch_size=32, shuffle=True))
    assert recorder.counts.tolist() == [2] * len(X)


def test_hugging_face_data_sets_are_read():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install datasets")
    from PIL import Image
    from small import forgotten, memorizing

    pictures = [Image.fromarray(image[0]) for image in IMAGES]
    held = datasets.Dataset.from_dict({"image": pictures, "label": LABELS.tolist()}).cast_column("image", datasets.Image())
    expected = mulnb.unlearn(memorizing(), IMAGES, LABELS, forgotten()[0], settings={"epochs": 1, "batch": 32}).model
    found = mulnb.unlearn(memorizing(), held, None, forgotten()[0], settings={"epochs": 1, "batch": 32}).model
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))


def test_what_is_no_batch_of_examples(tmp_path):
    logits = torch.zeros(2, 4)
    for index, labels, words in (
        (["a", "b"], [0, 1], "index is <U1: expected whole numbers"),
        ([0, 1], None, "labels are a NoneType: expected one whole number"),
        ([0, 1], [0.3, 0.7], "labels are not whole numbers"),
    ):
        with pytest.raises(UserError, match=words):
            mulnb.Recorder(3).record(index, logits, labels)
    with pytest.raises(UserError, match=r"the Recorder's file .* is a folder: give the name of a file"):
        mulnb.Recorder(3).save(tmp_path)
