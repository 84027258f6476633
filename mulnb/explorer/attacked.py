"""Why the membership attack says what it says: what it was trained on, where it draws its line, and what lies beyond it.

The attack sees one number of an example, the probability of its label. It learns from a sample of R (members) and from T (never
seen), and takes a region of probabilities for "unseen"; the share of the forget set that lies there is the MIA efficacy m.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from mulnb.audit.attack import TIE
from mulnb.core.vocabulary import STRATA
from mulnb.explorer import svg
from mulnb.explorer.outcomes import describe
from mulnb.fast import svc
from mulnb.forget import Strata

GRID, BINS = 2000, 26
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)  # probabilities, where they are in the picture
WIDEST = (-9.0, 14.0)  # log odds: what lies beyond is drawn at the edge


class Attack(NamedTuple):
    """The attack on one model. All places are log odds of the label's probability."""

    member: np.ndarray  # the sample of R that it learns from
    unseen: np.ndarray  # T
    asked: tuple[np.ndarray, ...]  # low, medium and high of the forget set
    region: list[tuple[float, float]]  # where it says "unseen"
    axis: tuple[float, float]  # the ends of the picture


def attack(seen: np.ndarray, unseen: np.ndarray, chosen: Strata, seed: int) -> Attack:
    """Train the attack as `audit.evaluation` does, and find where it says "unseen".

    Args:
        seen: the probability of the label of every training example, by the model attacked [N].
        unseen: the same of the test examples [|T|].
        chosen: the forget set.
        seed: draws the sample of R.
    """
    retained = np.setdiff1d(np.arange(len(seen)), chosen.forget)
    member = seen[np.random.default_rng(seed).permutation(retained)[: len(unseen)]]
    x = np.r_[member, unseen].astype(np.float64)[:, None]
    y = np.repeat([1.0, -1.0], [len(member), len(unseen)])
    classifier = svc.fit(x, y, c=3.0, gamma=1.0)

    asked = tuple(log_odds(seen[part]) for part in chosen)
    everything = np.concatenate([log_odds(member), log_odds(unseen), *asked])
    low, high = np.clip(np.quantile(everything, [0.002, 0.998]), *WIDEST)
    axis = float(low), float(max(high, low + 1))

    grid = np.linspace(*axis, GRID)
    says = classifier.decision(probability(grid)[:, None]) < -TIE
    return Attack(log_odds(member), log_odds(unseen), asked, _runs(grid, says), axis)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """log(p / (1 − p)), within ±40."""
    return logit(np.clip(np.asarray(probabilities, dtype=np.float64), 1e-17, 1 - 1e-16))


def probability(places: np.ndarray) -> np.ndarray:
    """The inverse of `log_odds`."""
    return expit(np.asarray(places, dtype=np.float64))


def _runs(grid: np.ndarray, says: np.ndarray) -> list[tuple[float, float]]:
    """The intervals of `grid` in which `says` is true."""
    found = []
    for true, members in itertools.groupby(range(len(grid)), key=lambda place: bool(says[place])):
        places = list(members)
        if true:
            found.append((float(grid[places[0]]), float(grid[places[-1]])))
    return found


# --- the picture ---------------------------------------------------------------------------------------------------------


def picture(row: Mapping[str, Any] | None, attacks: Mapping[str, Attack]) -> str:
    """The attack on the unlearned model beside that on the oracle.

    Args:
        row: the run that is explained.
        attacks: of "unlearned" and "oracle"; empty for a run that diverged.
    """
    if row is None or not attacks:
        return (
            '<p><b>Why this MIA efficacy?</b></p><p class="note empty">An attacker looks at how sure a model is of an example\'s '
            "label, and says “trained on” or “unseen”. MIA efficacy m is the share of the forget set that passes for unseen. "
            "Where the attacker draws the line appears here after a run.</p>"
        )
    parts = [svg.text(8, 13, f"Why this MIA efficacy m? Run {row['number']}: {describe(row)}", kind="title")]
    parts += _key()
    for left, (name, found) in zip((48, 314), attacks.items(), strict=True):
        efficacy = row["mia"] if name == "unlearned" else row["oracle_mia"]
        parts += _panel(left, f"{name if name == 'oracle' else 'unlearned model'}: m = {efficacy:.3f}", found)
    factor = 1 - abs(row["mia"] - row["oracle_mia"])
    words = f"1 − |{row['mia']:.3f} − {row['oracle_mia']:.3f}| = {factor:.3f}"
    parts.append(svg.text(8, 218, f"The first factor of ToW-MIA: {words}", kind="title"))
    return svg.drawing(560, 224, "Where the membership attack draws its line, for the unlearned model and the oracle", *parts)


def _key() -> list[str]:
    """What lines and shading mean."""
    return [
        svg.line(10, 27, 34, 27, "axis", 'stroke-width="2" style="stroke:var(--ink)"'),
        svg.text(40, 31, "members (of R)"),
        svg.line(150, 27, 174, 27, "axis", 'stroke-width="2" style="stroke:var(--ink)" stroke-dasharray="5 3"'),
        svg.text(180, 31, "never seen (T)"),
        svg.rect(290, 20, 24, 13, "var(--bar)", 0.45),
        svg.text(320, 31, "the attack says “unseen”"),
    ]


def _panel(left: float, title: str, found: Attack) -> list[str]:
    width, top, bottom, rug = 232, 60, 128, 11
    x = svg.Axis(*found.axis, left, left + width)
    floor = bottom + 4 + len(STRATA) * rug

    parts = [svg.text(left, 51, title, kind="title")]
    for low, high in found.region:
        start, stop = float(x(low)), float(x(high))
        parts.append(svg.rect(start, top, stop - start, floor - top, "var(--bar)", 0.45))

    edges = np.linspace(*found.axis, BINS + 1)
    shares = [np.histogram(np.clip(values, *found.axis), edges)[0] / len(values) for values in (found.member, found.unseen)]
    y = svg.Axis(0, max(share.max() for share in shares), bottom, top + 3)
    for share, dash in zip(shares, ("", 'stroke-dasharray="5 3"'), strict=True):
        at, height = np.repeat(edges, 2)[1:-1], np.repeat(share, 2)  # each bin from its left edge to its right one
        parts.append(svg.polyline(x(at), y(height), "var(--ink)", 1.6, f" {dash}"))

    # one tick for every example of the forget set
    for place, (name, values) in enumerate(zip(STRATA, found.asked, strict=True)):
        level = bottom + 4 + place * rug
        ticks = "".join(f"M{x(value):.1f} {level + 1}v{rug - 3}" for value in np.clip(values, *found.axis))
        parts.append(f'<path d="{ticks}" stroke="var(--{name})" stroke-width="1.6" fill="none"/>')
        if left < 100:
            parts.append(svg.text(left - 4, level + 9, "med." if name == "medium" else name, "end"))

    parts.append(svg.line(left, floor, left + width, floor))
    last = -np.inf
    for value in TICKS:
        at = float(log_odds(np.array(value)))
        if found.axis[0] <= at <= found.axis[1] and x(at) - last > 46 and x(at) < left + width - 22:
            last = float(x(at))
            parts.append(svg.line(last, floor, last, floor + 4))
            parts.append(svg.text(last, floor + 16, f"{value:g}", "middle", "soft"))
    parts.append(svg.text(left + width / 2, floor + 31, "probability of the label", "middle"))
    return parts
