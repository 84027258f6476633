"""The paper's tables from tidy frames: Table 1 (proxies), Tables 2-7 (ToW and what is behind it), sequential steps.

Each function returns a tidy frame with raw names and one column per number; `write` makes a CSV of it (for programs: six
significant digits, the same bytes every time) and a Markdown page (for readers).
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.vocabulary import METRICS
from mulnb.results import markdown
from mulnb.results.compare import RUN, changes, differences, intervals

ACCURACIES = ("acc_forget", "acc_retain", "acc_test", "mia")
GAINS = [f"{metric}_gain" for metric in METRICS]


def proxy_table(costs: pd.DataFrame) -> pd.DataFrame:
    """Table 1: how well each proxy ranks examples as memorization does, and what it costs.

    Args:
        costs: the frame `proxy_costs`, with `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`.

    Returns:
        The same columns, the strongest correlation first.
    """
    columns = ["proxy", "spearman", "ci_low", "ci_high", "n_seeds", "seconds", "share_of_exact"]
    return costs[columns].sort_values(["spearman", "proxy"], ascending=[False, True], ignore_index=True)


def tow_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """Tables 2-7: `tow` and `tow_mia` per algorithm, strategy and score.

    Args:
        unlearning: the tidy frame of unlearning runs.

    Returns:
        `algorithm strategy score n`, each metric with its interval over the seeds, and `x_gain x_gain_low x_gain_high`: the
        difference to `vanilla` of the same algorithm on the same forget set, paired by seed. The gains are NaN for vanilla
        itself, and for the full RUM, which has no vanilla: `rum_table` compares it.
    """
    table = intervals(unlearning, RUN, METRICS)

    gains = []
    for name in table["strategy"].unique():
        if name not in {"vanilla", "rum"}:
            gains.append(differences(unlearning, name, "vanilla").drop(columns=["against", "n"]))
    if not gains:
        return table

    renamed = {}
    for metric in METRICS:
        for end in ("", "_low", "_high"):
            renamed[f"{metric}{end}"] = f"{metric}_gain{end}"
    return table.merge(pd.concat(gains, ignore_index=True).rename(columns=renamed), how="left", on=RUN)


def rum_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """The full RUM minus every other run on the same forget set, paired by seed; above 0, RUM is better.

    It is compared with each of the others, never with the best one: a winner picked on the reported seeds would be ahead by luck.

    Args:
        unlearning: the tidy frame of unlearning runs.

    Returns:
        `algorithm strategy score n` of the other run, and `tow_gain tow_mia_gain` with their intervals.
    """
    keys = ["score", "seed"]
    full = unlearning.loc[unlearning["strategy"] == "rum", [*keys, *METRICS]]
    others = unlearning[~unlearning["algorithm"].isin(["retrain", "rum"])]
    pairs = others.merge(full, on=keys, suffixes=("_other", ""), validate="many_to_one")

    gained = pairs[[*RUN, "seed"]].copy()
    for metric, gain in zip(METRICS, GAINS, strict=True):
        gained[gain] = pairs[metric] - pairs[f"{metric}_other"]
    return intervals(gained, RUN, GAINS)


def accuracy_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """Tables 2-7, what is behind ToW: accuracies, MIA efficacy and runtime, with the oracle's beside them.

    Args:
        unlearning: the tidy frame of unlearning runs.

    Returns:
        `algorithm strategy score n` and `x x_half` (half the interval) for the accuracies on S, R and the test set, the MIA
        efficacy, the oracle's, the seconds, and `runtime_ratio`: seconds over the oracle's seconds, seed by seed. NaN where a
        run diverged.
    """
    frame = unlearning.assign(runtime_ratio=unlearning["seconds"] / unlearning["oracle_seconds"])

    columns = []
    for name in ACCURACIES:
        columns += [name, f"oracle_{name}"]
    return _halves(intervals(frame, RUN, [*columns, "seconds", "oracle_seconds", "runtime_ratio"]))


def sequential_table(sequential: pd.DataFrame) -> pd.DataFrame:
    """Figure 3 as numbers.

    Args:
        sequential: the tidy frame of sequential unlearning.

    Returns:
        Per strategy, scope and step: `tow tow_mia` and their `…_change` since step 1, paired by seed, with intervals.
    """
    columns = [*METRICS, *(f"{metric}_change" for metric in METRICS)]
    table = intervals(changes(sequential), ["strategy", "scope", "step"], columns)

    # at step 1 the change is 0 by definition: that is no measurement, so it has no interval
    bounds = [f"{metric}_change{end}" for metric in METRICS for end in ("_low", "_high")]
    table.loc[table["step"] == 1, bounds] = math.nan
    return table


def write(frame: pd.DataFrame, profile: Profile, name: str, caption: str, text: str | None = None) -> list[Path]:
    """Write a table under the profile's results.

    Args:
        frame: the table.
        profile: whose results these are.
        name: the files' name without its ending.
        caption: what the table shows.
        text: a page to write instead of the one made from the frame.

    Returns:
        The paths of `<name>.csv` and `<name>.md`.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = paths.results(profile.name)
    csv = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    page = markdown.page(frame, profile, caption) if text is None else text
    return [paths.write_text(folder / f"{name}.csv", csv), paths.write_text(folder / f"{name}.md", page)]


def _halves(table: pd.DataFrame) -> pd.DataFrame:
    """`x x_low x_high` → `x x_half`: shorter, and as good where the interval is symmetric."""
    out = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith("_low"):
            stem = name.removesuffix("_low")
            out[f"{stem}_half"] = (table[f"{stem}_high"] - table[name]) / 2
        elif not name.endswith("_high"):
            out[name] = table[name]
    return out
