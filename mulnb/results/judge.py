"""Judges every claim by what a profile's frames show: shown, contradicted, equivalent, undecided, or no results.

A claim leads with its *primary* estimates: one per unlearning algorithm and one over all, from the mean over scores within a
seed. Its *cases* (algorithm × score × metric) are secondary and corrected for their number. Only costs, which have no interval,
are compared as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from mulnb.config import Profile
from mulnb.core.vocabulary import label, ordered
from mulnb.results import evidence
from mulnb.results.evidence import CASE, Evidence
from mulnb.results.paper import PAPER_PROXIES, PUBLISHED_SHARE
from mulnb.results.standing import in_the_paper
from mulnb.results.statements import BY_ID, CHEAP, CLAIMS, PRIMARY, SECONDARY, examined
from mulnb.results.verdicts import CONTRADICTED, DISAGREE, MARGIN, NO_RESULTS, OPEN, SHOWN, UNDECIDED, Case, Decision
from mulnb.results.verdicts import primary as decide_primary
from mulnb.results.verdicts import secondary as decide_secondary

COLUMNS = ["claim", "paper", "kind", "statement", "measured", "estimate", "low", "high", "n", "verdict", "halves", "evidence"]


def verdicts(
    profile: Profile,
    costs: pd.DataFrame | None = None,
    correlations: pd.DataFrame | None = None,
    unlearning: pd.DataFrame | None = None,
    crossed: pd.DataFrame | None = None,
    sequential: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Judge every claim by what a profile's frames show.

    Args:
        profile: the study; it says whether it is one of the paper's experiments, and whether there is a full RUM to judge.
        costs: the frame `proxy_costs`.
        correlations: `proxy seed spearman` (`evidence.correlations`).
        unlearning: the frame `unlearning`.
        crossed: the frame `crossed`.
        sequential: the frame `sequential`.

    Returns:
        The columns `COLUMNS`: per claim its primary estimates, then its cases. A claim whose frame is not given is there once,
        with "no results".
    """
    rows = list(_of_costs(profile, costs))
    for found in (
        evidence.of_proxies(correlations),
        evidence.of_refinement(unlearning),
        evidence.of_the_full_rum(profile, unlearning),
        evidence.of_orders(unlearning, crossed),
        evidence.of_steps(sequential),
    ):
        for part in found:
            rows += _judged(part, profile)

    told = {row["claim"] for row in rows}
    for claim in examined(profile):
        if claim.id not in told:
            rows.append(_row(claim.id, PRIMARY, "", NO_RESULTS, ""))

    place = {claim.id: k for k, claim in enumerate(CLAIMS)}
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values("claim", key=lambda ids: ids.map(place), kind="stable", ignore_index=True)


# ---- claims that are judged by values over seeds


def _judged(part: Evidence, profile: Profile) -> list[dict]:
    """The rows of one claim: for each metric all algorithms and each algorithm, then the cases."""
    rows = []
    for metric in ordered(part.values["metric"]):
        values = part.values[part.values["metric"] == metric]
        algorithms = ordered(values["algorithm"])
        groups = {"": values} if len(algorithms) > 1 else {}
        groups |= {name: values[values["algorithm"] == name] for name in algorithms}
        for name, group in groups.items():
            # the mean over scores and algorithms within each seed
            decision = decide_primary(_case(group.groupby("seed", as_index=False)["value"].mean()), part.rule)
            rows.append(_decided(part, PRIMARY, _primary_name(part.claim, metric, name), decision, group, profile))

    # a claim with one score has no cases beside its primary estimates
    cases = list(part.values.groupby(CASE, sort=False, observed=True))
    if part.values["score"].nunique() > 1:
        decisions = decide_secondary([_case(group) for _, group in cases], part.rule)
        for (names, group), decision in zip(cases, decisions, strict=True):
            rows.append(_decided(part, SECONDARY, _name(*names), decision, group, profile))
    return rows


def _case(group: pd.DataFrame) -> Case:
    group = group.sort_values("seed")
    return Case(group["value"].to_numpy(float), group["seed"].to_numpy(int))


def _decided(part: Evidence, kind: str, name: str, decision: Decision, group: pd.DataFrame, profile: Profile) -> dict:
    """The row of one estimate, with what its verdict rests on in words."""
    verdict, interval = decision.verdict, decision.interval
    sign = "" if part.what == "ρ" else "+"
    sentences = [f"{part.what} = {interval:{sign}.3f}" + (f", n = {interval.n}" if interval.known else "")]

    if part.claim == "proxy-range" and verdict == CONTRADICTED and not in_the_paper(profile):
        verdict = UNDECIDED
        sentences.append("published for other data or sizes: a weaker proxy here contradicts nothing there")
    elif verdict == UNDECIDED:
        sentences.append(_needed(decision))
    elif verdict in (SHOWN, CONTRADICTED) and decision.within:
        sentences.append(f"but within ± {MARGIN}")
    if decision.halves == DISAGREE:
        sentences.append("odd and even seeds decide it in opposite ways")
    if part.note:
        sentences.append(part.note)
    if "converged" in group and not group["converged"].all():
        count = int((~group["converged"]).sum())
        sentences.append(f"† {count} of {len(group)} differences have an original or oracle that did not fit the retain set")

    numbers = {"estimate": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
    return _row(part.claim, kind, name, verdict, "; ".join(sentences), halves=decision.halves, **numbers)


def _needed(decision: Decision) -> str:
    """How many seeds would decide what these leave open."""
    if decision.interval.n == 1:
        return "one seed decides nothing"
    if decision.needed is None:
        return "more than 10 000 seeds would be needed"
    return f"n = {max(decision.needed, decision.interval.n + 1)} seeds would decide it"


def _primary_name(claim: str, metric: str, algorithm: str) -> str:
    if metric == "ρ":
        which = " with a published range" if claim == "proxy-range" else ""
        return f"mean over the paper's proxies{which}"
    return f"{label(metric)}, {label(algorithm) if algorithm else 'all algorithms'}"


def _name(metric: str, algorithm: str, score: str) -> str:
    if metric == "ρ":
        return label(score)
    return ", ".join(label(part) for part in (metric, algorithm, score) if part)


# ---- claims on costs, which have no interval


def _of_costs(profile: Profile, costs: pd.DataFrame | None) -> Iterator[dict]:
    """What the paper's proxies cost, as a share of exact scores."""
    if costs is None:
        return
    ours = costs[costs["proxy"].isin(PAPER_PROXIES)].sort_values("share_of_exact", ascending=False, kind="stable")
    if ours["share_of_exact"].isna().all():  # exact scores were imported: nobody knows what they cost
        return
    published = ours[ours["proxy"].isin(PUBLISHED_SHARE)]
    dearest = "the dearest proxy of the paper"

    yield _cost_row("proxy-cheap", PRIMARY, dearest, ours.iloc[0], CHEAP, profile)
    for _, cell in ours.iterrows():
        yield _cost_row("proxy-cheap", SECONDARY, label(cell["proxy"]), cell, CHEAP, profile)

    if len(published):
        excess = published["share_of_exact"] / published["proxy"].map(PUBLISHED_SHARE)
        worst = published.loc[excess.idxmax()]
        yield _cost_row("proxy-share", PRIMARY, "the furthest from its published share", worst, None, profile)
    for _, cell in published.iterrows():
        yield _cost_row("proxy-share", SECONDARY, label(cell["proxy"]), cell, None, profile)


def _cost_row(claim: str, kind: str, name: str, cell: pd.Series, limit: float | None, profile: Profile) -> dict:
    """One proxy's share against a limit; without one, against its published share."""
    share = float(cell["share_of_exact"])
    text = f"{label(cell['proxy'])}: {cell['seconds']:.3g} s, {100 * share:.3g} % of {profile.pool.models} models"
    if limit is not None:
        verdict = SHOWN if share < limit else CONTRADICTED
    else:
        limit = PUBLISHED_SHARE[cell["proxy"]]
        text += f"; published {100 * limit:.3g} %"
        verdict = CONTRADICTED if in_the_paper(profile) else UNDECIDED
        if share <= limit:
            verdict = SHOWN
        if verdict == UNDECIDED:
            text += ", for another pool: a larger share here contradicts nothing there"
    return _row(claim, kind, name, verdict, text, estimate=share, n=int(cell.get("n_seeds", 1)))


def _row(claim: str, kind: str, measured: str, verdict: str, text: str, **known: float | str) -> dict:
    """A row of the frame; `known` are the columns `estimate low high n halves`, as far as there is something to say."""
    about = {"claim": claim, "paper": BY_ID[claim].paper, "statement": BY_ID[claim].statement}
    unknown = {"estimate": math.nan, "low": math.nan, "high": math.nan, "n": 0, "halves": OPEN}
    return about | {"kind": kind, "measured": measured, "verdict": verdict, "evidence": text} | unknown | known
