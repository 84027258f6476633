"""Oracles share no seed with the models that they are compared with, nor with each other."""

from __future__ import annotations

import pytest

from mulnb import load_profile
from mulnb.config import known_profiles
from mulnb.study.oracles import ORACLE_SEEDS


@pytest.mark.parametrize("name", known_profiles())
def test_seeds_of_originals_oracles_and_second_oracles_are_disjoint(name):
    profile = load_profile(name)
    seeds = {*profile.seeds, *profile.tune.seeds}
    used = seeds.union(*({seed + shift for seed in seeds} for shift in ORACLE_SEEDS))
    assert len(used) == 3 * len(seeds)
