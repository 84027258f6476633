"""Phrases for captions and tables that are computed from the data they describe."""

from __future__ import annotations

from collections.abc import Iterable


def seeds(counts: Iterable[float]) -> str:
    """Say how many seeds stand behind some numbers.

    Args:
        counts: the number of seeds behind each of them.

    Returns:
        "n = 3 seeds", "n = 1 seed", or "n = 2 to 3 seeds" where the counts differ.
    """
    found = sorted({int(n) for n in counts})
    if not found:
        return "n = 0 seeds"

    fewest, most = found[0], found[-1]
    span = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    return f"n = {span} seed{'' if most == 1 else 's'}"


def interval_note(counts: Iterable[float], what: str = "mean and 95 % t interval") -> str:
    """Say what the error bars or the ± are, or that a single run has none.

    Args:
        counts: the number of seeds behind each number.
        what: the estimate and its interval.

    Returns:
        For example "mean and 95 % t interval over n = 3 seeds".
    """
    counts = list(counts)
    if not counts or max(counts) < 2:
        return f"single runs, {seeds(counts)}: no interval"

    note = f"{what} over {seeds(counts)}"
    return note if min(counts) > 1 else f"{note} (none where n = 1)"
