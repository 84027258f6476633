"""The control without later strata: what the README says of it stands in the committed runs."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks import later_strata
from mulnb.core import paths

COMMITTED = paths.CHECKOUT / "figures" / "cifar10-small"


def test_the_readme_says_what_the_control_shows():
    published = pd.read_parquet(COMMITTED / "data" / "unlearning.parquet")
    found = later_strata.against(published, pd.read_csv(COMMITTED / "later_strata.csv"))
    assert set(found.n) == {8}

    text = (paths.CHECKOUT / "README.md").read_text()
    paragraph = text.split("**Why refinement costs ToW here.**")[1].split("\n\n")[0].replace("−", "-")
    rows = found[found.metric == "ToW"].set_index(["algorithm", "against"])
    for case in (
        ("Fine-tune", "RUM^F"),
        ("Fine-tune", "vanilla"),
        ("SalUn", "RUM^F"),
        ("SalUn", "vanilla"),
        ("NegGrad+", "RUM^F"),
    ):
        row = rows.loc[case]
        assert f"{row.difference:.3f} ± {row.half:.3f}" in paragraph, (case, row.to_dict())


def test_differences_are_paired_by_seed():
    published = pd.DataFrame(
        [("a", strategy, "memorization", seed, 0.1 * seed, 0.5) for strategy in ("rum_f", "vanilla") for seed in range(3)],
        columns=["algorithm", "strategy", "score", "seed", "tow", "tow_mia"],
    )
    control = published[published.strategy == "rum_f"].assign(tow=lambda runs: runs.tow + 0.2).sample(frac=1, random_state=0)

    found = later_strata.against(published, control).set_index(["metric", "against"])
    assert found.loc[("ToW", "RUM^F"), "difference"] == pytest.approx(0.2)
    assert found.loc[("ToW", "RUM^F"), "half"] == pytest.approx(0.0, abs=1e-9)
