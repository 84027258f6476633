"""The ledger: what a profile's results say about the paper's claims, in sentences and case by case."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mulnb.config import Profile
from mulnb.core import vocabulary
from mulnb.results import markdown, tables
from mulnb.results.captions import seeds
from mulnb.results.judge import verdicts
from mulnb.results.standing import standing
from mulnb.results.statements import CLAIMS, PRIMARY, SECONDARY, Claim, examined
from mulnb.results.verdicts import AGREE, DECIDED, DISAGREE, MARGIN, NO_RESULTS, UNDECIDED

__all__ = ["counts", "examined", "ledger", "standing", "summary", "text", "verdicts", "write"]

RULES = (
    "A claim leads with its primary estimates: one per unlearning algorithm and one over all, from the mean over scores within a "
    "seed, each with a 95 % t interval over the seeds, not corrected for their number. The cases are secondary: their intervals "
    "have the levels of Holm's procedure within the claim (both metrics together), so that the chance of any false difference "
    "among them is at most 5 %; the tests of equivalence are corrected in the same way, as a family of their own. *Shown*: the "
    "whole interval lies where the claim says. *Contradicted*: all of it lies on the other side. *Equivalent*: neither, and two "
    f"one-sided tests at 5 % place the difference within ± {MARGIN}, a margin stated beforehand: its 90 % interval lies inside, "
    "which is narrower than the interval shown. *Undecided*: none of these; the number of seeds is the smallest (and one more "
    "than there are, at least) that would show a difference or equivalence, each at the level at which it was tested, with a "
    "power of 80 %, if mean and spread are as measured. *But within* the margin: there is a difference, and it is too small to "
    "matter. What odd and even seeds decide in opposite ways is undecided. A claim that one score alone was tried for has no "
    "cases. In Fig. 3 each strategy has forget sets of its own from the second step on; the floor is on the first one's. Margins "
    "and thresholds are this project's, not the paper's."
)


def ledger(verdicts: pd.DataFrame) -> list[str]:
    """One sentence of Markdown per claim, in their order: its leading estimates, then how its cases stand."""
    return [_sentence(claim, verdicts[verdicts["claim"] == claim.id]) for claim in _told(verdicts)]


def summary(verdicts: pd.DataFrame, profile: Profile) -> str:
    """The page `claims.md`: what kind of evidence this profile is, a sentence per claim, and every estimate."""
    full_rum = vocabulary.mix(profile.unlearning.rum)
    head = f"**{profile.title}** (profile `{profile.name}`, {seeds([len(profile.seeds)])}). {standing(profile)}"
    parts = [head + (f" {full_rum}." if full_rum else "")]
    parts += ["### The ledger", "\n".join(f"{k}. {line}" for k, line in enumerate(ledger(verdicts), 1))]
    parts += [_replication(verdicts), RULES]
    parts += [
        "### Primary estimates",
        "The claims by their short names, in the order of the ledger.",
        markdown.grid(_shown(verdicts, PRIMARY)),
    ]
    parts += ["### Every case", markdown.grid(_shown(verdicts, SECONDARY))]
    return "\n\n".join(part for part in parts if part) + "\n"


def text(verdicts: pd.DataFrame) -> str:
    """The ledger as plain text, for a terminal."""
    lines = [f"{k:2}. {line}" for k, line in enumerate(ledger(verdicts), 1)]
    return "\n".join([*lines, "", _replication(verdicts)]).replace("**", "")


def write(verdicts: pd.DataFrame, profile: Profile) -> list[Path]:
    """Write `claims.csv` and `claims.md` under the profile's results. Raises `UserError` if the folder cannot be written."""
    return tables.write(verdicts, profile, "claims", "The paper's claims.", text=summary(verdicts, profile))


def counts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """A row per claim: its leading verdicts, and how many of its cases have which verdict.

    Returns:
        A frame of texts: `claim paper`, `primary`, and a column per verdict.
    """
    rows = []
    for claim in _told(verdicts):
        found = verdicts[verdicts["claim"] == claim.id]
        cases = found.loc[found["kind"] == SECONDARY, "verdict"]
        leads = []
        for lead in _leading(found).itertuples():
            about = lead.measured.split(",")[0] if lead.measured.startswith("ToW") else ""
            leads.append(f"{about} {lead.verdict}".strip())  # "ToW shown"
        row = {"claim": claim.statement, "paper": claim.paper, "primary": "; ".join(leads)}
        for verdict in (*DECIDED, UNDECIDED):
            row[verdict] = str(int((cases == verdict).sum())) if len(cases) else "–"
        rows.append(row)
    return pd.DataFrame(rows, columns=["claim", "paper", "primary", *DECIDED, UNDECIDED])


def _told(verdicts: pd.DataFrame) -> list[Claim]:
    """The claims that the frame has rows of."""
    return [claim for claim in CLAIMS if claim.id in set(verdicts["claim"])]


def _leading(found: pd.DataFrame) -> pd.DataFrame:
    """The primary rows that lead: those over all algorithms, or all primary rows where there is one algorithm only."""
    primary = found[found["kind"] == PRIMARY]
    overall = primary[primary["measured"].str.endswith("all algorithms")]
    return overall if len(overall) else primary


def _sentence(claim: Claim, found: pd.DataFrame) -> str:
    """One claim of the ledger."""
    head = f"**{claim.statement}** ({claim.paper})"
    if (found["verdict"] == NO_RESULTS).all():
        return f"{head} No results yet."

    leads = []
    for row in _leading(found).itertuples():
        leads.append(f"{row.measured}: **{row.verdict}** ({row.evidence}).")

    cases = found.loc[found["kind"] == SECONDARY, "verdict"]
    counted = [f"{int((cases == verdict).sum())} {verdict}" for verdict in (*DECIDED, UNDECIDED) if (cases == verdict).any()]
    tail = f" Of {len(cases)} cases: {', '.join(counted)}." if len(cases) else ""
    return f"{head} {' '.join(leads)}{tail}"


def _replication(verdicts: pd.DataFrame) -> str:
    """How often odd and even seeds decide alike."""
    judged = verdicts[(verdicts["verdict"] != NO_RESULTS) & verdicts["low"].notna()]
    agree, disagree = (int((judged["halves"] == name).sum()) for name in (AGREE, DISAGREE))
    if not len(judged):
        return ""
    return (
        f"Replication: of {len(judged)} estimates with an interval, the odd and the even seeds, judged separately, decide "
        f"{agree} alike and {disagree} in opposite ways; the rest they leave open."
    )


def _shown(verdicts: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind, for readers."""
    rows = verdicts[verdicts["kind"] == kind]
    return rows[["claim", "measured", "verdict", "halves", "evidence"]]
