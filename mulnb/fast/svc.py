"""The support vector classifier of the membership attack, in time linear in the number of examples.

It is the classifier that libsvm trains (RBF kernel, hinge loss, bias), at its optimum. The kernel matrix of n examples is written
as K = GᵀG, exact to 1e-5 or better, where G has far fewer rows than examples (ten for one feature in [0, 1]). With such
a K, a Newton step of an interior-point method costs no more than a least-squares fit. libsvm takes time in n² and stops when its
decision values are right to a thousandth, or to a hundredth in badly determined problems; here they are right to a thousandth.

Sources: Fine & Scheinberg, "Efficient SVM training using low-rank kernel representations" (JMLR 2, 2001); Mehrotra, "On the
implementation of a primal-dual interior point method" (SIAM J. Optimization 2, 1992).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from threadpoolctl import ThreadpoolController

# The largest error of an entry of K (K is 1 on its diagonal). One feature needs ten or twenty rows of G for any accuracy. Of a
# hundred probabilities, 1e-6 needs a thousand rows and 1e-5 a quarter of them, in a twelfth of the time; decision values move
# by less than 1e-3 then.
RESIDUAL, RESIDUAL_VECTOR = 1e-9, 1e-5

GAP = 1e-12  # complementarity per example at which the optimum counts as found

# With duplicate examples only the sum of their α is determined: stop at this looser gap, before rounding takes over.
ROUGH_GAP, ROUGH_GRADIENT = 1e-8, 1e-5

_ALONE = threading.Lock()
STEPS = 100  # Newton steps at most; about twenty are usual


@dataclass(frozen=True)
class Classifier:
    """f(x) = w·φ(x) + b; above 0 for the class labelled +1."""

    gamma: float
    landmarks: ndarray  # [r, d], the examples whose kernels span those of all
    factor: ndarray  # [r, r], lower triangular: the columns of G at the landmarks, transposed
    w: ndarray  # [r]
    b: float

    def decision(self, x: ndarray) -> ndarray:
        """The decision values of float64 x [m, d], float64 [m]."""
        kernel = np.stack([_kernel(landmark, x, self.gamma) for landmark in self.landmarks])  # [r, m]
        with _one_thread():
            features = np.linalg.solve(self.factor, kernel)  # [r, m], columns of G for x

        return self.w @ features + self.b


def fit(x: ndarray, y: ndarray, c: float, gamma: float) -> Classifier:
    """Train the classifier: minimise ½‖w‖² + c·Σ max(0, 1 − y·f(x)), with the kernel exp(−gamma·‖x − x′‖²).

    Args:
        x: examples, float64 [n, d].
        y: labels ±1, float64 [n]; both must occur.
        c: the weight of the hinge losses.
        gamma: of the kernel.

    Returns:
        The classifier at its optimum.

    Raises:
        ArithmeticError: x or y is not finite.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ArithmeticError("the classifier's examples are not finite")

    with _one_thread():
        g, pivots = _factor(x, gamma)
        v = g * y  # [r, n]
        alpha, b = _optimum(v, y, c)

    return Classifier(gamma, x[pivots], g[:, pivots].T, v @ alpha, b)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One BLAS thread: two, beside a busy process, take ten times as long. The number is the process's, so one at a time."""
    with _ALONE, _libraries().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _kernel(centre: ndarray, x: ndarray, gamma: float) -> ndarray:
    """The kernel of one example [d] with each of x [n, d], [n]."""
    # exact differences: the usual expansion ‖a‖² − 2a·b + ‖b‖² loses the distance of two nearly equal examples
    difference = x - centre
    return np.exp(-gamma * np.einsum("nd,nd->n", difference, difference))


def _factor(x: ndarray, gamma: float) -> tuple[ndarray, list[int]]:
    """G [r, n] with GᵀG = K up to the residual, and the r pivots: Cholesky's method, the worst approximated example first."""
    residual = RESIDUAL if x.shape[1] == 1 else RESIDUAL_VECTOR
    left = np.ones(len(x))  # [n], what GᵀG still lacks of K's diagonal
    g = np.empty((min(len(x), 16), len(x)))
    pivots: list[int] = []

    while len(pivots) < len(x):
        worst = int(left.argmax())
        if not left[worst] > residual:
            break

        r = len(pivots)
        if r == len(g):  # full: double the rows
            g = np.concatenate([g, np.empty_like(g)])

        kernel = _kernel(x[worst], x, gamma)  # [n]
        g[r] = (kernel - g[:r, worst] @ g[:r]) / np.sqrt(left[worst])

        left = np.maximum(left - np.square(g[r]), 0)
        left[worst] = 0
        pivots.append(worst)

    return g[: len(pivots)], pivots


class _Point(NamedTuple):
    """Where the method stands, or a step of it."""

    alpha: ndarray  # [n], the dual variables
    room: ndarray  # [n], c − α
    s: ndarray  # [n], the multipliers of α ≥ 0
    u: ndarray  # [n], the multipliers of α ≤ c
    b: float

    @property
    def gap(self) -> float:
        """Mean complementarity: 0 at the optimum, where each bound on α is tight or has a multiplier of 0."""
        return float(self.alpha @ self.s + self.room @ self.u) / (2 * len(self.alpha))

    def moved(self, step: _Point, length: float) -> _Point:
        """The point after `length` times `step`."""
        return _Point(
            self.alpha + length * step.alpha,
            self.room + length * step.room,
            self.s + length * step.s,
            self.u + length * step.u,
            self.b + length * step.b,
        )

    def reach(self, step: _Point) -> float:
        """The largest fraction of `step`, at most 1, that keeps α, c − α and both multipliers from going below 0."""
        longest = 1.0
        bounded = ((self.alpha, step.alpha), (self.room, step.room), (self.s, step.s), (self.u, step.u))  # b is free

        for value, change in bounded:
            fastest = float((change / value).min())  # relative change; −2 means that 0 is reached half-way
            if fastest < 0:
                longest = min(longest, -1 / fastest)

        return longest


class _Newton:
    """The Newton steps from one point: (vᵀv + diag d)·Δα + y·Δb = h with yᵀΔα = −yᵀα, d positive and v of r rows.

    By Woodbury's identity this is one system of r equations.
    """

    def __init__(self, at: _Point, v: ndarray, y: ndarray) -> None:
        self._at, self._y = at, y
        self._missing = 1 + at.s - at.u - (v @ at.alpha) @ v - at.b * y  # what the gradient lacks to be 0

        self._scale = 1 / np.sqrt(at.s / at.alpha + at.u / at.room)  # [n], 1/√d
        self._scaled = v * self._scale
        self._inner = self._scaled @ self._scaled.T + np.eye(len(v))  # [r, r]
        self._along_y = self._solve(y)

    @property
    def missing(self) -> float:
        """The largest entry of the gradient."""
        return float(np.abs(self._missing).max())

    def _solve(self, h: ndarray) -> ndarray:
        """(vᵀv + diag d)⁻¹ h, [n]."""
        h = h * self._scale
        inner = np.linalg.solve(self._inner, self._scaled @ h)  # [r]
        return (h - inner @ self._scaled) * self._scale

    def step(self, low: ndarray, high: ndarray) -> _Point:
        """The step that changes α·s by `low` and (c − α)·u by `high`, to first order."""
        at, y = self._at, self._y

        free = self._solve(self._missing + low / at.alpha - high / at.room)
        db = float(y @ free + y @ at.alpha) / float(y @ self._along_y)
        da = free - db * self._along_y

        return _Point(da, -da, (low - at.s * da) / at.alpha, (high + at.u * da) / at.room, db)


def _optimum(v: ndarray, y: ndarray, c: float) -> tuple[ndarray, float]:
    """α [n] and b of the dual problem: min ½‖vα‖² − Σα with yᵀα = 0 and 0 ≤ α ≤ c."""
    half, ones = np.full_like(y, c / 2), np.ones_like(y)
    at = _Point(half, half, ones, ones, 0.0)

    for _ in range(STEPS):
        if at.gap < GAP:  # before the next system is factored: it is singular where examples are equal
            break
        newton = _Newton(at, v, y)
        if at.gap < ROUGH_GAP and newton.missing > ROUGH_GRADIENT:
            break

        # Mehrotra's predictor: how far could the step to gap 0 go, and what gap would it leave
        predicted = newton.step(-at.alpha * at.s, -at.room * at.u)
        aim = at.gap * (at.moved(predicted, at.reach(predicted)).gap / at.gap) ** 3

        # the corrector aims at that gap and accounts for the curvature that the prediction left out
        low = aim - at.alpha * at.s - predicted.alpha * predicted.s
        high = aim - at.room * at.u - predicted.room * predicted.u
        step = newton.step(low, high)
        at = at.moved(step, 0.995 * at.reach(step))

    return at.alpha, _bias(at, v, y)


def _bias(at: _Point, v: ndarray, y: ndarray) -> float:
    """b, chosen as libsvm does: where no α lies between 0 and c, b is not unique and the middle of its interval is taken."""
    at_zero, at_c = at.alpha < at.s, at.room < at.u
    if not (at_zero | at_c).all():
        return at.b

    bounds = y - y * ((v @ at.alpha) @ v)  # [n], the b at which each example is on the margin
    low = ((y > 0) & at_zero) | ((y < 0) & at_c)

    return float(bounds[low].max() + bounds[~low].min()) / 2
