"""The support vector classifier of the membership attack, in time linear in the number of examples.

It is the classifier that libsvm trains (RBF kernel, hinge loss, bias), at its optimum: the kernel matrix of n examples is
K = GGᵀ to a millionth or better, with far fewer columns in G than examples (ten for one feature in [0, 1]), and with such a K
a Newton step of an interior-point method costs no more than a least-squares fit. libsvm takes time in n², and stops when its
decision values are right to a thousandth or, in badly determined problems, a hundredth; here they are nearer to the optimum.

Sources: Fine & Scheinberg, "Efficient SVM training using low-rank kernel representations" (JMLR 2, 2001); Mehrotra, "On the
implementation of a primal-dual interior point method" (SIAM J. Optimization 2, 1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# The most that an entry of K may be off (K is 1 on its diagonal). One feature needs ten or twenty columns for any accuracy, a
# vector of probabilities some hundred for a millionth.
RESIDUAL, RESIDUAL_VECTOR = 1e-9, 1e-6
GAP = 1e-12  # complementarity, an example, at which the optimum counts as found
# of many equal examples only the sum of their α is determined: there, rounding takes over before GAP is reached
ROUGH_GAP, ROUGH_GRADIENT = 1e-8, 1e-5
STEPS = 100  # Newton steps at most; some twenty are usual


@dataclass(frozen=True)
class Classifier:
    """f(x) = w·φ(x) + b; above 0 for the class labelled +1."""

    gamma: float
    landmarks: Tensor  # [r, d], the examples whose kernels span those of all
    factor: Tensor  # [r, r], lower triangular: the rows of G at the landmarks
    w: Tensor  # [r]
    b: float

    def decision(self, x: Tensor) -> Tensor:
        """f of float64 x [m, d], [m]."""
        return torch.linalg.solve_triangular(self.factor, _kernel(self.landmarks, x, self.gamma), upper=False).T @ self.w + self.b


def fit(x: Tensor, y: Tensor, c: float, gamma: float) -> Classifier:
    """The SVC of examples x [n, d] with labels y [n] of ±1, both float64, both labels present.

    Minimises ½‖w‖² + c·Σ max(0, 1 − y·f(x)), with the kernel exp(−gamma·‖x − x′‖²). Raises `ArithmeticError` if x or y is not
    finite.
    """
    g, pivots = _factor(x, gamma)
    v = g * y[:, None]
    alpha, b = _optimum(v, y, c)
    return Classifier(gamma, x[pivots], g[pivots], v.T @ alpha, b)


def _kernel(a: Tensor, b: Tensor, gamma: float) -> Tensor:
    # exact differences: by the usual expansion, two nearly equal examples would be too far apart
    return torch.exp(-gamma * torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square())


def _factor(x: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """G [n, r] with GGᵀ = K but for the residual, and the r pivots: Cholesky's method, the example that is worst off first."""
    residual = RESIDUAL if x.shape[1] == 1 else RESIDUAL_VECTOR
    left = torch.ones(len(x), dtype=torch.float64)  # what is missing of K's diagonal
    g = torch.empty(len(x), min(len(x), 16), dtype=torch.float64)
    pivots: list[int] = []
    while len(pivots) < len(x) and left[worst := int(left.argmax())] > residual:
        r = len(pivots)
        if r == g.shape[1]:
            g = torch.cat([g, torch.empty_like(g)], 1)
        column = _kernel(x, x[worst : worst + 1], gamma).squeeze(1) - g[:, :r] @ g[worst, :r]
        g[:, r] = column / left[worst].sqrt()
        left = (left - g[:, r].square()).clamp_(min=0)
        left[worst] = 0
        pivots.append(worst)
    return g[:, : len(pivots)].contiguous(), torch.tensor(pivots)


class _Point(NamedTuple):
    """Where the method stands, or a step of it: α and c − α, their multipliers s and u, all [n], and b."""

    alpha: Tensor
    room: Tensor
    s: Tensor
    u: Tensor
    b: float

    @property
    def gap(self) -> float:
        """0 at the optimum, where each of α ≥ 0 and α ≤ c is tight or has no force."""
        return float(self.alpha @ self.s + self.room @ self.u) / (2 * len(self.alpha))

    def moved(self, step: _Point, length: float) -> _Point:
        return _Point(*(own + length * change for own, change in zip(self, step, strict=True)))

    def reach(self, step: _Point) -> float:
        """The longest part of `step`, up to all of it, with which the first four stay positive."""
        return min(1.0, *(-1 / min(-1e-300, float((change / own).min())) for own, change in zip(self[:4], step, strict=False)))


class _Newton:
    """The steps from one point: (vvᵀ + diag d)·Δα + y·Δb = h with yᵀΔα = −yᵀα, d positive and vvᵀ of rank r.

    By Woodbury's identity that is one system of r equations, factored once for all right-hand sides.
    """

    def __init__(self, at: _Point, v: Tensor, y: Tensor) -> None:
        self._at, self._y = at, y
        self._missing = 1 + at.s - at.u - v @ (v.T @ at.alpha) - at.b * y  # of the gradient to be zero
        self._d = at.s / at.alpha + at.u / at.room
        self._scaled = v / self._d[:, None]
        inner = v.T @ self._scaled
        inner.diagonal().add_(1.0)
        self._lower, failed = torch.linalg.cholesky_ex(inner)
        if int(failed):
            raise ArithmeticError("the classifier's examples are not finite")
        self._along_y = self._solve(y)

    @property
    def missing(self) -> float:
        return float(self._missing.abs().max())

    def _solve(self, h: Tensor) -> Tensor:
        return h / self._d - self._scaled @ torch.cholesky_solve((self._scaled.T @ h)[:, None], self._lower).squeeze(1)

    def step(self, low: Tensor, high: Tensor) -> _Point:
        """The step that changes α·s by `low` and (c − α)·u by `high`, to first order."""
        at, y = self._at, self._y
        free = self._solve(self._missing + low / at.alpha - high / at.room)
        db = float(y @ free + y @ at.alpha) / float(y @ self._along_y)
        da = free - db * self._along_y
        return _Point(da, -da, (low - at.s * da) / at.alpha, (high + at.u * da) / at.room, db)


def _optimum(v: Tensor, y: Tensor, c: float) -> tuple[Tensor, float]:
    """α [n] and b of the dual: min ½‖vᵀα‖² − Σα with yᵀα = 0 and 0 ≤ α ≤ c."""
    half, one = torch.full_like(y, c / 2), torch.ones_like(y)
    at = _Point(half, half, one, one, 0.0)
    for _ in range(STEPS):
        newton = _Newton(at, v, y)
        if at.gap < GAP or (at.gap < ROUGH_GAP and newton.missing > ROUGH_GRADIENT):
            break
        # Mehrotra: where would the step to gap 0 lead, and what does the curvature on the way ask for
        try_out = newton.step(-at.alpha * at.s, -at.room * at.u)
        aim = at.gap * (at.moved(try_out, at.reach(try_out)).gap / at.gap) ** 3
        step = newton.step(aim - at.alpha * at.s - try_out.alpha * try_out.s, aim - at.room * at.u - try_out.room * try_out.u)
        at = at.moved(step, 0.995 * at.reach(step))
    return at.alpha, _bias(at, v, y)


def _bias(at: _Point, v: Tensor, y: Tensor) -> float:
    """b, as libsvm chooses it: where no α is between 0 and c it is not unique, and the middle is taken."""
    none, all_of_it = at.alpha < at.s, at.room < at.u
    if not (none | all_of_it).all():
        return at.b
    bounds = y - y * (v @ (v.T @ at.alpha))  # the b at which each example is on the margin
    low = ((y > 0) & none) | ((y < 0) & all_of_it)
    return float(bounds[low].max() + bounds[~low].min()) / 2
