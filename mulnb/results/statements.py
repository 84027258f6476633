"""The claims that are examined, in words that a reader of the results can check.

Claims: K. Zhao and P. Triantafillou, arXiv 2410.16516; the claim on the full RUM is that of K. Zhao et al., arXiv 2406.01257, on
which that paper builds. "Our control": the paper does not compare with it, but its claim needs the comparison. Margins and
thresholds are this project's, and stand in the statements.
"""

from __future__ import annotations

from dataclasses import dataclass

from mulnb.config import Profile
from mulnb.results.verdicts import MARGIN

PRIMARY, SECONDARY = "primary", "secondary"
CHEAP = 0.10  # share of the exact scores' cost below which a proxy counts as cheap


@dataclass(frozen=True)
class Claim:
    """What the paper says and where, in words that a reader of the results can check, and the stage whose frames show it."""

    id: str
    stage: str
    paper: str
    statement: str


CLAIMS = (
    Claim(
        "proxy-sign",
        "proxies",
        "Table 1",
        "A proxy ranks examples as memorization does: its ρ with memorization is positive.",
    ),
    Claim(
        "proxy-range",
        "proxies",
        "Table 1",
        "A proxy's ρ with memorization reaches at least the low end of the range published for it.",
    ),
    Claim(
        "proxy-cheap",
        "proxies",
        "Table 1",
        f"A proxy costs a small part of exact scores (here: less than {100 * CHEAP:.0f} %).",
    ),
    Claim(
        "proxy-share",
        "proxies",
        "Table 1",
        "A proxy costs no larger a share of exact scores than published.",
    ),
    Claim(
        "refine-vanilla",
        "unlearning",
        "Fig. 2",
        "RUM^F is better than vanilla unlearning on the same forget set.",
    ),
    Claim(
        "refine-repeat",
        "unlearning",
        "Fig. 2, our control",
        "RUM^F is better than unlearning the whole set three times: refinement, not more passes.",
    ),
    Claim(
        "refine-shuffle",
        "unlearning",
        "Fig. 2",
        "RUM^F is better than three random parts: refinement, not just more steps.",
    ),
    Claim(
        "rum-vanilla",
        "unlearning",
        "arXiv 2406.01257",
        "The full RUM is better than vanilla unlearning with each of its algorithms.",
    ),
    Claim(
        "proxy-as-good",
        "unlearning",
        "Fig. 2",
        f"RUM^F in a proxy's order is as good as in memorization's (no worse than {MARGIN}).",
    ),
    Claim(
        "sequential-better",
        "sequential",
        "Fig. 3",
        "After the last request RUM^F is better than vanilla, on the union of all sets.",
    ),
    Claim(
        "sequential-floor",
        "sequential",
        "Fig. 3, our control",
        "After the last request RUM^F is still better than not unlearning at all (the floor).",
    ),
)
BY_ID = {claim.id: claim for claim in CLAIMS}


def examined(profile: Profile) -> list[Claim]:
    """The claims that a profile is asked about: all, but the one on the full RUM only where the profile runs it."""
    return [claim for claim in CLAIMS if claim.id != "rum-vanilla" or profile.unlearning.rum is not None]
