"""SCRUB: a student that follows its teacher on R and moves away from it on S (Kurmanji et al. 2023, arXiv 2302.09880).

    max-pass over S: loss = −KL(S)          min-pass over R: loss = γ·CE(R) + β·KL(R)

KL(X) is the mean of T²·KL(teacher ‖ student) over X, both distributions softened by the temperature T.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.training import Batch, Examples, fit, mean_loss, predict


def scrub(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed,
    fresh=None,
    beta=0.001,
    gamma=0.99,
    temperature=4.0,
    msteps=4,
    lr=5e-3,
    epochs=5,
    batch=256,
) -> nn.Module:
    """In every epoch, a min-pass over R; before it, in the first `msteps` epochs, a max-pass over S.

    The teacher is `model` as it was given, in eval mode. RUM's authors give no β and γ; 0.001 and 0.99 are the values published
    with SCRUB (α and γ there). Each max-pass has an SGD of its own, whose momentum starts at zero: with SCRUB's single optimizer
    the ascent would continue through the first ten steps on R, which is the whole pass where the sets are small. `msteps` = 0,
    β = 0 and γ = 1 is fine-tuning, bit for bit.

    Args:
        model: the original model, changed in place; a network or a `Stack` of k.
        data: the training examples D.
        forget: S, int64 [n] or [k, n].
        retain: R, int64 [m] or [k, m].
        seed: int ≥ 0, draws the orders of R and of S; k of them for a stack.
        fresh: not used.
        beta: β, the weight of KL(R), ≥ 0.
        gamma: γ, the weight of CE(R), ≥ 0.
        temperature: T, > 0.
        msteps: number of max-passes, 0 … `epochs`.
        lr: learning rate of SGD, > 0.
        epochs: passes over R, ≥ 0.
        batch: examples in a batch, ≥ 2.

    Returns:
        `model`.

    Raises:
        UserError: a temperature that is not positive, a negative weight, or `msteps` outside 0 … `epochs`.
    """
    _check(beta, gamma, temperature, msteps, epochs)
    teacher = predict(model, data)  # [N, K] or [k, N, K], once: a frozen teacher's outputs never change

    def divergence(student: Tensor, index: Tensor) -> Tensor:
        """KL of each example, averaged over the batch: [] or [k]."""
        taught = teacher[index] if index.dim() == 1 else _of_each(teacher, index)  # [B, K] or [k, B, K]
        log_p = F.log_softmax(taught / temperature, dim=-1)
        log_q = F.log_softmax(student / temperature, dim=-1)

        # KL(p ‖ q) of each example; torch takes q first
        kl = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)  # [B] or [k, B]
        return temperature**2 * kl.mean(-1)

    def disobey(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        return -divergence(logits, on.index), logits

    def obey(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        loss = gamma * mean_loss(logits, on.labels)
        if beta:
            loss = loss + beta * divergence(logits, on.index)
        return loss, logits

    def max_pass(epoch: int) -> None:
        if epoch < msteps:
            # another order of S in every pass
            shifted = seed + 1 + epoch if isinstance(seed, int) else [of_network + 1 + epoch for of_network in seed]
            fit(model, data, Recipe(lr=lr, epochs=1, batch=batch), shifted, index=forget, objective=disobey)

    def after_min_pass(epoch: int, loss: float) -> bool:
        max_pass(epoch + 1)
        return False

    max_pass(0)
    recipe = Recipe(lr=lr, epochs=epochs, batch=batch)
    return fit(model, data, recipe, seed, index=retain, objective=obey, after_epoch=after_min_pass)


def _of_each(teacher: Tensor, index: Tensor) -> Tensor:
    """Each network's own rows: `teacher` [k, N, K] at `index` [k, B] gives [k, B, K]."""
    return teacher.gather(1, index[..., None].expand(-1, -1, teacher.shape[2]))


def _check(beta: float, gamma: float, temperature: float, msteps: int, epochs: int) -> None:
    """Reject impossible settings."""
    if temperature <= 0:
        raise UserError(f"scrub: temperature = {temperature}: should be positive, 4 is usual")

    if beta < 0 or gamma < 0:
        raise UserError(f"scrub: beta = {beta}, gamma = {gamma}: the weights of the loss on R cannot be negative")

    if not 0 <= msteps <= epochs:
        raise UserError(f"scrub: msteps = {msteps}: should be between 0 and epochs = {epochs}")
