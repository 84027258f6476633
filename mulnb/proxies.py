"""Cheap stand-ins for memorization (METHOD §3), all oriented so that HIGHER = MORE MEMORIZED.

Most are read off training itself: `recording.SignalRecorder` adds up what the outputs of each step say about each example.
Hold-out retraining and loss curvature only need a trained model, so they also work on a checkpoint from elsewhere.
One entry of `PROXIES` adds a proxy. torch is imported inside functions, so that reading scores does not load it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mulnb.core.errors import UserError
from mulnb.core.registry import PROXIES, Registry
from mulnb.recording import Outputs, SignalRecorder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mulnb.config import HoldoutRetraining
    from mulnb.training import Examples


Direction = Literal["rises", "1 - raw", "-raw"]


@dataclass(frozen=True)
class Proxy:
    """One proxy: what its raw signal is, which way it points, and how it is computed.

    Exactly one of `signal`, `history` and `post_hoc` is set.
    """

    about: str  # the raw signal in words
    unit: str  # of the score, for axes
    direction: Direction = "rises"  # how the raw signal becomes a score that rises with memorization
    signal: Callable[[Outputs], Tensor] | None = None  # outputs of a step → [B], averaged over the epochs of training
    history: Callable[[np.ndarray], np.ndarray] | None = None  # which epochs were right, bool [epochs, N] → [N]
    post_hoc: bool = False  # computed from a trained model (`holdout_retraining`, `loss_curvature`)
    label: str = ""  # the written form; the package's own are in `core.vocabulary`
    paper: bool = False  # one of the six of Zhao & Triantafillou (2024)


def orient(name: str, raw: np.ndarray) -> np.ndarray:
    """Turn a raw signal into a score that rises with memorization. Applied twice, it gives the raw signal back.

    Args:
        name: the proxy.
        raw: its raw signal, [N].

    Returns:
        raw, −raw or 1 − raw, [N].
    """
    direction = PROXIES[name].direction
    if direction == "1 - raw":
        return 1 - raw
    return -raw if direction == "-raw" else raw


def centre(score: str) -> float | Literal["median"]:
    """Where the medium stratum of a score lies (METHOD §4).

    Returns:
        0.5 for memorization, which lies between 0 and 1 for nearly all examples; "median" for a proxy, whose scale is its own.
    """
    return 0.5 if score == "memorization" else "median"


def unit(score: str) -> str:
    """What a score is measured in, for the axes of figures."""
    if score == "memorization":
        return "accuracy lost when left out"
    return PROXIES[score].unit if score in PROXIES else "score"


def forgetting(correct: np.ndarray) -> np.ndarray:
    """How often an example went from right to wrong (Toneva et al. 2019). An example that was never right gets all epochs.

    Args:
        correct: bool [epochs, N], whether the example was classified right.

    Returns:
        Number of events, float32 [N].
    """
    events = (correct[:-1] & ~correct[1:]).sum(0)  # [N]
    never = ~correct.any(0)
    return np.where(never, len(correct), events).astype(np.float32)


def learning_time(correct: np.ndarray) -> np.ndarray:
    """Share of the epochs before an example stays right: 0 if it always was, 1 if it is wrong in the last epoch.

    Args:
        correct: bool [epochs, N], whether the example was classified right.

    Returns:
        float32 [N].
    """
    epochs = len(correct)

    # how many epochs in a row were right, counted backwards from the last
    right_at_the_end = np.cumprod(correct[::-1], axis=0).sum(0)  # [N]
    return ((epochs - right_at_the_end) / epochs).astype(np.float32)


def _margin(out: Outputs) -> Tensor:
    """z_y − max over the other classes, [B]."""
    true = out.labels[:, None]  # [B, 1]
    others = out.logits.scatter(1, true, float("-inf"))  # [B, K], without the true class
    return (out.logits.gather(1, true) - others.amax(1, keepdim=True)).squeeze(1)


def _el2n(out: Outputs) -> Tensor:
    """‖p − onehot(y)‖₂, [B]."""
    # Σ p² with the true class's p_y² replaced by (1 − p_y)²
    squares = out.p.square().sum(1) - out.p_true.square() + (1 - out.p_true).square()
    return squares.clamp(min=0).sqrt()


_OWN = {
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
PROXIES.attach(_OWN)


def _check(name: str, proxy: Proxy) -> None:
    """Raises `UserError` for a proxy from outside that cannot be used."""
    if not isinstance(proxy, Proxy):
        raise UserError(f"proxy '{name}' is a {type(proxy).__name__}: make it with mulnb.proxies.Proxy(about, unit, signal=…)")
    if proxy.direction not in get_args(Direction):
        known = ", ".join(repr(direction) for direction in get_args(Direction))
        raise UserError(f"proxy '{name}': direction = {proxy.direction!r}: should be one of {known}")
    if proxy.post_hoc or (proxy.signal is None) == (proxy.history is None):
        raise UserError(f"proxy '{name}': give either signal or history; those computed from a trained model are mulnb's own")
    if not callable(proxy.signal or proxy.history):
        raise UserError(f"proxy '{name}': its signal or history is no function")


PROXIES.check_entry = _check


def holdout_retraining(
    model: nn.Module,
    data: Examples,
    holdout: Examples,
    settings: HoldoutRetraining,
    seed: int | Sequence[int],
    index: Tensor | None = None,
) -> np.ndarray:
    """How much a model's outputs change when it is fine-tuned on images it has never seen (METHOD §3).

    Fine-tuning stops early after `settings.patience` epochs without a lower training loss. `model` itself is not changed.

    Args:
        model: a trained network, or a `Stack` of k.
        data: the examples to score.
        holdout: the examples to fine-tune on.
        settings: learning rate, epochs, patience and batch size of the fine-tuning.
        seed: draws the order of the fine-tuning, 0 … 2³¹ − 1; k seeds for a stack.
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

    log_p = F.log_softmax(training.predict(model, data, index), dim=-1)  # [n, K] or [k, n, K]
    log_q = F.log_softmax(training.predict(tuned, data, index), dim=-1)

    # ½·Σ(p − q)(log p − log q) is the same sum; the authors clamp probabilities at 1e-10, which bounds the logarithms
    log_p, log_q = log_p.clamp(min=np.log(1e-10)), log_q.clamp(min=np.log(1e-10))
    return (0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)).cpu().numpy()


class _Patience:
    """Ends a training once no network has had a lower loss for `epochs` epochs.

    In a stack, a network whose patience is over goes on training with the others. Its weights of that moment are kept, and
    `restore` puts them back at the end.
    """

    def __init__(self, model: nn.Module, epochs: int) -> None:
        self._model, self._epochs = model, epochs
        self._best: np.ndarray | None = None  # lowest loss of each network, [k]
        self._waited: np.ndarray | None = None  # epochs since then, [k]
        self._ended: dict[int, list[Tensor]] = {}  # network → its weights when its patience ended

    def after_epoch(self, epoch: int, loss: float | Tensor) -> bool:
        """Whether every network's patience is over."""
        losses = np.atleast_1d(np.asarray(loss if isinstance(loss, float) else loss.cpu()))  # [k]
        if self._best is None:
            self._best = np.full(len(losses), np.inf)
            self._waited = np.zeros(len(losses), dtype=int)

        lower = losses < self._best
        self._best = np.where(lower, losses, self._best)
        self._waited = np.where(lower, 0, self._waited + 1)

        over = self._waited >= self._epochs  # [k]
        if len(over) == 1:
            return bool(over[0])

        for j in np.flatnonzero(over):
            if j not in self._ended:
                self._ended[int(j)] = [value.clone() for value in self._model.values(int(j))]
        return len(self._ended) == len(over)

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
    """How much the gradient of the loss with respect to the image changes along its own sign, in eval mode (METHOD §3).

    It takes two gradients for each example. Both are those of the batch's summed loss: in eval mode the examples do not interact,
    so this gives each example's own gradient.

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
    size = getattr(model, "size", None)  # k of a stack
    pieces = index.split(batch if size is None else 64)

    found = []
    with training.frozen(model):
        for piece in pieces:
            x, labels = data.inputs(piece), data.labels[piece]
            if size is not None:
                x, labels = x.expand(size, *x.shape), labels.expand(size, -1)  # [k, B, C, H, W], [k, B]
            found.append(_curvature(model, x, labels, h))
    return torch.cat(found, -1).float().cpu().numpy()  # numpy has no bfloat16


def _curvature(model: nn.Module, x: Tensor, labels: Tensor, h: float) -> Tensor:
    """Of each example of a batch x [B, C, H, W] or [k, B, C, H, W]; [B] or [k, B]."""
    import torch
    import torch.nn.functional as F

    def gradient(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_()
        logits = model(at).float()
        loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum")
        return torch.autograd.grad(loss, at)[0]

    g = gradient(x)  # the shape of x
    sign = g.sign()

    # ‖sign(g)‖₂; a zero gradient has no direction, and the clamp makes its z = 0
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
