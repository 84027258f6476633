"""Names as a reader sees them: every name has a label, and the full RUM says what it is made of."""

from __future__ import annotations

from mulnb import load_profile, unlearning
from mulnb.config import STRATEGIES, Rum
from mulnb.core import vocabulary
from mulnb.proxies import PROXIES


def test_every_score_strategy_and_algorithm_has_a_label():
    shown = {"memorization", *PROXIES, *STRATEGIES, *unlearning.ALGORITHMS}
    published = {"l1_sparse", "neg_grad", "scrub", "influence"}
    assert shown | published <= set(vocabulary.LABELS)


def test_the_full_rum_is_written_out():
    assert vocabulary.mix(Rum()) == "RUM (low: nothing, medium: Fine-tune, high: SalUn)"
    other = Rum.model_validate({"low": {"algorithm": "neg_grad_plus"}, "medium": {}, "high": {"algorithm": "mine"}})
    assert vocabulary.mix(other) == "RUM (low: NegGrad+, medium: nothing, high: mine)"
    assert vocabulary.mix(load_profile("digits", {"unlearning.rum": None}).unlearning.rum) == ""


def test_the_full_rum_comes_after_the_algorithms_and_the_other_strategies():
    assert vocabulary.ordered(["rum", "influence", "fine_tune", "retrain"]) == ["retrain", "fine_tune", "influence", "rum"]
    assert vocabulary.ordered(["rum", "rum_f", "vanilla", "shuffle"]) == ["vanilla", "shuffle", "rum_f", "rum"]
