"""The paper's tables, from tidy frames: Table 1 (proxies), Tables 2-7 (ToW and what is behind it), sequential steps.

Each function returns a tidy frame with raw names and one column per number; `write` turns it into a CSV (for programs,
six significant digits, the same bytes every time) and a Markdown page (for readers). Interval columns are `x`, `x_low`,
`x_high` or `x`, `x_half`; without an interval (one seed) they are empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mulnb.config import Profile
from mulnb.core import paths, stats, vocabulary
from mulnb.core.stats import Interval
from mulnb.core.vocabulary import METRICS

RUN = ["algorithm", "strategy", "score"]  # what a run is, apart from its seed
ACCURACIES = ("acc_forget", "acc_retain", "acc_test", "mia")
BETTER, WORSE = "▲", "▼"
MARKS = f" {BETTER} / {WORSE}: the 95 % interval of the difference{{}}, paired by seed, lies above / below 0."
GAINS = [f"{metric}_gain" for metric in METRICS]


def proxy_table(costs: pd.DataFrame) -> pd.DataFrame:
    """Table 1: per proxy ρ with memorization and its interval over seeds, seconds, share of exact scores; strongest first.

    `costs` has the columns `proxy seconds share_of_exact spearman ci_low ci_high n_seeds`.
    """
    columns = ["proxy", "spearman", "ci_low", "ci_high", "n_seeds", "seconds", "share_of_exact"]
    return costs[columns].sort_values(["spearman", "proxy"], ascending=[False, True], ignore_index=True)


def tow_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """Tables 2-7: `tow` and `tow_mia` per algorithm, strategy and score, with intervals over `n` seeds.

    `tow_gain` and `tow_mia_gain` are the differences to `vanilla` of the same algorithm on the same forget set, paired by
    seed. They are empty for vanilla itself, and for the full RUM, which has no vanilla: `rum_table` compares it.
    """
    table = intervals(unlearning, RUN, METRICS)
    others = [name for name in table["strategy"].unique() if name not in {"vanilla", "rum"}]
    gains = [differences(unlearning, name, "vanilla").drop(columns=["against", "n"]) for name in others]
    if not gains:
        return table
    renamed = {f"{metric}{end}": f"{metric}_gain{end}" for metric in METRICS for end in ("", "_low", "_high")}
    return table.merge(pd.concat(gains, ignore_index=True).rename(columns=renamed), how="left", on=RUN)


def rum_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """The full RUM minus every other run on the same forget set, paired by seed: `tow_gain`, `tow_mia_gain`, above 0 = RUM is
    better.

    A row per algorithm, strategy and score. It is compared with each of them, never with the best one: a winner picked on the
    reported seeds would be ahead by luck, too.
    """
    keys = ["score", "seed"]
    full = unlearning.loc[unlearning["strategy"] == "rum", [*keys, *METRICS]]
    others = unlearning[~unlearning["algorithm"].isin(["retrain", "rum"])]
    pairs = others.merge(full, on=keys, suffixes=("_other", ""), validate="many_to_one")
    delta = {gain: pairs[metric] - pairs[f"{metric}_other"] for metric, gain in zip(METRICS, GAINS, strict=True)}
    return intervals(pairs[[*RUN, "seed"]].assign(**delta), RUN, GAINS)


def accuracy_table(unlearning: pd.DataFrame) -> pd.DataFrame:
    """Tables 2-7, what is behind ToW: accuracies on S, R and test, MIA efficacy, the oracle's beside them, runtime.

    Every `x` has its `x_half` (half the interval over `n` seeds); `runtime_ratio` is seconds over the oracle's seconds,
    seed by seed. Where a run diverged its accuracies are empty: those of the other seeds alone would look better than it is.
    """
    frame = unlearning.assign(runtime_ratio=unlearning["seconds"] / unlearning["oracle_seconds"])
    columns = [name for pair in ((a, f"oracle_{a}") for a in ACCURACIES) for name in pair]
    return _halves(intervals(frame, RUN, [*columns, "seconds", "oracle_seconds", "runtime_ratio"]))


def sequential_table(sequential: pd.DataFrame) -> pd.DataFrame:
    """Figure 3 as numbers: per strategy, scope and step `tow`, `tow_mia` and `…_change` since step 1, paired by seed."""
    columns = [*METRICS, *(f"{metric}_change" for metric in METRICS)]
    table = intervals(changes(sequential), ["strategy", "scope", "step"], columns)
    zero_by_definition = [f"{metric}_change{end}" for metric in METRICS for end in ("_low", "_high")]
    table.loc[table["step"] == 1, zero_by_definition] = math.nan
    return table


def intervals(frame: pd.DataFrame, by: Sequence[str], columns: Iterable[str]) -> pd.DataFrame:
    """Per group of `by`: the count `n`, and for each column x its mean with the 95 % t interval: `x x_low x_high`."""
    rows = []
    for key, group in frame.groupby(list(by), sort=False, observed=True):
        row = {**dict(zip(by, key, strict=True)), "n": len(group)}
        for name in columns:
            row |= _flat(name, _interval(group[name].to_numpy()))
        rows.append(row)
    header = [*by, "n", *(f"{name}{end}" for name in columns for end in ("", "_low", "_high"))]
    return _sorted(pd.DataFrame(rows, columns=header), by)


def differences(
    frame: pd.DataFrame,
    strategy: str,
    against: str,
    by: Sequence[str] = ("algorithm", "score"),
    columns: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """`strategy` minus `against`, paired by seed: `by`, `strategy against n`, and x, x_low, x_high for each column.

    Only seeds that both have are used. Raises `ValueError` (pandas' MergeError) when a run appears twice.
    """
    keys = [*by, "seed"]
    one, other = (frame.loc[frame["strategy"] == name, [*keys, *columns]] for name in (strategy, against))
    pairs = one.merge(other, on=keys, suffixes=("", "_other"), validate="one_to_one")
    delta = pairs[keys].assign(**{name: pairs[name] - pairs[f"{name}_other"] for name in columns})
    table = intervals(delta, by, columns)
    table.insert(len(by), "strategy", strategy)
    table.insert(len(by) + 1, "against", against)
    return table


def changes(sequential: pd.DataFrame, columns: Sequence[str] = METRICS) -> pd.DataFrame:
    """The frame with `x_change`: x minus x at step 1 of the same strategy, scope and seed (Figure 3's vertical axis)."""
    keys = ["strategy", "scope", "seed"]
    first = sequential.loc[sequential["step"] == 1, [*keys, *columns]]
    pairs = sequential.merge(first, on=keys, suffixes=("", "_first"), validate="many_to_one")
    change = {f"{name}_change": pairs[name] - pairs[f"{name}_first"] for name in columns}
    return pairs.assign(**change).drop(columns=[f"{name}_first" for name in columns])


def write(frame: pd.DataFrame, profile: Profile, name: str, caption: str, text: str | None = None) -> list[Path]:
    """Write `<name>.csv` and `<name>.md` under the profile's results; `text` replaces the page made from the frame.

    Raises `UserError` when the folder cannot be written.
    """
    folder = paths.results(profile.name)
    csv = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    page = markdown(frame, profile, caption) if text is None else text
    return [paths.write_text(folder / f"{name}.csv", csv), paths.write_text(folder / f"{name}.md", page)]


def markdown(frame: pd.DataFrame, profile: Profile, caption: str) -> str:
    """The page a reader sees: profile, caption, n and what the intervals are; then cells such as "0.912 ± 0.013"."""
    head = f"**{profile.title}** (profile `{profile.name}`). {caption} {_note(frame)}".strip()
    parts = [head]
    for title, section in _sections(frame):
        parts += [f"### {title}"] if title else []
        parts += [grid(section)]
    return "\n\n".join(parts) + "\n"


def grid(frame: pd.DataFrame) -> str:
    """A frame of texts as a Markdown table."""
    return frame.to_markdown(index=False, disable_numparse=True)


def seeds(counts: Iterable[float]) -> str:
    """ "n = 3 seeds", "n = 1 seed", "n = 2 to 3 seeds"."""
    found = sorted({int(n) for n in counts})
    if not found:
        return "n = 0 seeds"
    span = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"n = {span} seed{'' if found[-1] == 1 else 's'}"


def interval_note(counts: Iterable[float], what: str = "mean and 95 % t interval") -> str:
    """What the error bars or the ± are: "mean and 95 % t interval over n = 3 seeds", or that one seed has none."""
    counts = list(counts)
    if not counts or max(counts) < 2:
        return f"single runs, {seeds(counts)}: no interval"
    note = f"{what} over {seeds(counts)}"
    return note if min(counts) > 1 else f"{note} (none where n = 1)"


# ---- from tidy columns to a reader's cells


def _interval(values: np.ndarray) -> Interval:
    """The t interval over runs; unknown where one of them diverged (NaN)."""
    return Interval(math.nan, math.nan, math.nan, len(values)) if np.isnan(values).any() else stats.t_interval(values)


def _flat(name: str, value: Interval) -> dict[str, float]:
    return {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}


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


def _sorted(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    def place(column: pd.Series) -> pd.Series:
        rank = {name: k for k, name in enumerate(vocabulary.ordered(column))} if column.dtype.kind not in "if" else {}
        return column.map(rank) if rank else column

    return table.sort_values(list(by), key=place, ignore_index=True, kind="stable")


def _note(frame: pd.DataFrame) -> str:
    if "n" in frame:
        note = interval_note(frame["n"])
        against = " to vanilla" if "tow" in frame else ""
        marks = "" if "tow_gain_low" not in frame or frame["tow_gain_low"].isna().all() else MARKS.format(against)
        return f"{note[0].upper()}{note[1:]}.{marks}"
    if "n_seeds" in frame:
        note = interval_note(frame["n_seeds"])
        return f"ρ: {note}."
    return ""


def _sections(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The Markdown tables of a page: ToW as algorithm × strategy by score, everything else row by row."""
    if "tow_gain" in frame and "tow" not in frame:
        return [(f"{vocabulary.label(metric)}, RUM − the other", _wide(frame, metric, f"{metric}_gain")) for metric in METRICS]
    if {*RUN, *METRICS} <= set(frame) and "acc_forget" not in frame:
        return [(vocabulary.label(metric), _wide(frame, metric, metric)) for metric in METRICS]
    if "acc_forget" in frame:
        groups = frame.groupby("algorithm", sort=False, observed=True)
        return [(vocabulary.label(key), readable(group.drop(columns="algorithm"))) for key, group in groups]
    return [("", readable(frame))]


def _wide(table: pd.DataFrame, metric: str, column: str) -> pd.DataFrame:
    """Rows algorithm × strategy, a column per score; a mark where the interval of the paired difference excludes 0."""
    spec = ".3f" if column == metric else "+.3f"
    cells = table.assign(cell=[_cell(row, column, spec) + _mark(row, metric) for row in table.to_dict("records")])
    wide = cells.pivot(index=RUN[:2], columns="score", values="cell")
    wide = _sorted(wide[vocabulary.ordered(wide.columns)].reset_index(), RUN[:2])
    wide[RUN[:2]] = wide[RUN[:2]].map(vocabulary.label)
    return wide.fillna("").rename(columns=vocabulary.label)


def _mark(row: dict, metric: str) -> str:
    low, high = row.get(f"{metric}_gain_low", math.nan), row.get(f"{metric}_gain_high", math.nan)
    return f" {BETTER}" if low > 0 else f" {WORSE}" if high < 0 else ""


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """One text column per quantity: interval columns are folded into "0.912 ± 0.013", names are written out."""
    out = {}
    for name in frame.columns:
        if name.endswith(("_low", "_high", "_half")):
            continue
        out[_heading(name)] = [_text(row, name) for row in frame.to_dict("records")]
    return pd.DataFrame(out)


def _text(row: dict, name: str) -> str:
    value = row[name]
    if isinstance(value, str):
        return vocabulary.label(value)
    if name in {"n", "n_seeds", "step"} or isinstance(value, (bool, np.bool_)):
        return str(value)
    if name == "share_of_exact":
        return f"{100 * value:.3g} %"
    if name in {"seconds", "oracle_seconds"}:
        return _cell(row, name, ".3g")
    return _cell(row, name)


def _cell(row: dict, name: str, spec: str = ".3f") -> str:
    """The interval beside `name`, wherever its bounds are; no bounds, no ±."""
    low, high = ("ci_low", "ci_high") if name == "spearman" else (f"{name}_low", f"{name}_high")
    value, half = row[name], row.get(f"{name}_half", math.nan)
    if math.isnan(value):
        return ""
    if not math.isnan(row.get(low, math.nan)):
        return format(Interval(value, row[low], row[high], 0), spec)
    return format(value, spec) + ("" if math.isnan(half) else f" ± {format(half, spec)}")


def _heading(name: str) -> str:
    return {
        "spearman": "ρ with memorization",
        "share_of_exact": "share of exact scores",
        "n_seeds": "seeds",
        "step": "step",
        "runtime_ratio": "time / retraining",
        "oracle_seconds": "oracle seconds",
        "tow_change": "ToW − step 1",
        "tow_mia_change": "ToW-MIA − step 1",
    }.get(name) or (f"oracle {vocabulary.label(name[7:])}" if name.startswith("oracle_") else vocabulary.label(name))
