"""SCRUB (Kurmanji et al. 2023, arXiv 2302.09880): a student that obeys its teacher on R and disobeys it on S."""

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
    """Each epoch: in the first `msteps` a pass over S with −KL, then a pass over R with γ·CE + β·KL.

    KL = T²·KL(teacher ‖ student), both softened by the temperature T; the teacher is `model` as it came, in eval mode. RUM's
    authors give no β and γ; 0.001 and 0.99 are those published with SCRUB (α and γ there). The SGD of the max-passes has a
    momentum of its own, zero when a pass begins: SCRUB's single optimizer would carry the ascent on into the first ten steps on
    R, and with small sets that is the whole pass. `msteps` = 0, β = 0 and γ = 1 is fine-tuning, bit for bit.

    Raises:
        UserError: a temperature that is not positive, a negative weight, or `msteps` outside 0 … `epochs`.
    """
    _check(beta, gamma, temperature, msteps, epochs)
    teacher = predict(model, data)  # [N, K] or [k, N, K]: once is enough, a frozen teacher always says the same

    def divergence(student: Tensor, index: Tensor) -> Tensor:
        """KL of each example, averaged over the batch: [] or [k]."""
        taught = teacher[index] if index.dim() == 1 else _of_each(teacher, index)
        log_p, log_q = F.log_softmax(taught / temperature, dim=-1), F.log_softmax(student / temperature, dim=-1)
        kl = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)  # torch's order: KL(p ‖ q)
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
            shifted = seed + 1 + epoch if isinstance(seed, int) else [of_network + 1 + epoch for of_network in seed]
            fit(model, data, Recipe(lr=lr, epochs=1, batch=batch), shifted, index=forget, objective=disobey)

    def after_min_pass(epoch: int, loss: float) -> bool:
        max_pass(epoch + 1)
        return False

    max_pass(0)
    recipe = Recipe(lr=lr, epochs=epochs, batch=batch)
    return fit(model, data, recipe, seed, index=retain, objective=obey, after_epoch=after_min_pass)


def _of_each(teacher: Tensor, index: Tensor) -> Tensor:
    """Rows of every network's own table: `teacher` [k, N, K] at `index` [k, B], [k, B, K]."""
    return teacher.gather(1, index[..., None].expand(-1, -1, teacher.shape[2]))


def _check(beta: float, gamma: float, temperature: float, msteps: int, epochs: int) -> None:
    if temperature <= 0:
        raise UserError(f"scrub: temperature = {temperature}: should be positive, 4 is usual")
    if beta < 0 or gamma < 0:
        raise UserError(f"scrub: beta = {beta}, gamma = {gamma}: weights of what is descended on R, neither can be negative")
    if not 0 <= msteps <= epochs:
        raise UserError(f"scrub: msteps = {msteps}: should be between 0 and epochs = {epochs}")
