"""A `Recorder` in other people's training loops: callbacks for Hugging Face's Trainer and for Lightning.

Neither package is needed unless its callback is made. Both need each example's index in the batch: `Indexed(dataset)` adds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from mulnb.core.errors import UserError
from mulnb.your_model.recorder import Recorder

INDEX = "example_index"  # the key of the index in a batch


class Indexed(Dataset):
    """A data set whose items say which example they are: dicts get the key `example_index`, tuples an element at the end."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        if isinstance(item, Mapping):
            return {**item, INDEX: index}
        return (*item, index)


def trainer_callback(recorder: Recorder, model: Any) -> Any:
    """A callback for Hugging Face's `Trainer` that records every training batch.

    Args:
        recorder: what it fills.
        model: the model of the Trainer, whose outputs have `logits`. Its forward pass is watched, and `example_index` is taken
            out of the batch before the model sees it.

    Returns:
        A `transformers.TrainerCallback`: `Trainer(…, callbacks=[trainer_callback(recorder, model)])`, with
        `TrainingArguments(remove_unused_columns=False)` so that the index stays in the batch.

    Raises:
        UserError: transformers is not installed.
    """
    try:
        from transformers import TrainerCallback
    except ImportError:
        raise UserError(
            "trainer_callback needs the package transformers: pip install 'mulnb[huggingface]', or call recorder.record"
        ) from None

    kept: dict[str, Any] = {}

    def before(module: Any, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        kept["index"], kept["labels"] = inputs.pop(INDEX, None), inputs.get("labels")
        return args, inputs

    def after(module: Any, args: Any, output: Any) -> None:
        if not module.training:
            return
        if kept.get("index") is not None and kept.get("labels") is None:
            raise UserError(
                "Recorder: the model is not given the labels (label smoothing or a compute_loss_func takes them out): "
                "call recorder.record in compute_loss"
            )
        if kept.get("index") is None:
            raise UserError(
                "Recorder: the batch has no example_index: give Trainer(train_dataset=Indexed(dataset)) and "
                "TrainingArguments(remove_unused_columns=False)"
            )
        recorder.record(kept["index"], output, kept["labels"])

    class _Callback(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.handles = [model.register_forward_pre_hook(before, with_kwargs=True), model.register_forward_hook(after)]

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            for handle in self.handles:
                handle.remove()

    return _Callback()


def lightning_callback(recorder: Recorder) -> Any:
    """A callback for Lightning's `Trainer`.

    `training_step` must return a dict with `loss`, `logits`, `labels` and `index` (`example_index` of an `Indexed` data set).

    Raises:
        UserError: lightning is not installed.
    """
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        try:
            from pytorch_lightning.callbacks import Callback
        except ImportError:
            raise UserError(
                "lightning_callback needs the package lightning: pip install 'mulnb[lightning]', or call recorder.record"
            ) from None

    class _Callback(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            missing = {"logits", "labels", "index"} - set(outputs if isinstance(outputs, Mapping) else ())
            if missing:
                raise UserError(f"Recorder: training_step returns no {', '.join(sorted(missing))}: return them beside the loss")
            recorder.record(outputs["index"], outputs["logits"], outputs["labels"])

    return _Callback()
