"""ToW and ToW-MIA: how close an unlearned model's numbers are to its oracle's (Zhao et al. 2024, arXiv 2406.01257; METHOD §7).

Plain arithmetic on stored accuracies: no torch, no numpy.
"""

from __future__ import annotations

from collections.abc import Mapping


def tow(unlearned: Mapping[str, float], oracle: Mapping[str, float], first: str = "acc_forget") -> float:
    """Tug-of-war: the product of 1 − |difference to the oracle| over S, R and T.

    Args:
        unlearned: accuracies in [0, 1] under the keys `acc_forget acc_retain acc_test`, as `evaluate` returns them.
        oracle: the same of the model retrained without S.
        first: the key compared on S; `tow_mia` puts the attack's efficacy there.

    Returns:
        A number in [0, 1]; 1 means that the accuracies are those of the oracle.
    """
    product = 1.0

    for key in (first, "acc_retain", "acc_test"):
        product *= 1 - abs(unlearned[key] - oracle[key])

    return product


def tow_mia(unlearned: Mapping[str, float], oracle: Mapping[str, float]) -> float:
    """ToW with the MIA efficacy on S (key `mia`) in place of the accuracy on S; arguments and range as in `tow`."""
    return tow(unlearned, oracle, first="mia")
