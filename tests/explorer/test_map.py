"""The explorer's map without a browser: what a lasso selects, and what may be done with it."""

from __future__ import annotations

import numpy as np
import pytest

from mulnb.core.errors import UserError
from mulnb.explorer import Explorer, explore


def opened(explorer: Explorer) -> Explorer:
    explorer.aside.act("tab:map")
    explorer.map.thread.join()
    return explorer


@pytest.mark.slow
def test_a_lasso_selects_what_lies_in_it(explorer):
    opened(explorer)
    places = explorer.map.places
    assert places.min() == 0 and places.max() == 1 and "t-SNE" in explorer.aside.html
    expected = set(np.flatnonzero((places < 0.4).all(1)).tolist())
    explorer.map.act("lasso", path=[[-0.1, -0.1], [0.4, -0.1], [0.4, 0.4], [-0.1, 0.4]])
    assert set(np.flatnonzero(explorer.filter.mask).tolist()) == expected and 5 < len(expected) < 200
    assert f"<b>{len(expected)} selected</b>" in explorer.aside.html
    assert f"Only the {len(expected)} selected on the map" in explorer.sheets.html

    groups = np.frombuffer(explorer.map.groups, np.uint8)
    assert set(np.flatnonzero(groups >= 4).tolist()) == expected
    for number, part in enumerate(explorer.strata, 1):
        assert set(np.flatnonzero(groups % 4 == number).tolist()) == set(part.tolist())


@pytest.mark.slow
def test_selected_examples_move_into_the_set_and_out_of_it(explorer):
    opened(explorer)
    before = explorer.strata
    (x, y), size = np.median(explorer.map.places, axis=0), 0.15
    explorer.map.act("lasso", path=[[x - size, y - size], [x + size, y - size], [x + size, y + size], [x - size, y + size]])
    selected = set(np.flatnonzero(explorer.filter.mask).tolist())
    assert selected & set(before.high.tolist()) and selected - set(before.forget.tolist())

    explorer.aside.act("moveall:low")
    assert set(explorer.strata.low.tolist()) == selected | set(before.low.tolist())
    assert set(explorer.strata.high.tolist()) == set(before.high.tolist()) - selected
    assert "A set of your own" in explorer.summary.value

    explorer.aside.act("moveall:")
    assert set(explorer.strata.forget.tolist()) == set(before.forget.tolist()) - selected


@pytest.mark.slow
def test_a_lasso_cannot_empty_a_stratum_or_take_everything(explorer):
    opened(explorer)
    before = explorer.strata.forget
    explorer.map.act("lasso", path=[[-1, -1], [2, -1], [2, 2], [-1, 2]])
    assert explorer.filter.mask.all()
    explorer.aside.act("moveall:high")
    assert "a stratum must not be empty" in explorer.voice.message.value
    explorer.map.act("lasso", path=[[2, 2], [3, 2], [3, 3]])
    assert "Nothing lay in the lasso" in explorer.aside.html
    assert np.array_equal(explorer.strata.forget, before) and not explorer.voice.errors.outputs
    with pytest.raises(UserError, match="at most 300 can be forgotten"):
        explorer.move(np.setdiff1d(np.arange(400), [*explorer.strata.low, *explorer.strata.medium]), "high")


def test_your_own_places_are_drawn_as_they_are():
    draw = np.random.default_rng(0)
    images, labels, scores, own = draw.random((90, 8, 8)), draw.integers(0, 3, 90), draw.random(90), draw.normal(size=(90, 2))
    explorer = opened(explore(images, labels, scores, places=own))
    assert np.allclose(explorer.map.places, (own - own.min(0)) / np.ptp(own, 0), atol=1e-6)
    assert "Places of your own" in explorer.aside.html
    for wrong in (own[:, :1], own[:50], own * np.nan):
        with pytest.raises(UserError, match="expected 90 finite pairs of numbers"):
            explore(images, labels, scores, places=wrong)
