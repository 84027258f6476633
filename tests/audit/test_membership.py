"""The audits where membership is known: digits with flipped labels, a small pool, originals and oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import audit, config, data, models, pool, training
from mulnb.audit import membership, roc
from mulnb.audit.margins import log_odds
from mulnb.core.errors import UserError

pytestmark = pytest.mark.slow
CLEAN, FLIPPED = slice(0, 120), slice(120, 160)  # of each forget set


@pytest.fixture(scope="module")
def trained():
    """Scores under 4 originals and 4 oracles, from 40 pool models; each oracle lacks 120 clean and 40 flipped examples."""
    profile = config.load_profile("digits", {"training.epochs": 20})
    splits = data.load_data(profile)
    train, test = training.examples(splits.train, splits), training.examples(splits.test, splits)

    rng = np.random.default_rng(0)
    clean, flipped = np.flatnonzero(~splits.flipped), np.flatnonzero(splits.flipped)
    forget = [np.concatenate([rng.permutation(clean)[:120], rng.permutation(flipped)[:40]]) for _ in range(4)]
    retain = [torch.from_numpy(np.setdiff1d(np.arange(len(train)), gone)) for gone in forget]

    def margins(subsets, seeds):
        networks = [models.build("small_cnn", num_classes=10, in_channels=1, width=8, seed=seed) for seed in seeds]
        stack = pool.train_stacked(networks, train, subsets, profile.training, seeds)
        return [log_odds(pool.predict_each(stack, part), part.labels) for part in (train, test)]

    member = pool.membership(range(40), len(train), 0.5, seed=0)
    pool_margin, pool_margin_test = margins([torch.from_numpy(np.flatnonzero(row)) for row in member], range(40))
    shadow = membership.Shadow.of(pool_margin, member, pool_margin_test)

    def scores(subsets, seeds):
        return [shadow.scores(*both, gone) for *both, gone in zip(*margins(subsets, seeds), forget, strict=True)]

    everything = [torch.arange(len(train))] * 4
    return {"original": scores(everything, range(100, 104)), "oracle": scores(retain, range(200, 204))}


def intervals(runs, kind, part):
    """AUC of a part of S against T, one interval for each model."""
    return [roc.auc_interval(getattr(run, f"{kind}_forget")[part], getattr(run, f"{kind}_test")) for run in runs]


@pytest.mark.parametrize("kind", ["lira", "rmia"])
def test_an_oracle_cannot_be_told_from_a_model_that_never_saw_the_examples(trained, kind):
    """AUC .5 within its interval: S was in no oracle's training set. (Flipped labels are left out: T has none.)"""
    found = intervals(trained["oracle"], kind, CLEAN)
    mean, half = np.mean([auc.mean for auc in found]), np.mean([auc.half for auc in found])
    assert half < 0.07
    assert abs(mean - 0.5) < half


@pytest.mark.parametrize("kind", ["lira", "rmia"])
def test_the_original_is_recognised_by_its_flipped_labels(trained, kind):
    """A flipped label is only known from training on it: every original lies clearly above every oracle."""
    for original, oracle in zip(*(intervals(trained[name], kind, FLIPPED) for name in ("original", "oracle")), strict=True):
        assert original.low > oracle.high


def test_lira_takes_nearly_every_flipped_label_for_a_member_of_the_original(trained):
    """AUC > .5, and by far. (RMIA may stay below .5: its reference for an example that no out-model knows is a constant.)"""
    for original in intervals(trained["original"], "lira", FLIPPED):
        assert original.low > 0.9


def test_the_summary_has_the_columns_of_the_frame(trained):
    for original, oracle in zip(trained["original"], trained["oracle"], strict=True):
        own, reference = original.summary(), oracle.summary()
        assert list(own) == ["lira_auc", "lira_tpr01", "lira_tpr001", "rmia_auc"]
        assert all(0 <= value <= 1 for value in [*own.values(), *reference.values()])
        assert all(own[key] > reference[key] for key in own)


def test_test_examples_are_out_for_every_pool_model():
    rng = np.random.default_rng(0)
    member = rng.random((40, 12)) < 0.5
    pool_margin, pool_margin_test = rng.normal(0, 1, (40, 12)) + 3 * member, rng.normal(5, 1, (40, 9))
    shadow = membership.Shadow.of(pool_margin, member, pool_margin_test)
    assert shadow.test_mean == pytest.approx(pool_margin_test.mean(0))
    assert shadow.out_mean[3] == pytest.approx(pool_margin[~member[:, 3], 3].mean())
    margin, margin_test = rng.normal(0, 1, 12), rng.normal(5, 1, 9)
    scores = shadow.scores(margin, margin_test, np.array([3, 7]))
    alone = audit.lira.scores(margin, pool_margin, member)
    assert scores.lira_forget * shadow.std == pytest.approx(alone[[3, 7]] * audit.lira.gaussians(pool_margin, ~member).std[0])
    assert scores.rmia_forget.shape == (2,) and scores.rmia_test.shape == (9,)


def test_a_pool_that_does_not_fit_is_one_line():
    with pytest.raises(UserError, match="expected"):
        membership.Shadow.of(np.zeros((20, 5)), np.zeros((20, 5), dtype=bool), np.zeros((19, 4)))
    with pytest.raises(UserError, match="example 2 has 3 of 20"):
        member = np.zeros((20, 5), dtype=bool)
        member[3:, 2] = True
        membership.Shadow.of(np.zeros((20, 5)), member, np.zeros((20, 4)))


def test_the_two_rates_are_at_one_percent_and_at_a_tenth_of_it():
    """Five of a thousand others lie above the only member."""
    scores = membership.Scores(np.array([995.0]), np.arange(1000.0), np.zeros(1), np.zeros(1))
    summary = scores.summary()
    assert (summary["lira_tpr01"], summary["lira_tpr001"]) == (1, 0)
