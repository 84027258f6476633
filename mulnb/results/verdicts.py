"""From values over seeds to a verdict (METHOD §7c). Nothing here knows what the values are.

A *primary* estimate is decided by its own 95 % t interval. *Secondary* cases of one claim are decided together: their intervals
have the levels of Holm's procedure. Equivalence is two one-sided t tests within a margin that was stated beforehand (so its 90 %
interval lies inside); of secondary cases, their p values are adjusted by Holm as a second family. A verdict must also replicate:
if the odd and the even seeds decide it in opposite ways, it is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulnb.core import decisions, stats
from mulnb.core.stats import Interval

SHOWN, CONTRADICTED, EQUIVALENT, UNDECIDED, NO_RESULTS = "shown", "contradicted", "equivalent", "undecided", "no results"
DECIDED = (SHOWN, CONTRADICTED, EQUIVALENT)
AGREE, DISAGREE, OPEN = "agree", "disagree", "open"

LEVEL = 0.05  # of a test: the chance of a false verdict
MARGIN = 0.03  # of ToW or ToW-MIA: a smaller difference does not matter


@dataclass(frozen=True)
class Rule:
    """What is claimed of a mean: that it lies above `threshold`; within ± `equivalent`, if given, it makes no difference."""

    threshold: float = 0.0
    equivalent: float | None = None


BETTER = Rule(equivalent=MARGIN)  # of a difference: one is better than the other
NO_WORSE = Rule(threshold=-MARGIN)  # of a difference: one is at most the margin worse


@dataclass(frozen=True)
class Decision:
    """A verdict with what it rests on."""

    verdict: str
    interval: Interval  # of the mean, at the level of the test
    halves: str  # whether odd and even seeds "agree", "disagree", or leave it "open"
    needed: int | None  # seeds that would decide it; None if that is unknown or too many
    within: bool  # whether the mean is shown to lie within the margin of equivalence


@dataclass(frozen=True)
class Case:
    """Values over seeds, one per seed."""

    values: np.ndarray  # float64 [n]
    seeds: np.ndarray  # int64 [n]

    def half(self, odd: bool) -> np.ndarray:
        """The values of the odd or of the even seeds."""
        return self.values[self.seeds % 2 == odd]


def primary(case: Case, rule: Rule) -> Decision:
    """Decide an estimate by its own interval.

    Args:
        case: its values over seeds.
        rule: what is claimed.

    Returns:
        The decision.
    """
    return _decide(case, rule, LEVEL, _equivalence(case, rule), LEVEL)


def secondary(cases: Sequence[Case], rule: Rule) -> list[Decision]:
    """Decide the cases of one claim together.

    Args:
        cases: each with its values over seeds.
        rule: what is claimed of every one.

    Returns:
        The decisions, in the order of the cases.
    """
    levels = decisions.holm_levels([decisions.t_p_value(case.values, rule.threshold) for case in cases], LEVEL)
    tests = [_equivalence(case, rule) for case in cases]
    within, own_levels = decisions.holm(tests), decisions.holm_levels(tests, LEVEL)
    return [_decide(case, rule, *of_case) for case, *of_case in zip(cases, levels, within, own_levels, strict=True)]


def _decide(case: Case, rule: Rule, level: float, p_equivalent: float, equivalence_level: float) -> Decision:
    """The verdict at this level; of equivalence by its adjusted p value, with the level at which that was tested."""
    interval = stats.t_interval(case.values, 1 - level)
    within = bool(p_equivalent < LEVEL)
    verdict = _side(interval, rule)
    if verdict == UNDECIDED and within:
        verdict = EQUIVALENT

    halves = _halves(case, rule)
    if halves == DISAGREE:
        verdict = UNDECIDED

    needed = None
    if verdict == UNDECIDED:
        needed = decisions.seeds_to_decide(case.values, rule.equivalent, rule.threshold, float(level), float(equivalence_level))
    return Decision(verdict, interval, halves, needed, within)


def _side(interval: Interval, rule: Rule) -> str:
    """On which side of the threshold the whole interval lies."""
    if not interval.known:
        return UNDECIDED
    if interval.low > rule.threshold:
        return SHOWN
    return CONTRADICTED if interval.high < rule.threshold else UNDECIDED


def _equivalence(case: Case, rule: Rule) -> float:
    """The p value of equivalence; 1 where the rule has no margin or there is one seed."""
    if rule.equivalent is None or len(case.values) == 1:
        return 1.0
    return decisions.equivalence(case.values, rule.equivalent)


def _halves(case: Case, rule: Rule) -> str:
    """Whether the odd and the even seeds, judged separately, decide alike."""
    found = []
    for odd in (True, False):
        values = case.half(odd)
        if len(values) < 2:
            return OPEN
        verdict = _side(stats.t_interval(values, 1 - LEVEL), rule)
        if verdict == UNDECIDED and rule.equivalent is not None and decisions.equivalence(values, rule.equivalent) < LEVEL:
            verdict = EQUIVALENT
        found.append(verdict)

    if set(found) == {SHOWN, CONTRADICTED}:
        return DISAGREE
    return AGREE if found[0] == found[1] and found[0] in DECIDED else OPEN
