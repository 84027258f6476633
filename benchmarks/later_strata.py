"""Why refinement may cost ToW: RUM^F that does not train on the later strata while it forgets the first ones (a control).

    python -m benchmarks.later_strata cifar10-small

RUM^F as published keeps the strata that are still to come in the retain set (METHOD §5). Here they are left out from the first
stage on; everything else, also the settings, is as in the profile. Written beside the profile's tables: `later_strata.csv`.
"""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from mulnb.config import load_profile
from mulnb.core import commands, paths
from mulnb.core.errors import UserError
from mulnb.core.stats import t_interval
from mulnb.core.vocabulary import METRICS, label
from mulnb.results import publish
from mulnb.study import Run, Study, frames
from mulnb.study.runs import ways

SCORE = "memorization"
KEY = ["algorithm", "seed"]
COLUMNS = [
    *("algorithm", "strategy", "score", "seed"),
    *("acc_forget", "oracle_acc_forget", "acc_retain", "oracle_acc_retain", "acc_test", "oracle_acc_test", "mia", "oracle_mia"),
    *("tow", "tow_mia", "passes_retain", "passes_forget"),
]


def without_later_strata(name: str) -> pd.DataFrame:
    """The runs of RUM^F on the sets by memorization, without the strata that are still to come in the retain set.

    Args:
        name: a profile.

    Returns:
        `COLUMNS`, one row for every algorithm and seed.
    """
    profile = load_profile(name, {"unlearning.retain_later_strata": False})

    runs = []
    for algorithm, strategy, settings in ways(profile):
        if strategy == "rum_f":
            runs += [Run(algorithm, strategy, SCORE, seed, settings) for seed in profile.seeds]

    return frames.outcomes(Study(profile), runs, "RUM^F without the later strata")[COLUMNS]


def against(published: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """What leaving them out gains over RUM^F as published, and how it compares with vanilla; paired by seed.

    Args:
        published: the profile's frame of unlearning.
        control: of `without_later_strata`.

    Returns:
        Columns `metric algorithm against difference half n`; `half` is half the 95 % t interval.
    """
    control = control.set_index(KEY)
    same_sets = published[published.score == SCORE]

    rows = []
    for strategy in ("rum_f", "vanilla"):
        other = same_sets[same_sets.strategy == strategy].set_index(KEY)
        for metric in METRICS:
            differences = control[metric] - other[metric].reindex(control.index)
            for algorithm, values in differences.groupby("algorithm", sort=False):
                found = t_interval(values.to_numpy())
                rows.append((label(metric), label(algorithm), label(strategy), found.mean, found.half, found.n))

    return pd.DataFrame(rows, columns=["metric", "algorithm", "against", "difference", "half", "n"])


def main() -> None:
    arguments = argparse.ArgumentParser(description="A control: RUM^F without the later strata in the retain set.")
    arguments.add_argument("profile")
    name = arguments.parse_args().profile

    published = publish.load(name, "unlearning")
    if published is None:
        raise UserError(f"{name} has no unlearning results yet: mulnb run --profile {name} --stage unlearning")

    control = without_later_strata(name)
    to = paths.results(name) / "later_strata.csv"
    paths.write_file(to, lambda path: control.to_csv(path, index=False, float_format="%.6g"))
    print(against(published, control).to_string(index=False, float_format="{:+.3f}".format))
    print(to)


if __name__ == "__main__":
    sys.exit(commands.exit_code(main))
