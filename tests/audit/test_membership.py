"""The audits where membership is known: digits with flipped labels, a small pool, an original, an oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulnb import audit, config, data, pool, training
from mulnb.audit import membership, roc
from mulnb.audit.margins import log_odds
from mulnb.core.errors import UserError
from mulnb.fast.stacked import Stack


@pytest.fixture(scope="module")
def trained():
    """Margins of D and T under 40 pool models, an original, and an oracle without 120 clean and 40 flipped examples."""
    from mulnb import models

    profile = config.load_profile("digits")
    splits = data.load_data(profile)
    train, test = training.examples(splits.train, splits), training.examples(splits.test, splits)
    rng = np.random.default_rng(0)
    clean, flipped = np.flatnonzero(~splits.flipped), np.flatnonzero(splits.flipped)
    forget = np.concatenate([rng.permutation(clean)[:120], rng.permutation(flipped)[:40]])
    retain = np.setdiff1d(np.arange(len(train)), forget)

    def margins(subsets, seeds):
        spec = {"num_classes": 10, "in_channels": 1, "width": 8}
        networks = [models.build("small_cnn", seed=seed, **spec) for seed in seeds]
        stack = Stack(networks)
        pool.train_stack(stack, train, subsets, profile.training, seeds)
        found = []
        for part in (train, test):
            logits = pool._predict_all(stack, part, len(networks))
            found.append(log_odds(logits, part.labels))
        return found

    member = pool.membership(range(40), len(train), 0.5, seed=0)
    pool_margin, pool_margin_test = margins([torch.from_numpy(np.flatnonzero(row)) for row in member], list(range(40)))
    original, original_test = margins([torch.arange(len(train))], [100])
    oracle, oracle_test = margins([torch.from_numpy(retain)], [101])

    shadow = membership.Shadow.of(pool_margin, member, pool_margin_test)
    return {
        "shadow": shadow,
        "original": shadow.scores(original[0], original_test[0], forget),
        "oracle": shadow.scores(oracle[0], oracle_test[0], forget),
        "flipped": splits.flipped[forget],
    }


def test_an_oracle_cannot_be_told_from_never_having_seen_the_examples(trained):
    """AUC .5 within its interval: S was never in the oracle's training set. Flipped labels, which T lacks, are left out."""
    oracle, clean = trained["oracle"], ~trained["flipped"]
    for members, others in ((oracle.lira_forget, oracle.lira_test), (oracle.rmia_forget, oracle.rmia_test)):
        interval = roc.auc_interval(members[clean], others, confidence=0.99)  # numbers differ by processor
        assert interval.low <= 0.5 <= interval.high and interval.half < 0.1


def test_the_original_gives_flipped_labels_away(trained):
    """A flipped label can only be known by having been seen: both attacks find nearly all, in the original alone."""
    flipped = trained["flipped"]
    for kind in ("lira", "rmia"):
        found = {}
        for name in ("original", "oracle"):
            scores = trained[name]
            members, others = getattr(scores, f"{kind}_forget")[flipped], getattr(scores, f"{kind}_test")
            found[name] = roc.auc_interval(members, others)
        assert found["original"].low > 0.6, kind
        assert found["original"].low > found["oracle"].high, kind


def test_the_summary_has_the_columns_of_the_frame(trained):
    original, oracle = trained["original"].summary(), trained["oracle"].summary()
    assert list(original) == ["lira_auc", "lira_tpr01", "rmia_auc"]
    assert original["lira_auc"] > oracle["lira_auc"] and original["rmia_auc"] > oracle["rmia_auc"]
    assert all(0 <= value <= 1 for value in [*original.values(), *oracle.values()])


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
