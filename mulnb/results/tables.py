"""The tables from tidy frames: Table 1 (proxies), Tables 2-7 (ToW and what is behind it), audits, crossed runs, steps.

An argument has the name of the frame that it takes (their columns: `figures/README.md`). Each function returns a tidy frame with
raw names and one column per number; `write` makes a CSV of it (for programs: six significant digits, the same bytes every time)
and a Markdown page (for readers).
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.vocabulary import METRICS
from mulnb.results import compare, markdown
from mulnb.results.compare import RUN, changes, intervals

ACCURACIES = ("acc_forget", "acc_retain", "acc_test", "mia")
AUDITS = ("lira_auc", "lira_tpr01", "lira_tpr001", "rmia_auc", "relearn_epochs")
KLOM = ("klom_p50", "klom_p95", "klom_retain_p50", "klom_retain_p95", "klom_test_p50", "klom_test_p95")
PASSES = ("passes_retain", "passes_forget")
TIMES = ("seconds", "oracle_seconds", "runtime_ratio")
GAINS = [f"{metric}_gain" for metric in METRICS]


def proxy_table(costs: pd.DataFrame) -> pd.DataFrame:
    """Table 1: how well each proxy ranks examples as memorization does, and what it costs.

    Args:
        costs: the frame `proxy_costs`, with `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`, and perhaps
            `disattenuated` (ρ corrected for the noise of the exact scores), `overlap` (share of the proxy's high stratum that is
            in memorization's), both with their bounds, and `paper` (whether the proxy is the paper's).

    Returns:
        The same columns. The paper's proxies come first; among each kind, the strongest correlation.
    """
    columns = ["proxy", "spearman", "ci_low", "ci_high"]
    for name in ("disattenuated", "overlap"):
        columns += [name, f"{name}_low", f"{name}_high"]
    columns += ["n_seeds", "seconds", "share_of_exact", "paper"]
    table = costs[[name for name in columns if name in costs]]

    by = ["paper", "spearman", "proxy"] if "paper" in costs else ["spearman", "proxy"]
    return table.sort_values(by, ascending=[name == "proxy" for name in by], ignore_index=True)


def tow_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """Tables 2-7: `tow` and `tow_mia` per algorithm, strategy and score, with the floor and the ceiling of the scale.

    Args:
        unlearning: the tidy frame of unlearning runs.

    Returns:
        `algorithm strategy score n`, each metric with its interval over the seeds, and `x_gain x_gain_low x_gain_high`: the
        difference to `vanilla` of the same algorithm on the same forget set, paired by seed. The gains are NaN for vanilla
        itself, for the full RUM, which has no vanilla (`rum_table` compares it), and for the two ends.
    """
    frame = compare.measured(unlearning)
    runs = compare.unlearned(frame)
    vanilla, others = runs[runs["strategy"] == "vanilla"], runs[~runs["strategy"].isin(["vanilla", "rum"])]
    gained = compare.subtract(others, vanilla, ["algorithm", "score", "seed"], kept=["strategy"])
    return _with_gains(intervals(frame, RUN, METRICS), gained, RUN)


def crossed_table(crossed: pd.DataFrame) -> pd.DataFrame:
    """The crossed design: RUM^F on one and the same forget set, refined in the order of each score.

    Args:
        crossed: the frame `crossed`, with the column `order`.

    Returns:
        `algorithm order n`, each metric with its interval over the seeds, and `x_gain x_gain_low x_gain_high`: the difference to
        memorization's order, paired by seed.
    """
    by = ["algorithm", "order"]
    return _with_gains(intervals(crossed, by, METRICS), compare.order_differences(crossed, "order"), by)


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
    others = compare.unlearned(unlearning)
    others = others[others["algorithm"] != "rum"]
    pairs = others.merge(full, on=keys, suffixes=("_other", ""), validate="many_to_one")

    gained = pairs[[*RUN, "seed"]].copy()
    for metric, gain in zip(METRICS, GAINS, strict=True):
        gained[gain] = pairs[metric] - pairs[f"{metric}_other"]
    return intervals(gained, RUN, GAINS)


def accuracy_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """Tables 2-7, what is behind ToW: accuracies, MIA efficacy and what it costs, with the oracle's beside them.

    Args:
        unlearning: the tidy frame of unlearning runs.

    Returns:
        `algorithm strategy score n` and `x x_half` (half the interval) for the accuracies on S, R and the test set, the MIA
        efficacy, the oracle's, the seconds, and `runtime_ratio`: seconds over the oracle's seconds, seed by seed. NaN where a
        run diverged. Times that seeds share, because their networks were trained as one stack, have no interval.
        `passes_retain passes_forget`, if the frame has them, are the passes over R and S of the whole strategy.
    """
    frame = compare.measured(unlearning)
    frame = frame.assign(runtime_ratio=frame["seconds"] / frame["oracle_seconds"])
    table = _halves(intervals(frame, RUN, [*_beside_the_oracle(ACCURACIES), *TIMES]))

    # one measurement, divided by the number of networks: "± 0" would say that it was made for every seed
    distinct = table[RUN].merge(frame.groupby(RUN, as_index=False, observed=True)[list(TIMES)].nunique(), how="left", on=RUN)
    for name in TIMES:
        table.loc[distinct[name] < table["n"], f"{name}_half"] = math.nan
    return _with_passes(table, frame, RUN)


def has_audits(unlearning: pd.DataFrame) -> bool:
    """Whether a frame has audits beyond the paper's.

    Args:
        unlearning: the tidy frame of unlearning runs.

    Returns:
        False for older frames, and for profiles without a pool, whose audits are NaN.
    """
    return set(AUDITS) <= set(unlearning) and unlearning[list(AUDITS)].notna().any(axis=None)


def audit_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """The audits beyond the paper, with the first oracle's own values beside them (METHOD §7b).

    Args:
        unlearning: a frame with audits (`has_audits`).

    Returns:
        `algorithm strategy score n` and `x x_half` for LiRA's AUC and its TPR at 1 % and .1 % FPR, RMIA's AUC, and the epochs to
        relearn S, each followed by the oracle's.
    """
    return _halves(intervals(compare.measured(unlearning), RUN, _beside_the_oracle(AUDITS)))


def klom_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """KLoM, the distance between the margins of unlearned models and of oracles over seeds, on S, R and T (METHOD §7b).

    Args:
        unlearning: a frame with audits (`has_audits`).

    Returns:
        `algorithm strategy score n` and, for S, R and T, the median and the 95th percentile over examples. All seeds together
        give one number, so there is no interval; the oracle's own is the ceiling's.
    """
    table = intervals(compare.measured(unlearning), RUN, KLOM)
    return table[[name for name in table.columns if not name.endswith(("_low", "_high"))]]


def sequential_table(sequential: pd.DataFrame) -> pd.DataFrame:
    """Figure 3 as numbers.

    Args:
        sequential: the tidy frame of sequential unlearning.

    Returns:
        Per strategy (with the floor and the ceiling, where they were measured), scope and step: `tow tow_mia` and their
        `…_change` since step 1, paired by seed, with intervals; and the passes over R and S, if the frame has them.
    """
    by = ["strategy", "scope", "step"]
    columns = [*METRICS, *(f"{metric}_change" for metric in METRICS)]
    table = intervals(changes(sequential), by, columns)

    # at step 1 the change is 0 by definition: that is no measurement, so it has no interval
    bounds = [name for name in table.columns if name.endswith(("_change_low", "_change_high"))]
    table.loc[table["step"] == 1, bounds] = math.nan
    return _with_passes(table, sequential, by)


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


def _with_gains(table: pd.DataFrame, gained: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The table with the mean of paired differences as `x_gain` with its interval, if there are any."""
    if not len(gained):
        return table

    renamed = {}
    for metric in METRICS:
        for end in ("", "_low", "_high"):
            renamed[f"{metric}{end}"] = f"{metric}_gain{end}"
    gains = intervals(gained, by, METRICS).rename(columns=renamed)
    return table.merge(gains[[*by, *renamed.values()]], how="left", on=by)


def _beside_the_oracle(names: tuple[str, ...]) -> list[str]:
    """Each name, followed by the oracle's."""
    columns = []
    for name in names:
        columns += [name, f"oracle_{name}"]
    return columns


def _with_passes(table: pd.DataFrame, frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The table with the mean passes over R and S, where the frame has them; they hardly differ between seeds."""
    found = [name for name in PASSES if name in frame]
    if not found:
        return table
    return table.merge(frame.groupby(by, as_index=False, observed=True)[found].mean(), how="left", on=by)


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
