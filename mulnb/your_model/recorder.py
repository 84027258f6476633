"""`mulnb.Recorder`: the training signals of METHOD §3, recorded in anybody's training loop.

The paper's best proxies are read off training, epoch by epoch, which a finished model cannot give. Two lines in a loop keep them:

    recorder = mulnb.Recorder(len(dataset))
    for epoch in range(epochs):
        for index, x, y in loader:              # the data set returns each example's index
            logits = model(x)
            recorder.record(index, logits, y)   # before the step; a few operations on the batch
            ...
    scores = recorder.scores("confidence")      # [N], higher = more memorized
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import orient
from mulnb.your_model.adapt import described, first_line, logits_of

SIGNALS = ("confidence", "max_confidence", "entropy", "binary_accuracy")
FORMAT = "mulnb recorder 1"


class Recorder:
    """Sums four signals per example over the epochs of a training.

    Attributes:
        n: the number of training examples N; `index` runs from 0 to N − 1.
        counts: int64 [N], how often each example was recorded.
    """

    def __init__(self, n: int) -> None:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise UserError(f"Recorder({n!r}): give the number of training examples")
        self.n = int(n)
        self.counts = np.zeros(self.n, dtype=np.int64)
        self._sums = {name: np.zeros(self.n) for name in SIGNALS}

    def record(self, index: Tensor | np.ndarray, logits: Tensor, labels: Tensor) -> None:
        """Add a batch, as the network saw it in training and before the step.

        Args:
            index: int [B], which examples these are. They may repeat.
            logits: [B, K], a network's output (also an object with `logits`; [B, 1] is one logit for two classes).
            labels: int [B].

        Raises:
            UserError: they do not fit each other or the recorder, or a logit is not finite.
        """
        places = np.asarray(index.detach().cpu() if isinstance(index, Tensor) else index).reshape(-1)
        if places.size == 0:
            return
        if places.dtype.kind not in "iu" or places.min() < 0 or places.max() >= self.n:
            raise UserError(
                f"Recorder: index runs from {places.min()} to {places.max()}: expected whole numbers 0 … {self.n - 1}"
            )
        z = logits_of(logits, len(places)).detach().float()  # [B, K]
        own = torch.as_tensor(labels, device=z.device).reshape(-1).long()
        if len(own) != len(z) or int(own.min()) < 0 or int(own.max()) >= z.shape[1]:
            raise UserError(f"Recorder: labels are {described(own)} up to {int(own.max())} for logits {list(z.shape)}")
        log_p = F.log_softmax(z, dim=1)  # p·log p is 0, not NaN, when p underflows
        p = log_p.exp()
        signals = {
            "confidence": p.gather(1, own[:, None]).squeeze(1),
            "max_confidence": p.amax(1),
            "entropy": -(p * log_p).sum(1),
            "binary_accuracy": (log_p.argmax(1) == own).float(),
        }
        if not bool(torch.isfinite(signals["entropy"]).all()):
            raise UserError("Recorder: the logits are not finite: the training diverged")
        for name, values in signals.items():
            np.add.at(self._sums[name], places, values.cpu().numpy())
        np.add.at(self.counts, places, 1)

    def scores(self, proxy: str = "confidence") -> np.ndarray:
        """A proxy of memorization, float64 [N], oriented: higher = more memorized.

        Args:
            proxy: "confidence", "max_confidence", "entropy" or "binary_accuracy".

        Raises:
            UserError: the proxy is unknown, or an example was recorded less often than the others (an epoch is missing).
        """
        if proxy not in SIGNALS:
            raise UserError(f"Recorder: proxy '{proxy}' is unknown: known are {', '.join(SIGNALS)}")
        self.check()
        return orient(proxy, self._sums[proxy] / self.counts)

    def check(self) -> None:
        """Raises `UserError` unless every example was recorded in every epoch."""
        if self.counts.max() == 0:
            raise UserError("Recorder: nothing was recorded: call record(index, logits, labels) in the training loop")
        usual = int(np.bincount(self.counts).argmax())
        odd = np.flatnonzero(self.counts != usual)
        if len(odd):
            raise UserError(
                f"Recorder: example {odd[0]} was recorded {self.counts[odd[0]]} times, most were {usual} times "
                f"({len(odd)} differ): record every batch of every epoch (drop_last=False)"
            )

    def save(self, path: str | Path) -> Path:
        """Write what was recorded as .npz. Returns the path."""
        path = Path(path).expanduser()
        path = path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")
        arrays = {"format": np.array(FORMAT), "counts": self.counts, **self._sums}
        return paths.write_file(path, lambda temporary: np.savez_compressed(temporary, **arrays))

    @classmethod
    def load(cls, path: str | Path) -> Recorder:
        """Read a file written by `save`. Raises `UserError` if it is none."""
        try:
            with np.load(Path(path).expanduser(), allow_pickle=False) as found:
                if str(found["format"]) != FORMAT:
                    raise ValueError("another format")
                recorder = cls(len(found["counts"]))
                recorder.counts = found["counts"].copy()
                recorder._sums = {name: found[name].copy() for name in SIGNALS}
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} cannot be read as a Recorder's file: {first_line(error)}") from None
        return recorder
