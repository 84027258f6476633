"""SCRUB (Kurmanji et al. 2023, arXiv 2302.09880): a student that obeys its teacher on R and disobeys it on S."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulnb.config import Recipe
from mulnb.core.errors import UserError
from mulnb.training import Batch, Examples, fit, predict


def scrub(
    model: nn.Module,
    data: Examples,
    forget: Tensor,
    retain: Tensor,
    *,
    seed: int,
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
    Raises `UserError` for a temperature that is not positive, a negative weight, or `msteps` outside 0 … `epochs`.
    """
    _check(beta, gamma, temperature, msteps, epochs)
    teacher = _outputs(model, data, torch.cat([forget, retain]))

    def divergence(student: Tensor, index: Tensor) -> Tensor:
        p, q = (F.log_softmax(logits / temperature, dim=1) for logits in (teacher[index], student))
        return temperature**2 * F.kl_div(q, p, reduction="batchmean", log_target=True)  # torch's order: KL(p ‖ q)

    def disobey(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        return -divergence(logits, on.index), logits

    def obey(model: nn.Module, on: Batch) -> tuple[Tensor, Tensor]:
        logits = model(on.inputs).float()
        loss = gamma * F.cross_entropy(logits, on.labels)
        return (loss + beta * divergence(logits, on.index) if beta else loss), logits

    def max_pass(epoch: int) -> None:
        if epoch < msteps:
            fit(model, data, Recipe(lr=lr, epochs=1, batch=batch), seed + 1 + epoch, index=forget, objective=disobey)

    def after_min_pass(epoch: int, loss: float) -> bool:
        max_pass(epoch + 1)
        return False

    max_pass(0)
    recipe = Recipe(lr=lr, epochs=epochs, batch=batch)
    return fit(model, data, recipe, seed, index=retain, objective=obey, after_epoch=after_min_pass)


def _outputs(model: nn.Module, data: Examples, index: Tensor) -> Tensor:
    """Logits float32 [N, K] of the examples at `index`: once is enough, since a frozen teacher always says the same."""
    logits = predict(model, data, index)
    return logits.new_zeros(len(data), logits.shape[1]).index_copy_(0, index, logits)


def _check(beta: float, gamma: float, temperature: float, msteps: int, epochs: int) -> None:
    if temperature <= 0:
        raise UserError(f"scrub: temperature = {temperature}: should be positive, 4 is usual")
    if beta < 0 or gamma < 0:
        raise UserError(f"scrub: beta = {beta}, gamma = {gamma}: weights of what is descended on R, neither can be negative")
    if not 0 <= msteps <= epochs:
        raise UserError(f"scrub: msteps = {msteps}: should be between 0 and epochs = {epochs}")
