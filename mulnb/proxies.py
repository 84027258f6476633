"""Cheap stand-ins for memorization (METHOD §3), all oriented so that HIGHER = MORE MEMORIZED.

Most are read off training itself: `SignalRecorder` adds up what the outputs of each step say about each example. Hold-out
retraining and loss curvature need a finished model only, so they also work on somebody else's checkpoint.
One entry of `PROXIES` adds a proxy. torch is imported where it is used: who only reads scores need not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mulnb.core.registry import PROXIES, Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mulnb.config import HoldoutRetraining
    from mulnb.training import Batch, Examples


@dataclass(frozen=True)
class Outputs:
    """What a training step says about its examples, before its weights move.

    `labels` int64 [B]; `logits`, `log_p` (log-softmax) and `p` (softmax) float32 [B, K].
    """

    labels: Tensor
    logits: Tensor
    log_p: Tensor
    p: Tensor

    @property
    def p_true(self) -> Tensor:
        """Probability of the true class, [B]."""
        return self.p.gather(1, self.labels[:, None]).squeeze(1)

    @property
    def correct(self) -> Tensor:
        """Whether the largest output is the true class, bool [B]."""
        return self.log_p.argmax(1) == self.labels


Direction = Literal["rises", "1 - raw", "-raw"]


@dataclass(frozen=True)
class Proxy:
    """One proxy: what its raw signal is, which way it points, and how it is computed.

    Exactly one of `signal`, `history` and `post_hoc` says how:
    `signal(outputs)` [B] is averaged over the epochs of training; `history(correct)` [N] sees which epochs classified an example
    right, bool [epochs, N]; a `post_hoc` proxy needs a finished model (`holdout_retraining`, `loss_curvature`).
    """

    about: str
    unit: str
    direction: Direction = "rises"  # how the raw signal becomes a score that rises with memorization
    signal: Callable[[Outputs], Tensor] | None = None
    history: Callable[[np.ndarray], np.ndarray] | None = None
    post_hoc: bool = False
    label: str = ""  # as readers see it; those of the package stand in `core.vocabulary`
    paper: bool = False  # one of the six of Zhao & Triantafillou (2024)


def orient(name: str, raw: np.ndarray) -> np.ndarray:
    """Raw signal → score that rises with memorization, [N] each. It is its own inverse."""
    direction = PROXIES[name].direction
    if direction == "1 - raw":
        return 1 - raw
    return -raw if direction == "-raw" else raw


def centre(score: str) -> float | Literal["median"]:
    """Where the medium stratum lies (METHOD §4): memorization has a natural middle, a proxy has its median."""
    return 0.5 if score == "memorization" else "median"


def unit(score: str) -> str:
    """What a score is measured in, for axes."""
    if score == "memorization":
        return "accuracy lost when left out"
    return PROXIES[score].unit if score in PROXIES else "score"


def forgetting(correct: np.ndarray) -> np.ndarray:
    """How often an example went from right to wrong; one that was never right counts every epoch (Toneva et al. 2019).

    Args:
        correct: bool [epochs, N].

    Returns:
        float32 [N].
    """
    events = (correct[:-1] & ~correct[1:]).sum(0)
    never = ~correct.any(0)
    return np.where(never, len(correct), events).astype(np.float32)


def learning_time(correct: np.ndarray) -> np.ndarray:
    """Share of the epochs before an example is right for good: 0 if it always was, 1 if it is wrong in the last one.

    Args:
        correct: bool [epochs, N].

    Returns:
        float32 [N].
    """
    epochs = len(correct)
    right_at_the_end = np.cumprod(correct[::-1], axis=0).sum(0)  # epochs, counted backwards from the last
    return ((epochs - right_at_the_end) / epochs).astype(np.float32)


def _margin(out: Outputs) -> Tensor:
    """z_y − max over the other classes, [B]."""
    true = out.labels[:, None]
    others = out.logits.scatter(1, true, float("-inf"))
    return (out.logits.gather(1, true) - others.amax(1, keepdim=True)).squeeze(1)


def _el2n(out: Outputs) -> Tensor:
    """‖p − onehot(y)‖₂, [B]: the square of the true class's part is (1 − p_y)²."""
    squares = out.p.square().sum(1) - out.p_true.square() + (1 - out.p_true).square()
    return squares.clamp(min=0).sqrt()


PROXIES |= {
    "confidence": Proxy(
        "mean over epochs of the probability of the true class",
        "1 − mean probability of the label",
        "1 - raw",
        signal=lambda out: out.p_true,
        paper=True,
    ),
    "max_confidence": Proxy(
        "mean over epochs of the largest probability",
        "1 − mean largest probability",
        "1 - raw",
        signal=lambda out: out.p.amax(1),
        paper=True,
    ),
    "entropy": Proxy(
        "mean over epochs of the softmax entropy, in nats",
        "nats, mean over epochs",
        signal=lambda out: -(out.p * out.log_p).sum(1),  # from log p: p·log p is 0, not NaN, where p underflows
        paper=True,
    ),
    "binary_accuracy": Proxy(
        "share of epochs in which the example is classified right",
        "share of epochs it was wrong",
        "1 - raw",
        signal=lambda out: out.correct.float(),
        paper=True,
    ),
    "holdout_retraining": Proxy(
        "symmetric KL divergence after fine-tuning on a hold-out set",
        "nats of symmetric KL",
        post_hoc=True,
        paper=True,
    ),
    "loss_curvature": Proxy(
        "change of the input gradient along its own sign",
        "change of the input gradient, L2",
        post_hoc=True,
        paper=True,
    ),
    "cumulative_loss": Proxy(
        "mean over epochs of the loss (CSL, Ravikumar et al. 2025)",
        "nats, mean over epochs",
        signal=lambda out: -out.log_p.gather(1, out.labels[:, None]).squeeze(1),
    ),
    "el2n": Proxy(
        "mean over epochs of ‖p − onehot(y)‖₂ (after Paul et al. 2021)",
        "L2 error, mean over epochs",
        signal=_el2n,
    ),
    "aum": Proxy(
        "mean over epochs of the margin z_y − max z_j (Pleiss et al. 2020)",
        "−mean margin of the logits",
        "-raw",
        signal=_margin,
    ),
    "forgetting": Proxy(
        "changes from right to wrong over the epochs (Toneva et al. 2019)",
        "times it was forgotten",
        history=forgetting,
    ),
    "learning_time": Proxy(
        "share of epochs before the example stays right",
        "share of epochs",
        history=learning_time,
    ),
}


class SignalRecorder:
    """What the training tells about each example, added up from outputs that training computes anyway.

    A step only lays its logits aside. The signals are computed from many steps at once: for a small network thirty small
    operations a step would cost a twentieth of the training itself.

    Args:
        n: number of training examples.
        where: the device of the training.
        networks: k for the training of a stack of k; its signals are then [k, N].
    """

    STEPS = 64  # steps laid aside at most, so that memory does not grow with the data

    def __init__(self, n: int, where: torch.device, networks: int | None = None) -> None:
        import torch

        self._examples = n
        self._shape = (n,) if networks is None else (networks, n)
        n *= networks or 1  # network j's example i has place j·n + i
        self._signals = {name: proxy for name, proxy in PROXIES.items() if proxy.signal is not None}
        self._histories = {name: proxy for name, proxy in PROXIES.items() if proxy.history is not None}
        self._sums = {name: torch.zeros(n, device=where) for name in self._signals}
        self._seen = torch.zeros(n, device=where)
        self._correct: list[Tensor] = []  # one bool [n] an epoch
        self._seconds = dict.fromkeys([*self._signals, *self._histories], 0.0)
        self._aside: list[tuple[Tensor, Tensor, Tensor]] = []
        self._epoch = -1

    def record(self, batch: Batch, logits: Tensor) -> None:
        """Add a batch: `logits` float32 [B, K] or [k, B, K], as they were before the step."""
        new_epoch = batch.epoch != self._epoch
        if new_epoch or len(self._aside) == self.STEPS:
            self._add_up()  # never two epochs at once: an example's values are summed in the order of the epochs
        if new_epoch:
            self._epoch = batch.epoch
            self._correct.append(self._seen.new_zeros(len(self._seen)).bool())
        index = batch.index
        if index.dim() == 2:
            import torch

            index = index + self._examples * torch.arange(len(index), device=index.device)[:, None]
        self._aside.append((index.flatten(), batch.labels.flatten(), logits.detach().flatten(0, -2)))

    def _add_up(self) -> None:
        """Turn the logits laid aside into sums."""
        import torch
        import torch.nn.functional as F

        if not self._aside:
            return
        started = time.perf_counter()
        index, labels, logits = (torch.cat(parts) for parts in zip(*self._aside, strict=True))
        self._aside.clear()
        log_p = F.log_softmax(logits, dim=1)
        outputs = Outputs(labels, logits, log_p, log_p.exp())
        self._seen.index_add_(0, index, torch.ones_like(log_p[:, 0]))
        shared = time.perf_counter() - started

        for name, proxy in self._signals.items():
            started = time.perf_counter()
            self._sums[name].index_add_(0, index, proxy.signal(outputs))
            self._seconds[name] += shared + time.perf_counter() - started

        started = time.perf_counter()
        self._correct[-1][index] = outputs.correct
        for name in self._histories:
            self._seconds[name] += shared + time.perf_counter() - started

    @property
    def seconds(self) -> dict[str, float]:
        """What each signal alone would have cost so far."""
        self._add_up()
        return dict(self._seconds)

    def raw(self) -> dict[str, np.ndarray]:
        """The raw signals, float32 [N] each, or [k, N] of a stack.

        A mean over the epochs in which the example was seen; an example that was never seen has 0.
        """
        self._add_up()
        epochs = self._seen.clamp(min=1)
        found = {name: (total / epochs).cpu().numpy() for name, total in self._sums.items()}
        if self._correct:
            correct = np.stack([epoch.cpu().numpy() for epoch in self._correct])  # [epochs, N]
            found |= {name: proxy.history(correct) for name, proxy in self._histories.items()}
        return {name: raw.reshape(self._shape) for name, raw in found.items()}


def holdout_retraining(
    model: nn.Module,
    data: Examples,
    holdout: Examples,
    settings: HoldoutRetraining,
    seed: int | Sequence[int],
    index: Tensor | None = None,
) -> np.ndarray:
    """How much a model's outputs change when it is fine-tuned on images it has never seen.

    Fine-tuning stops early after `settings.patience` epochs without a lower training loss. `model` itself is not changed.

    Args:
        model: a trained network, or a `Stack` of k.
        data, holdout: the examples to score, and those to fine-tune on.
        settings: learning rate, epochs, patience and batch of the fine-tuning.
        seed: order of the fine-tuning; k seeds for a stack.
        index: int64 [n], the examples of `data` to score (default: all).

    Returns:
        ½·[KL(p‖q) + KL(q‖p)] in nats, float32 [n] or [k, n], between the softmax of `model` and that of the fine-tuned copy.
    """
    import torch.nn.functional as F

    from mulnb import training
    from mulnb.config import Recipe

    tuned = training.clone(model)
    patience = _Patience(tuned, settings.patience)
    recipe = Recipe(epochs=settings.epochs, batch=settings.batch, lr=settings.lr)
    training.fit(tuned, holdout, recipe, seed, after_epoch=patience.after_epoch)
    patience.restore()

    log_p = F.log_softmax(training.predict(model, data, index), dim=-1)
    log_q = F.log_softmax(training.predict(tuned, data, index), dim=-1)
    # ½·Σ(p − q)(log p − log q) is the same sum; the authors clamp probabilities at 1e-10, which bounds the logarithms
    log_p, log_q = log_p.clamp(min=np.log(1e-10)), log_q.clamp(min=np.log(1e-10))
    return (0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)).cpu().numpy()


class _Patience:
    """Ends a training once no network has had a lower loss for `epochs` epochs.

    A network of a stack whose patience ends goes on training with the others; its weights of that moment are put back at the
    end.
    """

    def __init__(self, model: nn.Module, epochs: int) -> None:
        self._model, self._epochs = model, epochs
        self._best: np.ndarray | None = None  # lowest loss of each network, [k]
        self._waited: np.ndarray | None = None  # epochs since then, [k]
        self._ended: dict[int, list[Tensor]] = {}  # network → its weights when its patience ended

    def after_epoch(self, epoch: int, loss: float | Tensor) -> bool:
        """Whether every network's patience is over."""
        losses = np.atleast_1d(np.asarray(loss if isinstance(loss, float) else loss.cpu()))
        if self._best is None:
            self._best, self._waited = np.full(len(losses), np.inf), np.zeros(len(losses), dtype=int)
        lower = losses < self._best
        self._best = np.where(lower, losses, self._best)
        self._waited = np.where(lower, 0, self._waited + 1)

        over = self._waited >= self._epochs
        if len(over) > 1:
            for j in np.flatnonzero(over):
                if j not in self._ended:
                    self._ended[int(j)] = [value.clone() for value in self._model.values(int(j))]
        return bool(over.all()) if len(over) == 1 else len(self._ended) == len(over)

    def restore(self) -> None:
        """Put back what each network of a stack was when its patience ended."""
        import torch

        with torch.no_grad():
            for j, weights in self._ended.items():
                for value, kept in zip(self._model.values(j), weights, strict=True):
                    value.copy_(kept)


def loss_curvature(
    model: nn.Module, data: Examples, h: float = 0.01, index: Tensor | None = None, batch: int = 512
) -> np.ndarray:
    """How much the gradient of the loss with respect to the image changes along its own sign, in eval mode.

    Two gradients an example, both of the batch's summed loss: examples do not interact in eval mode, so that is each example's
    own gradient.

    Args:
        model: a trained network, or a `Stack` of k.
        data: the examples; x is the network's (normalised) input.
        h: length of the step z.
        index: int64 [n], the examples to score (default: all).
        batch: examples at a time.

    Returns:
        ‖∇ₓℓ(x + z) − ∇ₓℓ(x)‖₂, float32 [n] or [k, n], with z = h·sign(g)/‖sign(g)‖₂ and g = ∇ₓℓ(x).
    """
    import torch

    from mulnb import training

    index = torch.arange(len(data), device=data.device) if index is None else index.to(data.device)
    size = getattr(model, "size", None)  # of a stack
    pieces = index.split(batch if size is None else 64)
    found = []
    with training.frozen(model):
        for piece in pieces:
            x, labels = data.inputs(piece), data.labels[piece]
            if size is not None:
                x, labels = x.expand(size, *x.shape), labels.expand(size, -1)
            found.append(_curvature(model, x, labels, h))
    return torch.cat(found, -1).cpu().numpy()


def _curvature(model: nn.Module, x: Tensor, labels: Tensor, h: float) -> Tensor:
    """The curvature of each example of a batch x [B, C, H, W] or [k, B, C, H, W], [B] or [k, B]."""
    import torch
    import torch.nn.functional as F

    def gradient(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_()
        logits = model(at).float()
        loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum")
        return torch.autograd.grad(loss, at)[0]

    g = gradient(x)
    sign = g.sign()
    # a zero gradient has no direction: z = 0
    norm = sign.flatten(-3).norm(dim=-1).clamp(min=1)[..., None, None, None]
    return (gradient(x + h * sign / norm) - g).flatten(-3).norm(dim=-1)


class CurvatureTrace:
    """Mean loss curvature over the epochs of a training: pass `after_epoch` to `training.fit`, read `mean()` and `seconds`."""

    def __init__(self, model: nn.Module, data: Examples, h: float) -> None:
        self._measure: Callable[[], np.ndarray] = lambda: loss_curvature(model, data, h)
        self._total: np.ndarray | float = 0.0
        self._epochs = 0
        self.seconds = 0.0

    def after_epoch(self, epoch: int, loss: Any) -> bool:
        """Measure the network as it is now; never ends the training."""
        started = time.perf_counter()
        self._total = self._total + self._measure()
        self._epochs += 1
        self.seconds += time.perf_counter() - started
        return False

    def mean(self) -> np.ndarray:
        """Mean over the epochs so far, [N] or [k, N]."""
        return np.asarray(self._total) / self._epochs


__all__ = [
    "PROXIES",
    "CurvatureTrace",
    "Outputs",
    "Proxy",
    "Registry",
    "SignalRecorder",
    "centre",
    "forgetting",
    "holdout_retraining",
    "learning_time",
    "loss_curvature",
    "orient",
    "unit",
]
