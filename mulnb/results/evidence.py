"""What each claim is judged by: values over seeds, taken from the tidy frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from mulnb.config import Profile
from mulnb.core import stats, vocabulary
from mulnb.core.vocabulary import FLOOR, METRICS
from mulnb.results import compare
from mulnb.results.paper import PAPER_PROXIES, PUBLISHED_RHO
from mulnb.results.verdicts import BETTER, NO_WORSE, Rule

CASE = ["metric", "algorithm", "score"]  # what identifies a case of a claim


@dataclass(frozen=True)
class Evidence:
    """The values that a claim is judged by.

    `values` has a row per case and seed: `metric algorithm score seed value`, and `converged` where runs are marked. `algorithm`
    is "" where a claim is about none.
    """

    claim: str
    what: str  # what `value` is, for example "RUM^F − vanilla"
    rule: Rule
    values: pd.DataFrame
    note: str = ""


def correlations(proxies: pd.DataFrame, memorization: pd.DataFrame) -> pd.DataFrame:
    """Spearman's ρ of each proxy with memorization, seed by seed.

    Args:
        proxies: `example proxy seed raw value`.
        memorization: `example memorization` and more.

    Returns:
        `proxy seed spearman`; a proxy that is constant in a seed has no row for it.
    """
    truth = memorization.set_index("example")["memorization"]
    rows = []
    for (proxy, seed), group in proxies.groupby(["proxy", "seed"], sort=False, observed=True):
        try:
            rho = stats.spearman(group["value"].to_numpy(), truth.loc[group["example"]].to_numpy()).mean
        except ValueError:  # constant, or too few examples
            continue
        rows.append((proxy, seed, rho))
    return pd.DataFrame(rows, columns=["proxy", "seed", "spearman"])


def of_proxies(correlations: pd.DataFrame | None) -> Iterator[Evidence]:
    """Table 1: the sign of ρ, and whether it reaches what was published. Of the paper's proxies only.

    Args:
        correlations: `proxy seed spearman`.

    Yields:
        The evidence for `proxy-sign` and `proxy-range`.
    """
    if correlations is None:
        return
    ours = correlations[correlations["proxy"].isin(PAPER_PROXIES)]
    values = ours.rename(columns={"proxy": "score", "spearman": "value"}).assign(metric="ρ", algorithm="")
    yield Evidence("proxy-sign", "ρ", Rule(), values)

    published = values[values["score"].isin(PUBLISHED_RHO)]
    if len(published):
        low = published["score"].map(lambda name: PUBLISHED_RHO[name][0])
        yield Evidence("proxy-range", "ρ − low end", Rule(), published.assign(value=published["value"] - low))


def of_refinement(unlearning: pd.DataFrame | None) -> Iterator[Evidence]:
    """Figure 2: RUM^F against vanilla, and against the two controls for "more steps".

    Args:
        unlearning: the tidy frame of unlearning runs. Of its scores only those of the paper's Figure 2 count.

    Yields:
        The evidence for `refine-vanilla`, `refine-repeat` and `refine-shuffle`, as far as those strategies ran.
    """
    if unlearning is None:
        return
    runs = compare.unlearned(unlearning)
    runs = runs[runs["score"].isin(vocabulary.FIGURE_2_SCORES)]
    for other in ("vanilla", "repeat", "shuffle"):
        difference = compare.paired(runs, "rum_f", other)
        if len(difference):
            yield Evidence(f"refine-{other}", f"RUM^F − {vocabulary.label(other)}", BETTER, _long(difference))


def of_the_full_rum(profile: Profile, unlearning: pd.DataFrame | None) -> Iterator[Evidence]:
    """The full RUM against vanilla of each algorithm that it is made of.

    Args:
        profile: names those algorithms.
        unlearning: the tidy frame of unlearning runs.

    Yields:
        The evidence for `rum-vanilla`, if the full RUM ran.
    """
    if unlearning is None or profile.unlearning.rum is None:
        return
    runs = unlearning[unlearning["score"].isin(vocabulary.FIGURE_2_SCORES)]
    difference = compare.rum_differences(runs, profile.unlearning.rum.algorithms)
    if len(difference):
        yield Evidence("rum-vanilla", "RUM − vanilla", BETTER, _long(difference))


def of_orders(unlearning: pd.DataFrame | None, crossed: pd.DataFrame | None) -> Iterator[Evidence]:
    """Is a proxy as good as memorization? The crossed design: the same forget set, refined by each score's order.

    Args:
        unlearning: the tidy frame of unlearning runs. It is used only where there is no crossed frame: there the proxy chose
            another forget set, so that two things differ at once.
        crossed: the frame of the crossed design.

    Yields:
        The evidence for `proxy-as-good`.
    """
    if crossed is not None and len(crossed):
        runs, name, what, note = crossed, "order", "its order − memorization's", ""
    elif unlearning is not None:
        runs = compare.unlearned(unlearning)
        runs, name, what = runs[runs["strategy"] == "rum_f"], "score", "its set − memorization's"
        note = "no crossed runs: the forget sets differ, too"
    else:
        return

    difference = compare.order_differences(runs[runs[name].isin(vocabulary.FIGURE_2_SCORES)], name)
    if len(difference):
        yield Evidence("proxy-as-good", what, NO_WORSE, _long(difference.rename(columns={name: "score"})), note)


def of_steps(sequential: pd.DataFrame | None) -> Iterator[Evidence]:
    """Figure 3: levels at the last step, on the union of all forget sets.

    Args:
        sequential: the tidy frame of sequential unlearning.

    Yields:
        The evidence for `sequential-better`, and for `sequential-floor` if the floor was measured.
    """
    if sequential is None:
        return
    # the union is what was promised to all who asked so far; a step's own set would leave out who asked before
    last = sequential[(sequential["scope"] == "union") & (sequential["step"] == sequential["step"].max())]
    runs = compare.unlearned(last)
    yield Evidence("sequential-better", "RUM^F − vanilla", BETTER, _long(compare.paired(runs, "rum_f", "vanilla")))

    floor = last[compare.end_of(last) == FLOOR]
    ours = runs[runs["strategy"] == "rum_f"]
    if len(floor) and len(ours):
        difference = compare.subtract(ours, floor, ["seed"], kept=["algorithm"]).assign(score="")
        yield Evidence("sequential-floor", "RUM^F − floor", BETTER, _long(difference))


def _long(difference: pd.DataFrame) -> pd.DataFrame:
    """A row per metric."""
    keys = [name for name in difference.columns if name not in METRICS]
    return difference.melt(id_vars=keys, value_vars=list(METRICS), var_name="metric", value_name="value")
