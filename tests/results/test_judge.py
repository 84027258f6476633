"""Claims about all of something are judged by its worst case, and what is undecided asks for more seeds than it has."""

from __future__ import annotations

import numpy as np
import synthetic

from mulnb.core import stats
from mulnb.results import claims, judge
from mulnb.results.verdicts import OPEN, UNDECIDED, Decision

PROFILE = synthetic.profile()


def test_all_proxies_are_cheap_if_the_dearest_is():
    costs = synthetic.costs()
    costs.loc[costs["proxy"] == "loss_curvature", "share_of_exact"] = 0.5
    row = claims.verdicts(PROFILE, costs=costs).query("claim == 'proxy-cheap' and kind == 'primary'").iloc[0]
    assert row["verdict"] == "contradicted" and row["evidence"].startswith("loss curvature")


def test_shares_of_the_cost_are_told_of_the_proxy_that_is_furthest_from_the_published_one():
    found = claims.verdicts(PROFILE, costs=synthetic.costs())
    row = found.query("claim == 'proxy-share' and kind == 'primary'").iloc[0]
    assert row["evidence"].startswith("hold-out retraining")


def test_more_seeds_are_needed_than_there_are():
    """Halves that disagree leave undecided what so many seeds would decide by themselves."""
    undecided = Decision(UNDECIDED, stats.t_interval(np.arange(10.0)), OPEN, needed=4, within=False)
    assert judge._needed(undecided) == "n = 11 seeds would decide it"
