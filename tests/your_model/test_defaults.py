"""`mulnb.forget` as it comes, on five networks and two sets of real images: forgotten as oracles are, or said not to be."""

from __future__ import annotations

import csv

import pytest

from benchmarks import defaults
from mulnb.core import paths
from mulnb.your_model import verdict

WORDS = {
    verdict.FORGOTTEN,
    verdict.NOT_FORGOTTEN,
    verdict.NOTHING,
    verdict.OVER,
    verdict.DAMAGED,
    verdict.NO_POWER,
    verdict.WRONG,
}


@pytest.mark.slow
@pytest.mark.parametrize("network", defaults.NETWORKS)
@pytest.mark.parametrize("images", defaults.DATA)
def test_the_defaults_forget_or_say_that_they_did_not(images, network):
    row = defaults.run(images, network)
    assert row["original"] > 0.9  # it knew the request by heart
    assert row["verdict"] in WORDS and not row["silent"], row


def test_the_committed_table_has_every_network_and_no_silent_failure():
    with (paths.CHECKOUT / "figures" / "bench" / "defaults.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["images"], row["network"]) for row in rows} == {(a, b) for a in defaults.DATA for b in defaults.NETWORKS}
    assert {row["silent"] for row in rows} == {"False"} and {row["verdict"] for row in rows} <= WORDS
    assert sum(row["verdict"] == verdict.FORGOTTEN for row in rows) >= 5
