"""Phrases for captions and tables that are computed from the data they describe."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mulnb.core.vocabulary import CEILING

HARDLY = 0.25  # memorization below which an example counts as hardly memorized

#: What differs between the seeds of a study, and what does not.
SEEDS_VARY = "A seed varies initialisation, batch order, proxies and ties; split, hold-out and exact scores are the same for all"


def seeds(counts: Iterable[float]) -> str:
    """How many seeds stand behind some numbers: "n = 3 seeds", "n = 1 seed", or "n = 2 to 3 seeds" where the counts differ."""
    found = sorted({int(n) for n in counts})
    if not found:
        return "n = 0 seeds"

    fewest, most = found[0], found[-1]
    span = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"n = {span} seed{'' if most == 1 else 's'}"


def interval_note(counts: Iterable[float]) -> str:
    """What error bars or a ± are, or that a single run has none: "mean and 95 % t interval over n = 3 seeds".

    Args:
        counts: the number of seeds behind each number.
    """
    counts = list(counts)
    if not counts or max(counts) < 2:
        return f"single runs, {seeds(counts)}: no interval"

    note = f"mean and 95 % t interval over {seeds(counts)}"
    return note if min(counts) > 1 else f"{note} (none where n = 1)"


def memorized(scores: pd.Series) -> str:
    """What the scores are like: "71 % of the examples have memorization below 0.25, 9 % above 0.75"."""
    values = np.asarray(scores, dtype=float)
    low, high = (100 * float(share.mean()) for share in (values < HARDLY, values > 1 - HARDLY))
    return f"{low:.0f} % of the examples have memorization below {HARDLY}, {high:.0f} % above {1 - HARDLY}"


def unfit(frame: pd.DataFrame, mark: str = "† ") -> str:
    """How many runs of a frame have an original or oracle that did not fit the retain set.

    Args:
        frame: a row per run.
        mark: what stands at such runs in the figure, with a space; "" if nothing does.

    Returns:
        A sentence that begins with a space, or "" if all fitted or the frame does not say.
    """
    if "converged" not in frame:
        return ""
    marked = frame["converged"].dropna().astype(bool)  # frames of several profiles: older ones do not say
    if marked.all():
        return ""
    count = int((~marked).sum())
    return f" {mark}{count} of {len(frame)} runs have an original or oracle that did not fit the retain set."


def unfit_ceiling(unlearning: pd.DataFrame) -> str:
    """Count the pairs of oracles behind the ceiling of which one did not fit the retain set. They stay in the ceiling.

    Args:
        unlearning: the tidy frame of unlearning runs, with the ends of the scale as they were measured.

    Returns:
        A sentence as of `unfit`.
    """
    pairs = unlearning[unlearning["algorithm"] == CEILING]
    if not unfit(pairs):
        return ""
    count = int((~pairs["converged"].dropna().astype(bool)).sum())
    return f" Behind the ceiling: in {count} of {len(pairs)} pairs an oracle did not fit the retain set."


def sentence(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]
