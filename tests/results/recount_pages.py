"""How the pages write what `recounting` computes, and how their tables are read back."""

from __future__ import annotations

import json
import math
import re
from collections import Counter

import pandas as pd
import pytest
import recounting as again
from recounting import FIGURES

from mulnb.core.vocabulary import label  # names only: nothing is computed with it

TREE = FIGURES.parent
PAPER_SIZES = ("cifar10", "cifar100", "tiny-imagenet")  # profiles that are the paper's experiments in every size
DECIDED = ("shown", "contradicted", "equivalent", "undecided")
every_profile = pytest.mark.parametrize("profile", again.PROFILES)


# ---- what is there; a test is skipped where a profile lacks what it needs


def need(profile: str, name: str) -> pd.DataFrame:
    """A frame; the test is skipped where the profile has none."""
    found = again.frame(profile, name)
    if found is None or len(found) == 0:
        pytest.skip(f"{profile} has no frame {name}")
    return found


def need_table(profile: str, name: str) -> pd.DataFrame:
    """A table; the test is skipped where the profile has none."""
    found = again.table(profile, name)
    if found is None:
        pytest.skip(f"{profile} has no table {name}")
    return found


def record(profile: str) -> dict:
    return json.loads((FIGURES / profile / "run.json").read_text())


def page(profile: str, name: str) -> str:
    path = FIGURES / profile / name
    if not path.is_file():
        pytest.skip(f"{profile} has no {name}")
    return path.read_text()


def grids(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text, each a list of rows of cells; the first row is the heading."""
    found, open_table = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            open_table = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not open_table:
            found.append([])
        open_table = True
        if not set("".join(cells)) <= set(":- "):
            found[-1].append(cells)
    return found


def said(value: float, half: float = math.nan, spec: str = ".3f") -> str:
    """A number with half its interval, as tables show it."""
    if math.isnan(value) or math.isinf(value):
        return "" if math.isnan(value) else "∞"
    return format(value, spec) + ("" if math.isnan(half) else f" ± {half:{spec.lstrip('+')}}")


def ways(value: float, half: float = math.nan, spec: str = ".3f") -> set[str]:
    """How a number of a CSV file, which has six digits, may have been rounded before."""
    near = (1 - 5e-6, 1, 1 + 5e-6)
    return {said(value * a, half * b, spec) for a in near for b in near}


def mean_and_half(values) -> tuple[float, float]:
    return again.interval(values)[0], again.half(values)


def numbers(text: str) -> list[str]:
    """The decimal numbers of a text in their order, with their signs."""
    return re.findall(r"(?<![\d.])[+-]?\d+\.\d+", text.replace("−", "-"))


# ---- verdicts


def measured_as(row) -> str:
    """How an estimate is called in `claims.csv`."""
    if row.metric == "ρ":
        mean = "mean over the paper's proxies" + " with a published range" * (row.claim == "proxy-range")
        return label(row.score) if row.kind == "secondary" else mean
    names = [label(row.metric), "all algorithms" if row.algorithm == "all" else label(row.algorithm)]
    return ", ".join(names + ([label(row.score)] if row.score else []))


def verdict_of(profile: str, row) -> str:
    """A weaker proxy on other data or sizes contradicts nothing that was published for the paper's."""
    softened = row.claim == "proxy-range" and profile not in PAPER_SIZES
    return "undecided" if softened and row.verdict == "contradicted" else row.verdict


def of_costs(profile: str) -> dict[tuple[str, str, str], tuple[str, float, str]]:
    """Per claim, kind and name of an estimate of costs: the proxy, its share of exact scores, and the verdict."""
    costs = again.table(profile, "table1_proxies")
    if costs is None or costs["share_of_exact"].isna().all():
        return {}
    share = costs[costs["paper"]].set_index("proxy")["share_of_exact"]
    published = pd.Series(again.SHARE)

    def row(name: str, cheap: bool) -> tuple[str, float, str]:
        if share[name] <= (again.CHEAP if cheap else published[name]):
            return name, share[name], "shown"
        return name, share[name], "contradicted" if cheap or profile in PAPER_SIZES else "undecided"

    found = {("proxy-cheap", "primary", "the dearest proxy of the paper"): row(share.idxmax(), True)}
    worst = (share[published.index] / published).idxmax()
    found["proxy-share", "primary", "the furthest from its published share"] = row(worst, False)
    found |= {("proxy-cheap", "secondary", label(name)): row(name, True) for name in share.index}
    found |= {("proxy-share", "secondary", label(name)): row(name, False) for name in published.index}
    return found


def counted(profile: str) -> dict[str, tuple[str, list[str]]]:
    """Per claim with results: its leading verdicts, and how many cases have which verdict."""
    found = again.decided(profile)
    told = {}

    costs = of_costs(profile)
    for claim in dict.fromkeys(key[0] for key in costs):
        (lead,) = [verdict for key, (_, _, verdict) in costs.items() if key[:2] == (claim, "primary")]
        cases = Counter(verdict for key, (_, _, verdict) in costs.items() if key[:2] == (claim, "secondary"))
        told[claim] = lead, [str(cases[name]) for name in DECIDED]

    for claim, rows in found.groupby("claim"):
        primary, cases = (rows[rows["kind"] == kind] for kind in ("primary", "secondary"))
        leading = primary[primary["algorithm"] == "all"] if (primary["algorithm"] == "all").any() else primary
        leads = []
        for row in leading.sort_values("metric").itertuples():
            leads.append(f"{label(row.metric)} {verdict_of(profile, row)}" if row.metric != "ρ" else verdict_of(profile, row))
        verdicts = Counter(verdict_of(profile, row) for row in cases.itertuples())
        told[claim] = "; ".join(leads), [str(verdicts[name]) if len(cases) else "–" for name in DECIDED]
    return told


def statements(profile: str) -> dict[str, str]:
    return again.table(profile, "claims").set_index("claim")["statement"].to_dict()
