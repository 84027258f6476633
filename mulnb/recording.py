"""What a training tells about each example while it runs (METHOD §3).

`SignalRecorder` sees every step's logits and adds up the signals of the proxies that are read off training. It is passed to
`training.fit`; `mulnb.proxies` says which signals there are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mulnb.core.errors import UserError
from mulnb.core.registry import PROXIES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mulnb.proxies import Proxy
    from mulnb.training import Batch


@dataclass(frozen=True)
class Outputs:
    """What a training step says about its examples, before its weights move.

    A proxy's `signal` reads these.
    """

    labels: Tensor  # int64 [B]
    logits: Tensor  # float32 [B, K]
    log_p: Tensor  # log-softmax of the logits, [B, K]
    p: Tensor  # softmax of the logits, [B, K]

    @property
    def p_true(self) -> Tensor:
        """Probability of the true class, [B]."""
        return self.p.gather(1, self.labels[:, None]).squeeze(1)

    @property
    def correct(self) -> Tensor:
        """Whether the largest output is the true class, bool [B]."""
        return self.log_p.argmax(1) == self.labels


class SignalRecorder:
    """Adds up what a training tells about each example, from outputs that the training computes anyway.

    A step only keeps its logits. The signals are computed from many steps at once: for a small network thirty small operations
    a step would cost a twentieth of the training itself.

    Args:
        n: number of training examples.
        where: the device of the training.
        networks: k for the training of a stack of k; its signals are then [k, N].
    """

    STEPS = 64  # steps kept at most, so that memory does not grow with the data

    def __init__(self, n: int, where: torch.device, networks: int | None = None) -> None:
        import torch

        self._examples = n
        self._shape = (n,) if networks is None else (networks, n)
        n *= networks or 1  # network j's example i has place j·n + i

        self._signals: dict[str, Proxy] = {}  # added up step by step
        self._histories: dict[str, Proxy] = {}  # computed at the end, from which epochs were right
        for name, proxy in PROXIES.items():
            if proxy.signal is not None:
                self._signals[name] = proxy
            elif proxy.history is not None:
                self._histories[name] = proxy

        self._sums = {name: torch.zeros(n, device=where) for name in self._signals}
        self._seen = torch.zeros(n, device=where)  # epochs in which an example was seen
        self._correct: list[Tensor] = []  # bool [n] for each epoch
        self._seconds = dict.fromkeys([*self._signals, *self._histories], 0.0)

        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []  # index [k·B], labels [k·B] and logits [k·B, K] of each step
        self._epoch = -1

    def record(self, batch: Batch, logits: Tensor) -> None:
        """Add a training step.

        Args:
            batch: what the step saw.
            logits: float32 [B, K] or [k, B, K], as they were before the step.
        """
        new_epoch = batch.epoch != self._epoch
        if new_epoch or len(self._kept) == self.STEPS:
            self._add_up()  # never two epochs at once: an example's values are summed in the order of the epochs

        if new_epoch:
            self._epoch = batch.epoch
            self._correct.append(self._seen.new_zeros(len(self._seen)).bool())

        index = batch.index
        if index.dim() == 2:
            import torch

            # [k, B], places of the examples of every network
            index = index + self._examples * torch.arange(len(index), device=index.device)[:, None]
        self._kept.append((index.flatten(), batch.labels.flatten(), logits.detach().flatten(0, -2)))

    def _add_up(self) -> None:
        """Turn the logits of the kept steps into sums."""
        import torch
        import torch.nn.functional as F

        if not self._kept:
            return

        # n = the examples of all kept steps
        started = time.perf_counter()
        index, labels, logits = map(torch.cat, zip(*self._kept, strict=True))  # [n], [n], [n, K]
        self._kept.clear()

        log_p = F.log_softmax(logits, dim=1)  # [n, K]
        outputs = Outputs(labels, logits, log_p, log_p.exp())
        self._seen.index_add_(0, index, torch.ones_like(log_p[:, 0]))
        shared = time.perf_counter() - started

        for name, proxy in self._signals.items():
            started = time.perf_counter()
            self._sums[name].index_add_(0, index, _of_signal(name, proxy, outputs))
            self._seconds[name] += shared + time.perf_counter() - started

        started = time.perf_counter()
        self._correct[-1][index] = outputs.correct
        for name in self._histories:
            self._seconds[name] += shared + time.perf_counter() - started

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds that each signal alone would have cost so far."""
        self._add_up()
        return dict(self._seconds)

    def raw(self) -> dict[str, np.ndarray]:
        """The raw signals so far.

        Returns:
            By name float32 [N], or [k, N] of a stack: the mean over the epochs in which the example was seen. An example that
            was never seen has 0.
        """
        self._add_up()
        epochs = self._seen.clamp(min=1)

        found = {}
        for name, total in self._sums.items():
            found[name] = (total / epochs).cpu().numpy().reshape(self._shape)

        if self._correct:
            correct = np.stack([epoch.cpu().numpy() for epoch in self._correct])  # [epochs, k·N]
            for name, proxy in self._histories.items():
                found[name] = _of_history(name, proxy, correct).reshape(self._shape)

        for name in PROXIES.added.keys() & found.keys():  # where the network itself did not diverge
            finite = np.isfinite(found[name])
            if not finite.all() and np.isfinite(found["confidence"]).all():
                place = int(np.flatnonzero(~finite)[0]) % self._examples
                raise UserError(f"proxy '{name}': its value for example {place} is not finite")
        return found


def _of_signal(name: str, proxy: Proxy, outputs: Outputs) -> Tensor:
    """What a proxy says of a step, float32 [n]. Raises `UserError` for anything but a number per example."""
    import torch

    values = proxy.signal(outputs)
    if not isinstance(values, torch.Tensor) or values.shape != outputs.labels.shape or values.is_complex():
        kind = f"{values.dtype} {list(values.shape)}" if hasattr(values, "shape") else f"a {type(values).__name__}"
        raise UserError(
            f"proxy '{name}': its signal gives {kind}: expected a tensor, a number per example [{len(outputs.labels)}]"
        )
    return values.detach().float()


def _of_history(name: str, proxy: Proxy, correct: np.ndarray) -> np.ndarray:
    """What a proxy says of the epochs that were right, bool [epochs, n], as floats [n]. Raises `UserError` likewise."""
    values = np.asarray(proxy.history(correct))
    if values.shape != correct.shape[1:] or values.dtype.kind not in "biuf":
        raise UserError(
            f"proxy '{name}': its history gives {values.dtype} {list(values.shape)}: expected a number per example "
            f"[{correct.shape[1]}]"
        )
    # whole numbers without a sign would wrap around when they are turned
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
