"""The control without later strata: what the README says of it stands in the committed runs."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from scipy import stats

from benchmarks import later_strata
from mulnb.core import paths

README = (paths.CHECKOUT / "README.md").read_text().replace("−", "-")


def committed(profile: str) -> pd.DataFrame:
    """The differences in ToW that the committed runs of a profile show, by algorithm and strategy."""
    folder = paths.CHECKOUT / "figures" / profile
    published = pd.read_parquet(folder / "data" / "unlearning.parquet")
    found = later_strata.against(published, pd.read_csv(folder / "later_strata.csv"))
    assert set(found.n) == {8}
    return found[found.metric == "ToW"].set_index(["algorithm", "against"])


def test_the_readme_says_what_the_control_shows():
    paragraph = README.split("**Why refinement costs ToW here.**")[1].split("\n\n")[0]
    rows = committed("cifar10-small")
    for case in (
        ("Fine-tune", "RUM^F"),
        ("Fine-tune", "vanilla"),
        ("SalUn", "RUM^F"),
        ("SalUn", "vanilla"),
        ("NegGrad+", "RUM^F"),
    ):
        row = rows.loc[case]
        assert f"{row.difference:.3f} ± {row.half:.3f}" in paragraph, (case, row.to_dict())


@pytest.mark.parametrize(
    ("profile", "named"),
    [
        ("cifar100-mini", {"fine-tuning": "Fine-tune", "SalUn": "SalUn"}),
        ("tiny-imagenet-mini", {"fine-tuning": "Fine-tune", "SCRUB": "SCRUB"}),
    ],
)
def test_the_readme_says_what_it_shows_on_the_minis(profile, named):
    text = README.split(f"(figures/{profile}/later_strata.csv)")[0].split("eaving the later strata out")[-1]
    rows = committed(profile).xs("RUM^F", level="against")
    for words, algorithm in named.items():
        row = rows.loc[algorithm]
        assert re.search(rf"{words} \(?\+{row.difference:.3f} ± {row.half:.3f}", text), (algorithm, row.to_dict())

    gained = rows.index[rows.difference > rows.half]
    assert set(gained) == (set(named.values()) if profile == "tiny-imagenet-mini" else set())


def test_no_gain_on_tiny_imagenet_mini_outlasts_a_correction_for_eight_algorithms():
    rows = committed("tiny-imagenet-mini").xs("RUM^F", level="against")
    wider = stats.t.ppf(1 - 0.025 / len(rows), 7) / stats.t.ppf(0.975, 7)
    assert len(rows) == 8 and not (rows.difference > wider * rows.half).any()


def test_differences_are_paired_by_seed():
    published = pd.DataFrame(
        [("a", strategy, "memorization", seed, 0.1 * seed, 0.5) for strategy in ("rum_f", "vanilla") for seed in range(3)],
        columns=["algorithm", "strategy", "score", "seed", "tow", "tow_mia"],
    )
    control = published[published.strategy == "rum_f"].assign(tow=lambda runs: runs.tow + 0.2).sample(frac=1, random_state=0)

    found = later_strata.against(published, control).set_index(["metric", "against"])
    assert found.loc[("ToW", "RUM^F"), "difference"] == pytest.approx(0.2)
    assert found.loc[("ToW", "RUM^F"), "half"] == pytest.approx(0.0, abs=1e-9)
