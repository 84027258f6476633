"""A verdict follows from the interval, from Holm's procedure, from equivalence, and from both halves of the seeds."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb.core import decisions, stats
from mulnb.results.verdicts import BETTER, NO_WORSE, Case, Rule, primary, secondary


def case(mean: float, spread: float, n: int = 10) -> Case:
    """`n` values with exactly this mean and standard deviation."""
    x = np.random.default_rng(0).normal(size=n)
    return Case(mean + spread * (x - x.mean()) / x.std(ddof=1), np.arange(n))


@pytest.mark.parametrize(
    ("mean", "spread", "verdict"),
    [
        (0.10, 0.05, "shown"),
        (-0.10, 0.05, "contradicted"),
        (0.00, 0.02, "equivalent"),
        (0.02, 0.08, "undecided"),
    ],
)
def test_each_verdict(mean, spread, verdict):
    assert primary(case(mean, spread), BETTER).verdict == verdict


def test_a_difference_that_is_there_and_too_small_to_matter_is_shown_and_said_to_be_small():
    decision = primary(case(0.01, 0.005), BETTER)
    assert decision.verdict == "shown" and decision.within


def test_no_worse_is_judged_against_the_margin():
    assert primary(case(-0.01, 0.01), NO_WORSE).verdict == "shown"
    assert primary(case(-0.06, 0.01), NO_WORSE).verdict == "contradicted"
    assert primary(case(-0.03, 0.05), NO_WORSE).verdict == "undecided"


def test_method10_09_one_seed_decides_nothing():
    decision = primary(Case(np.array([0.5]), np.array([0])), BETTER)
    assert (decision.verdict, decision.halves, decision.needed) == ("undecided", "open", None)
    assert not decision.interval.known


def test_undecided_says_how_many_seeds_would_decide():
    open_case = case(0.02, 0.08)
    decision = primary(open_case, BETTER)
    assert decision.needed == decisions.seeds_to_decide(open_case.values, margin=0.03) > 10


def test_holms_procedure_over_the_cases_by_hand():
    # at n = 10 these means over a spread of 1 have p = .005, .01, .03, .04: .005 < .05/4, .01 < .05/3, .03 > .05/2 stops
    from scipy.special import stdtrit

    means = [stdtrit(9, 1 - p / 2) / np.sqrt(10) for p in (0.04, 0.005, 0.03, 0.01)]
    decisions = secondary([case(mean, 1.0) for mean in means], Rule())
    assert [decision.verdict for decision in decisions] == ["undecided", "shown", "undecided", "shown"]
    assert [primary(case(mean, 1.0), Rule()).verdict for mean in means] == ["shown"] * 4
    for mean, decision in zip(means, decisions, strict=True):  # the interval that is printed says the same
        assert (decision.interval.low > 0) == (decision.verdict == "shown")
        assert decision.interval.mean == pytest.approx(mean)
    assert decisions[1].interval.half == pytest.approx(stats.t_interval(case(0, 1.0).values, 1 - 0.05 / 4).half)


def test_a_verdict_of_odd_seeds_that_even_seeds_contradict_is_undecided():
    seeds = np.arange(12)
    values = np.where(seeds % 2, 0.30, -0.02) + 0.001 * seeds
    assert stats.t_interval(values).low > 0  # the interval alone would show it
    decision = primary(Case(values, seeds), BETTER)
    assert (decision.halves, decision.verdict) == ("disagree", "undecided")


def test_halves_agree_or_leave_it_open():
    assert primary(case(0.3, 0.05), BETTER).halves == "agree"
    assert primary(case(0.03, 0.05), BETTER).halves == "open"
    assert primary(case(0, 0.01, 12), BETTER).halves == "agree"  # both are equivalent
    assert primary(Case(np.array([0.1, 0.1, 0.1]), np.array([0, 2, 4])), BETTER).halves == "open"  # no odd seed


def test_halves_go_by_the_seed_and_not_by_its_place():
    values = np.array([1, 1.1, 1.2, -1, -1.1, -1.2])
    shuffled = Case(values, np.array([0, 2, 4, 1, 3, 5]))
    assert shuffled.half(odd=True).tolist() == [-1, -1.1, -1.2] and shuffled.half(odd=False).tolist() == [1, 1.1, 1.2]


def test_equivalence_of_many_cases_is_corrected():
    one = case(0.0, 0.03956)
    assert decisions.equivalence(one.values, 0.03) == pytest.approx(0.02, abs=1e-3)
    assert primary(one, BETTER).verdict == "equivalent"
    assert {decision.verdict for decision in secondary([one] * 20, BETTER)} == {"undecided"}


def test_holms_levels_go_by_the_threshold_of_the_claim():
    cases = [case(0.0, 0.03), case(-0.028, 0.03)]  # the first is further from −.03, the second from 0
    found = secondary(cases, NO_WORSE)
    for one, decision, level in zip(cases, found, (0.025, 0.05), strict=True):
        assert decision.interval.half == pytest.approx(stats.t_interval(one.values, 1 - level).half)


@pytest.mark.parametrize(("t", "halves"), [(2.4, "open"), (2.9, "agree")])  # of five seeds: 2.13 at 90 %, 2.78 at 95 %
def test_each_half_of_the_seeds_decides_at_95_percent(t, halves):
    half = case(t / np.sqrt(5), 1.0, n=5).values
    assert primary(Case(np.repeat(half, 2), np.arange(10)), BETTER).halves == halves
