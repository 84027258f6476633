"""Figures of several profiles: which of them stand side by side."""

from __future__ import annotations

import synthetic

from mulnb import load_profile
from mulnb.results import publish

PROFILE = synthetic.profile()
TRUTH = synthetic.memorization()


def test_the_pairs_keep_their_order_and_this_profile_fills_in_until_they_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MULNB_FIGURES", str(tmp_path))
    profile, frame = load_profile("digits"), synthetic.unlearning()

    def results(name: str) -> None:
        (tmp_path / name / "data").mkdir(parents=True)
        frame.to_parquet(tmp_path / name / "data" / "unlearning.parquet")

    for name in ("digits", "tiny-imagenet-mini", "cifar10-small"):
        results(name)
    found, pairs = publish.across(profile, "unlearning")
    assert list(found) == ["digits", "cifar10-small", "cifar100", "tiny-imagenet-mini"] and pairs == list(found)[1:]
    assert [name for name, frame in found.items() if frame is None] == ["cifar100"]
    without, _ = publish.across(load_profile("smoke"), "unlearning")  # an empty panel more would show nothing
    assert list(without) == pairs
    results("cifar100")
    results("cifar10")  # the full profile takes its reduced one's place
    found, pairs = publish.across(profile, "unlearning")
    assert list(found) == pairs == ["cifar10", "cifar100", "tiny-imagenet-mini"]
