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
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mulnb.core import paths
from mulnb.core.errors import UserError, one_line
from mulnb.core.whole import is_whole
from mulnb.proxies import PROXIES, Outputs, Proxy, orient
from mulnb.your_model.adapt import described, logits_of

FORMAT = "mulnb recorder 1"
STEPS = 64  # batches laid aside before they are added up: their logits stay on the device, and nothing waits for it


class Recorder:
    """Adds up what each step of a training says about its examples.

    Attributes:
        n: the number of training examples N; `index` runs from 0 to N − 1.
    """

    def __init__(self, n: int) -> None:
        if not is_whole(n) or n < 1:
            raise UserError(f"Recorder({n!r}): give the number of training examples")

        self.n = int(n)
        try:
            self._counts = np.zeros(self.n, dtype=np.int64)
        except (MemoryError, ValueError):
            raise UserError(f"Recorder({n}): so many examples do not fit into memory") from None
        self._sums = {name: np.zeros(self.n) for name, proxy in PROXIES.items() if proxy.signal is not None}
        self._right: list[np.ndarray] = []  # bool [N] each: the k-th time an example was recorded, it was classified right
        self._aside: list[tuple[np.ndarray, Tensor, Tensor]] = []

    @property
    def counts(self) -> np.ndarray:
        """int64 [N], how often each example was recorded."""
        self._add_up()
        return self._counts

    def record(self, index: Tensor | np.ndarray, logits: Any, labels: Tensor) -> None:
        """Add a batch, as the network saw it in training and before the step.

        Args:
            index: int [B], which examples these are.
            logits: [B, K], a network's output (also an array, or an object with `logits`; [B, 1] is one logit for two classes).
            labels: int [B].

        Raises:
            UserError: they do not fit each other or the recorder.
        """
        try:
            places = np.array(index.detach().cpu().numpy() if isinstance(index, Tensor) else index).reshape(-1)
        except (TypeError, ValueError, RuntimeError):  # ragged, sparse, without data
            raise UserError(f"Recorder: index is a {type(index).__name__}: expected whole numbers 0 … {self.n - 1}") from None
        if places.size == 0:
            return
        if places.dtype.kind not in "biuf":
            raise UserError(f"Recorder: index is {places.dtype}: expected whole numbers 0 … {self.n - 1}")
        if places.dtype.kind not in "iu" or places.min() < 0 or places.max() >= self.n:
            raise UserError(
                f"Recorder: index runs from {places.min()} to {places.max()}: expected whole numbers 0 … {self.n - 1}"
            )
        if len(np.unique(places)) < len(places):
            raise UserError("Recorder: a batch has an example twice: record every example once an epoch")

        if isinstance(logits, np.ndarray) and logits.dtype.kind == "f":
            logits = torch.from_numpy(logits)
        z = logits_of(logits, len(places)).detach().float()  # [B, K]
        try:
            own = torch.as_tensor(labels, device=z.device).detach().reshape(-1)
        except (TypeError, ValueError, RuntimeError):
            raise UserError(f"Recorder: labels are a {type(labels).__name__}: expected one whole number per example") from None
        if len(own) != len(z):
            raise UserError(f"Recorder: labels are {described(own)} for {len(z)} examples")
        if own.is_floating_point() and bool((own != own.round()).any()):
            raise UserError("Recorder: labels are not whole numbers: of mixed labels, give those that an example has of its own")
        own = own.long()

        self._aside.append((places, z.clone(), own.clone()))
        if len(self._aside) == STEPS:
            self._add_up()

    def _add_up(self) -> None:
        """Turn the logits laid aside into sums. Raises `UserError` for logits that are not finite, or labels beyond them."""
        aside, self._aside = self._aside, []
        for places, z, own in aside:
            if not bool(torch.isfinite(z).all()):
                raise UserError("Recorder: the logits are not finite: the training diverged")
            if int(own.min()) < 0 or int(own.max()) >= z.shape[1]:
                raise UserError(f"Recorder: labels run from {int(own.min())} to {int(own.max())} for {z.shape[1]} classes")

            log_p = F.log_softmax(z, dim=1)
            outputs = Outputs(own, z, log_p, log_p.exp())

            for name in self._sums:
                self._sums[name][places] += PROXIES[name].signal(outputs).cpu().numpy()

            while len(self._right) <= self._counts[places].max():
                self._right.append(np.zeros(self.n, dtype=bool))

            right = outputs.correct.cpu().numpy()

            for place, hit in zip(places[right], self._counts[places][right], strict=True):
                self._right[hit][place] = True

            self._counts[places] += 1

    def scores(self, proxy: str = "confidence") -> np.ndarray:
        """A proxy of memorization, float64 [N], oriented: higher = more memorized.

        Args:
            proxy: a proxy that is read off training: "confidence" and others of `mulnb.proxies.PROXIES`.

        Raises:
            UserError: the proxy is unknown, or an example was recorded less often than the others (an epoch is missing).
        """
        known = [name for name, entry in PROXIES.items() if not entry.post_hoc]
        if proxy not in known:
            raise UserError(f"Recorder: proxy '{proxy}' is not read off training: these are {', '.join(known)}")

        self.check()
        entry: Proxy = PROXIES[proxy]
        if entry.history is not None:
            raw = entry.history(np.stack(self._right)).astype(np.float64)  # [epochs, N] -> [N]
        else:
            raw = self._sums[proxy] / self._counts

        return orient(proxy, raw)

    def check(self) -> None:
        """Raises `UserError` unless every example was recorded in every epoch."""
        self._add_up()
        if self._counts.max() == 0:
            raise UserError("Recorder: nothing was recorded: call record(index, logits, labels) in the training loop")

        usual = int(np.bincount(self._counts).argmax())
        odd = np.flatnonzero(self._counts != usual)
        if len(odd):
            raise UserError(
                f"Recorder: example {odd[0]} was recorded {self._counts[odd[0]]} times, most were {usual} times "
                f"({len(odd)} differ): record every batch of every epoch (drop_last=False)"
            )

    def save(self, path: str | Path) -> Path:
        """Write what was recorded as .npz. Returns the path."""
        self._add_up()
        path = paths.file_ending(path, ".npz", "the Recorder's file")
        right = np.packbits(np.array(self._right, dtype=bool).reshape(-1, self.n), axis=1)
        arrays = {"format": np.array(FORMAT), "counts": self._counts, "right": right}
        arrays |= {f"sum_{name}": total for name, total in self._sums.items()}

        return paths.write_file(path, lambda temporary: np.savez_compressed(temporary, **arrays))

    @classmethod
    def load(cls, path: str | Path) -> Recorder:
        """Read a file written by `save`. Raises `UserError` if it is none."""
        try:
            with np.load(paths.given(path, "the Recorder's file"), allow_pickle=False) as found:
                if str(found["format"]) != FORMAT:
                    raise ValueError("another format")

                recorder = cls(len(found["counts"]))
                recorder._counts = found["counts"].copy()
                recorder._right = list(np.unpackbits(found["right"], axis=1, count=recorder.n).astype(bool))
                recorder._sums = {name.removeprefix("sum_"): found[name].copy() for name in found if name.startswith("sum_")}
        except UserError:
            raise
        except Exception as error:  # a damaged file may fail anywhere in the reader
            raise UserError(f"{path} cannot be read as a Recorder's file: {one_line(error)}") from None
        return recorder
