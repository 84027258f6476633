"""What a choice means: thresholds, sizes, strata and the counts in them; and what the explorer can be given to show."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb import forget
from mulnb.core.errors import UserError
from mulnb.explorer import Explorer, selection, stock, svg
from mulnb.explorer.selection import Ranking
from mulnb.forget import Strata


def test_thresholds_and_sizes_are_two_words_for_the_same():
    ranking = Ranking("confidence", np.random.default_rng(0).permutation(200) / 200, seed=0)
    for size in (1, 7, 50):
        for side in ("low", "high"):
            assert ranking.size(side, ranking.threshold(side, size)) == size

    chosen = ranking.strata((7, 9, 11))
    assert [len(part) for part in chosen] == [7, 9, 11]
    assert (ranking.values[chosen.low] <= ranking.threshold("low", 7)).all()
    assert (ranking.values[chosen.high] >= ranking.threshold("high", 11)).all()


def test_the_strata_are_those_of_the_one_selector():
    scores = np.random.default_rng(0).integers(0, 20, 300) / 20  # ties
    for name, centre in (("memorization", 0.5), ("confidence", "median")):
        for part, expected in zip(
            Ranking(name, scores, 3).strata((30, 30, 30)), forget.strata(scores, 30, centre, 3), strict=True
        ):
            assert np.array_equal(part, expected)


def test_ties_at_a_threshold_are_counted():
    ranking = Ranking("binary_accuracy", np.repeat([0.0, 0.5, 1.0], [50, 40, 10]), seed=0)
    assert ranking.ties("low", 20) == (20, 50)
    assert ranking.ties("high", 25) == (15, 40) and ranking.ties("high", 10) == (10, 10)
    assert ranking.size("low", 0.0) == ranking.limit == 25  # more are tied than a stratum may hold
    assert [len(part) for part in ranking.strata((25, 25, 25))] == [25, 25, 25]


@pytest.mark.parametrize("name", ["memorization", "confidence"])
def test_the_curve_of_growth_is_the_mean_of_the_real_strata(name):
    draw = np.random.default_rng(1)
    scores, memorization = draw.beta(0.5, 2, 500), draw.random(500)
    ranking = Ranking(name, scores, seed=0)
    sizes, curves = ranking.growth(memorization)
    for size, means in zip(sizes, curves.T, strict=True):
        assert means == pytest.approx([memorization[part].mean() for part in ranking.strata((size,) * 3)])


def test_overlap_means_and_classes_by_hand():
    chosen = Strata(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]))
    truth = Strata(np.array([0, 2]), np.array([3, 6]), np.array([4, 5]))
    assert selection.overlap(chosen, truth, 8).tolist() == [[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 2, 0]]
    means = selection.mean_memorization(chosen, np.arange(8) / 10, np.full(8, 0.3))
    assert means[:, 0] == pytest.approx([0.05, 0.25, 0.45]) and means[:, 1] == pytest.approx(np.full(3, 0.3 / 2**0.5))
    assert selection.class_counts(chosen, np.array([0, 0, 1, 2, 2, 2, 0, 0]), 3).tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 2]]


def test_one_example_moves_and_nothing_else():
    chosen = Strata(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]))
    assert [part.tolist() for part in selection.moved(chosen, 1, "high")] == [[0], [2, 3], [1, 4, 5]]
    assert [part.tolist() for part in selection.moved(chosen, 3, None)] == [[0, 1], [2], [4, 5]]
    assert [part.tolist() for part in selection.moved(chosen, 9, "low")] == [[0, 1, 9], [2, 3], [4, 5]]


def test_the_contact_sheet_ends_at_the_threshold():
    values = np.arange(100) / 100
    shown = selection.sample(values, np.arange(80, 100), "high", 0.5, 5)
    assert shown[0] == 99 and shown[-1] == 80 and len(shown) == 5
    assert selection.sample(values, np.arange(40, 60), "medium", 0.5, 30)[0] == 50


@pytest.mark.parametrize("axis", [svg.Axis(0, 2, 60, 540), svg.Axis(1e-4, 10, 60, 540, log=True)])
def test_a_pixel_and_its_value_belong_together(axis):
    for value in (0.01, 0.5, 1.9):
        assert axis.value(float(axis(value))) == pytest.approx(value)


# --- data of one's own ---------------------------------------------------------------------------------------------------


def test_own_images_are_taken_in_the_usual_shapes():
    draw = np.random.default_rng(0)
    grey, labels, scores = draw.random((20, 8, 8)), draw.integers(0, 3, 20), draw.random(20)
    taken = stock.of_arrays(grey, labels, {"loss": scores, "confidence": scores}, memorization=scores)
    assert taken.images.shape == (20, 1, 8, 8) and taken.images.dtype == np.uint8
    assert np.abs(taken.images[:, 0] / 255 - grey).max() < 1 / 255
    assert taken.names == ["memorization", "confidence", "loss"] and taken.classes == ("0", "1", "2")
    assert stock.of_arrays(grey, labels, scores).names == ["score"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((20, 8))}, r"images have shape \(20, 8\)"),
        ({"images": np.full((20, 8, 8), 7.0)}, "expected uint8, or floating point from 0 to 1"),
        ({"labels": np.zeros(19, int)}, "one for each of the 20 images"),
        ({"labels": np.full(20, -1)}, "labels run from -1"),
        ({"scores": np.zeros(3)}, "score 'score' has shape"),
        ({"scores": {"loss": np.full(20, np.nan)}}, "score 'loss' .* finite numbers"),
        ({"scores": {}}, "at least 4 examples and one score"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(change, message):
    given = {"images": np.zeros((20, 8, 8)), "labels": np.zeros(20, int), "scores": np.arange(20.0)} | change
    with pytest.raises(UserError, match=message) as error:
        stock.of_arrays(**given)
    assert "\n" not in str(error.value)


IMAGES = np.zeros((8, 6, 6), np.uint8)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"images": [[1, 2], [3]]}, "images: this is no array"),
        ({"images": np.zeros((0, 6, 6))}, "at least one image"),
        ({"images": np.full((8, 6, 6), np.nan)}, "from 0 to 1"),
        ({"images": "digits"}, "images have shape"),
        ({"labels": [[0], [1, 2]]}, "labels: this is no array"),
        ({"labels": ["cat"] * 8}, "expected whole numbers"),
        ({"scores": ["high"] * 8}, "score 'score': expected numbers"),
        ({"scores": {"mine": [[1], [1, 2]]}}, "score 'mine': this is no array"),
        ({"scores": None}, "8 finite numbers"),
        ({"places": [["x", "y"]] * 8}, "places: expected numbers"),
        ({"scores": {"memorization": np.arange(8)}, "memorization": np.ones(8)}, "leave one of them out"),
    ],
)
def test_arrays_of_other_kinds_are_one_line(given, words):
    with pytest.raises(UserError, match=words) as error:
        stock.of_arrays(**{"images": IMAGES, "labels": np.arange(8) % 2, "scores": np.arange(8.0)} | given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [5, {"name": "digits"}, ["digits"], None, b"digits"])
def test_an_explorer_of_something_else_is_one_line(given):
    with pytest.raises(UserError, match="Explorer"):
        Explorer(given)


@pytest.mark.parametrize(
    "given",
    [
        {"sizes": "two"},
        {"sizes": 1.5},
        {"sizes": True},
        {"sizes": [1, 1]},
        {"sizes": [1, None, 1]},
        {"seed": True},
        {"seed": [0]},
        {"score": ["score"]},
        {"score": np.zeros(3)},
        {"low": "a little"},
        {"high": np.nan},
    ],
)
def test_a_choice_of_another_kind_is_one_line_and_changes_nothing(given):
    explorer = Explorer(None, stock.of_arrays(IMAGES, np.arange(8) % 2, np.arange(8.0)))
    before = explorer.strata
    with pytest.raises(UserError):
        explorer.choose(**given)
    assert all(np.array_equal(part, other) for part, other in zip(before, explorer.strata, strict=True))
