"""The paper's claims, and what a profile's results say about each: shown, not shown, contradicted, or no results.

A verdict is read off an interval over seeds (differences paired by seed), never off a mean; where there is none (one seed) it is
"not shown". Only costs, which have no interval, are compared as they are. What counts as "as good as" or "cheap" is a margin of
this project, named below and in every statement that uses it.
Claims and published numbers: K. Zhao and P. Triantafillou, arXiv 2410.16516, as far as METHOD §3 could read them; what is said of
the full RUM is the claim of K. Zhao et al., arXiv 2406.01257, on which that paper builds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.core.stats import Interval, paired_difference
from mulnb.core.vocabulary import METRICS, label
from mulnb.results import compare, markdown, tables
from mulnb.results.paper import PAPER_PAIRS, PUBLISHED_RHO, PUBLISHED_SHARE

SHOWN, NOT_SHOWN, CONTRADICTED, NO_RESULTS = "shown", "not shown", "contradicted", "no results"
VERDICTS = (SHOWN, NOT_SHOWN, CONTRADICTED, NO_RESULTS)
COLUMNS = ["claim", "paper", "statement", "measured", "verdict", "evidence"]

MARGIN = 0.05  # of ToW or ToW-MIA: a proxy "as good as" memorization, and "stays stable", mean: no worse than this
CHEAP = 0.10  # share of the exact scores' cost below which a proxy counts as cheap


@dataclass(frozen=True)
class Claim:
    """What the paper says, where, and in words that a reader of the results can check."""

    id: str
    paper: str
    statement: str


CLAIMS = (
    Claim("proxy-sign", "Table 1", "A proxy ranks examples as memorization does: its ρ with memorization is positive."),
    Claim("proxy-range", "Table 1", "A proxy's ρ with memorization reaches at least the low end of the range published for it."),
    Claim("proxy-cheap", "Table 1", f"A proxy costs a small part of exact scores (here: less than {100 * CHEAP:.0f} %)."),
    Claim("proxy-share", "Table 1", "A proxy costs no larger a share of exact scores than published."),
    Claim("refine-vanilla", "Fig. 2", "RUM^F is better than vanilla unlearning on the same forget set."),
    Claim("refine-shuffle", "Fig. 2", "RUM^F is better than three random parts: refinement helps, not just more steps."),
    Claim("rum-vanilla", "arXiv 2406.01257", "The full RUM is better than vanilla unlearning with each of its algorithms."),
    Claim("proxy-as-good", "Fig. 2", f"RUM^F with a proxy is as good as with memorization (no worse than {MARGIN})."),
    Claim("sequential-better", "Fig. 3", "After the last request RUM^F has lost less than vanilla, on the union of all sets."),
    Claim("sequential-stable", "Fig. 3", f"After the last request RUM^F is as good as after the first (no worse than {MARGIN})."),
)
BY_ID = {claim.id: claim for claim in CLAIMS}


def verdicts(
    profile: Profile,
    costs: pd.DataFrame | None = None,
    unlearning: pd.DataFrame | None = None,
    sequential: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per claim and case (a proxy, or algorithm × score × metric): `claim paper statement measured verdict evidence`.

    A frame that is not given leaves its claims at "no results". `profile` names the pool whose cost the shares refer to, and
    whether there is a full RUM to judge.
    """
    rows = [*_about_proxies(profile, costs), *_about_refinement(unlearning), *_about_rum(profile, unlearning)]
    rows += _about_steps(sequential)
    told = {row["claim"] for row in rows}
    rows += [_row(claim.id, "", NO_RESULTS, "") for claim in examined(profile) if claim.id not in told]
    place = {claim.id: k for k, claim in enumerate(CLAIMS)}
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values("claim", key=lambda ids: ids.map(place), kind="stable", ignore_index=True)


def examined(profile: Profile) -> list[Claim]:
    """The claims that a profile is asked about: all, but that on the full RUM only where it runs it."""
    return [claim for claim in CLAIMS if claim.id != "rum-vanilla" or profile.unlearning.rum is not None]


def above(interval: Interval, threshold: float = 0.0) -> str:
    """The verdict on "the mean lies above `threshold`": shown or contradicted when the whole interval is on one side of it."""
    if not interval.known:
        return NOT_SHOWN
    return SHOWN if interval.low > threshold else CONTRADICTED if interval.high < threshold else NOT_SHOWN


# ---- the claims, table by table


def _about_proxies(profile: Profile, costs: pd.DataFrame | None) -> Iterator[dict]:
    for cell in [] if costs is None else tables.proxy_table(costs).to_dict("records"):
        name, share = cell["proxy"], cell["share_of_exact"]
        rho = Interval(cell["spearman"], cell["ci_low"], cell["ci_high"], int(cell.get("n_seeds", 1)))
        yield _row("proxy-sign", label(name), above(rho), f"ρ = {rho}, n = {rho.n}")
        if name in PUBLISHED_RHO:
            low, high = PUBLISHED_RHO[name]
            reached = above(rho, low)
            if reached == CONTRADICTED and not _in_the_paper(profile):
                reached = NOT_SHOWN  # published for other data: a weaker proxy here contradicts nothing there
            yield _row("proxy-range", label(name), reached, f"ρ = {rho}, n = {rho.n}; published {low:.2f} to {high:.2f}")
        cost = f"{cell['seconds']:.3g} s, {100 * share:.3g} % of {profile.pool.models} models"
        yield _row("proxy-cheap", label(name), SHOWN if share < CHEAP else CONTRADICTED if share >= 1 else NOT_SHOWN, cost)
        if name in PUBLISHED_SHARE:
            reached = SHOWN if share <= PUBLISHED_SHARE[name] else NOT_SHOWN  # another pool: a larger share contradicts nothing
            yield _row("proxy-share", label(name), reached, f"{cost}; published {100 * PUBLISHED_SHARE[name]:.3g} %")


def _about_refinement(unlearning: pd.DataFrame | None) -> Iterator[dict]:
    """Of the scores only those of the paper's Figure 2; the others are in the tables."""
    if unlearning is None:
        return
    runs = unlearning[~unlearning["algorithm"].isin(["retrain", "rum"]) & unlearning["score"].isin(vocabulary.FIGURE_2_SCORES)]
    for claim, other in (("refine-vanilla", "vanilla"), ("refine-shuffle", "shuffle")):
        for cell in compare.differences(runs, "rum_f", other).to_dict("records"):
            for metric in METRICS:
                difference = _interval(cell, metric)
                case = f"{label(metric)}, {label(cell['algorithm'])}, {label(cell['score'])}"
                yield _row(claim, case, above(difference), f"RUM^F − {label(other)} = {_signed(difference)}")
    yield from _proxy_against_memorization(runs[runs["strategy"] == "rum_f"])


def _about_rum(profile: Profile, unlearning: pd.DataFrame | None) -> Iterator[dict]:
    """The full RUM against vanilla of each algorithm that it is made of; those of the others are in `table_rum`."""
    if unlearning is None or profile.unlearning.rum is None:
        return
    parts = {stage.algorithm for stage in profile.unlearning.rum.stages}
    table = tables.rum_table(unlearning[unlearning["score"].isin(vocabulary.FIGURE_2_SCORES)])
    table = table[table["algorithm"].isin(parts) & (table["strategy"] == "vanilla")]
    for cell in table.to_dict("records"):
        for metric, gain in zip(METRICS, tables.GAINS, strict=True):
            difference = _interval(cell, gain)
            case = f"{label(metric)}, {label(cell['algorithm'])}, {label(cell['score'])}"
            yield _row("rum-vanilla", case, above(difference), f"RUM − vanilla = {_signed(difference)}")


def _proxy_against_memorization(refined: pd.DataFrame) -> Iterator[dict]:
    exact = refined[refined["score"] == "memorization"]
    proxies = refined[refined["score"] != "memorization"]
    for algorithm in vocabulary.ordered(proxies["algorithm"]):
        for score in vocabulary.ordered(proxies["score"]):
            ours = proxies[(proxies["algorithm"] == algorithm) & (proxies["score"] == score)]
            pairs = ours.merge(exact[exact["algorithm"] == algorithm], on="seed", suffixes=("", "_exact"), validate="one_to_one")
            for metric in METRICS if len(pairs) else ():
                difference = paired_difference(pairs[metric].to_numpy(), pairs[f"{metric}_exact"].to_numpy())
                case = f"{label(metric)}, {label(algorithm)}, {label(score)}"
                yield _row("proxy-as-good", case, above(difference, -MARGIN), f"proxy − memorization = {_signed(difference)}")


def _about_steps(sequential: pd.DataFrame | None) -> Iterator[dict]:
    if sequential is None:
        return
    last = compare.changes(sequential)
    last = last[(last["scope"] == "union") & (last["step"] == last["step"].max())]
    changes = [f"{metric}_change" for metric in METRICS]
    by = ["algorithm", "step"]
    for cell in compare.differences(last, "rum_f", "vanilla", by=by, columns=changes).to_dict("records"):
        for metric, change in zip(METRICS, changes, strict=True):
            difference, case = _interval(cell, change), f"{label(metric)}, {label(cell['algorithm'])}, step {cell['step']}"
            yield _row("sequential-better", case, above(difference), f"RUM^F − vanilla = {_signed(difference)}")
    for cell in compare.intervals(last[last["strategy"] == "rum_f"], by, changes).to_dict("records"):
        for metric, change in zip(METRICS, changes, strict=True):
            lost, case = _interval(cell, change), f"{label(metric)}, {label(cell['algorithm'])}, step {cell['step']}"
            yield _row("sequential-stable", case, above(lost, -MARGIN), f"change since step 1 = {_signed(lost)}")


def _interval(cell: dict, name: str) -> Interval:
    return Interval(cell[name], cell[f"{name}_low"], cell[f"{name}_high"], int(cell["n"]))


def _row(claim: str, measured: str, verdict: str, evidence: str) -> dict:
    about = BY_ID[claim]
    return dict(zip(COLUMNS, (claim, about.paper, about.statement, measured, verdict, evidence), strict=True))


def _signed(difference: Interval) -> str:
    return f"{difference:+.3f}" + (f", n = {difference.n}" if difference.known else "")


# ---- what a reader sees


def summary(verdicts: pd.DataFrame, profile: Profile) -> str:
    """A Markdown page: what kind of evidence this profile is, a line per claim, what is *not* shown, and every case."""
    mixed = f" {mix}." if (mix := vocabulary.mix(profile.unlearning.rum)) else ""
    parts = [f"**{profile.title}** (profile `{profile.name}`, n = {len(profile.seeds)} seeds). {standing(profile)}{mixed}"]
    parts += ["### Claim by claim", markdown.grid(counts(verdicts))]
    parts += [_chance(verdicts), "### What this profile does not show", "\n".join(_gaps(verdicts))]
    parts += ["### Every case", markdown.grid(verdicts.drop(columns="statement"))]
    return "\n\n".join(parts) + "\n"


def text(verdicts: pd.DataFrame) -> str:
    """The same for a terminal: per claim the counts, then what is not shown."""
    table = counts(verdicts).to_string(index=False, justify="left", formatters={"claim": "{:<90}".format})
    return f"{table}\n\n{_chance(verdicts)}\n\nNot shown:\n" + "\n".join(_gaps(verdicts)).replace("**", "").replace(
        "table below", "see claims.csv"
    )


def write(verdicts: pd.DataFrame, profile: Profile) -> list[Path]:
    """Write `claims.csv` and `claims.md` under the profile's results."""
    return tables.write(verdicts, profile, "claims", "The paper's claims.", text=summary(verdicts, profile))


def _in_the_paper(profile: Profile) -> bool:
    return _a_pair(profile) and not _reductions(profile)


def _a_pair(profile: Profile) -> bool:
    return (profile.dataset.name, profile.model.arch) in PAPER_PAIRS


def _reductions(profile: Profile) -> list[str]:
    """How a profile is smaller than the published pair."""
    data = profile.dataset
    sizes = {"{} classes": data.classes, "{} training images": data.train_images, "{0}×{0} pixels": data.size}
    sizes["a network of width {}"] = profile.model.width
    return [words.format(value) for words, value in sizes.items() if value is not None]


def standing(profile: Profile) -> str:
    if not _a_pair(profile):
        return (
            "**A demonstration**: the paper did not use this data set and network, so what is shown here shows how the method "
            "behaves on a small problem; it neither reproduces nor refutes the paper's numbers."
        )
    if reduced := _reductions(profile):
        return (
            f"**A reduced version** of one of the paper's pairs of data set and architecture ({', '.join(reduced)}): it shows "
            "how the method behaves at this size; it neither reproduces nor refutes the paper's numbers."
        )
    return "One of the paper's pairs of data set and architecture; compare the sizes in the profile with the paper's."


def counts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """A row per claim: how many of its cases are shown, not shown, contradicted."""
    rows = []
    for claim in _told(verdicts):
        found = verdicts.loc[verdicts["claim"] == claim.id, "verdict"]
        cells = [str(int((found == verdict).sum())) if NO_RESULTS not in set(found) else "–" for verdict in VERDICTS[:3]]
        rows.append([claim.statement, claim.paper, *cells])
    return pd.DataFrame(rows, columns=["claim", "paper", *VERDICTS[:3]])


def _told(verdicts: pd.DataFrame) -> list[Claim]:
    return [claim for claim in CLAIMS if claim.id in set(verdicts["claim"])]


def _chance(verdicts: pd.DataFrame) -> str:
    """What the reader must know of many intervals at once: one in forty lies above 0 where there is no difference."""
    rules = "Each case has its own 95 % t interval over the seeds; margins and thresholds are this project's, not the paper's."
    compared = verdicts[verdicts["claim"].isin(["refine-vanilla", "refine-shuffle", "rum-vanilla"])]
    count = int((compared["verdict"] != NO_RESULTS).sum())
    if not count:
        return rules
    by_chance = max(1, round(count / 40))
    chance = f"Without any difference, chance alone would make about {by_chance} of {count} comparisons of strategies shown."
    return f"{rules} {chance}"


def _gaps(verdicts: pd.DataFrame) -> Iterable[str]:
    """A line per claim that is not shown in every case: which cases fail, and whether the data say the opposite."""
    lines = []
    for claim in _told(verdicts):
        cases = verdicts[verdicts["claim"] == claim.id]
        if (cases["verdict"] == NO_RESULTS).any():
            lines.append(f"- {claim.statement[:-1]} ({claim.paper}): **no results yet**.")
            continue
        failed = [(verdict, cases.loc[cases["verdict"] == verdict, "measured"].tolist()) for verdict in (CONTRADICTED, NOT_SHOWN)]
        told = [f"{verdict} {_where(found)}" for verdict, found in failed if found]
        if told:
            shown = f"{int((cases['verdict'] == SHOWN).sum())} of {len(cases)} cases shown"
            lines.append(f"- {claim.statement[:-1]} ({claim.paper}): {shown}; {' / '.join(told)}.")
    return lines or ["- Every claim above is shown in every case."]


def _where(cases: list[str]) -> str:
    return f"for {'; '.join(cases)}" if len(cases) <= 4 else f"in {len(cases)} cases (table below)"
