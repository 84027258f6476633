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
@pytest.mark.parametrize(
    ("images", "network"),
    [("digits", "perceptron with dropout"), ("digits", "convolutional with BatchNorm"), ("digits", "transformer")],
)
def test_the_defaults_forget_or_say_that_they_did_not(images, network):
    row = defaults.run(images, network)
    assert row["original"] > 0.9  # it knew the request by heart
    assert row["verdict"] in WORDS and not row["silent"], row


def test_the_committed_table_has_every_network_and_no_silent_failure():
    with (paths.CHECKOUT / "figures" / "bench" / "defaults.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = sorted((images, network) for images in defaults.DATA for network in defaults.NETWORKS)
    assert sorted((row["images"], row["network"]) for row in rows) == expected

    for row in rows:
        within = float(row["low"]) <= float(row["forgotten"]) <= float(row["high"])
        assert float(row["original"]) > float(row["high"]) and (row["within"], row["silent"]) == (str(within), "False")
        assert row["verdict"] in WORDS and (within or row["verdict"] != verdict.FORGOTTEN)
    assert sum(row["verdict"] == verdict.FORGOTTEN for row in rows) >= 5
