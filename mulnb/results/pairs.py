"""The paper's pairs of data set and network side by side, as one table of the top README: the same questions, pair by pair."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mulnb.config import load_profile
from mulnb.core import paths
from mulnb.core.vocabulary import CEILING, FLOOR, label
from mulnb.results import markdown, written
from mulnb.results.paper import PAIRS

BEGIN, END = "<!-- pairs:begin -->", "<!-- pairs:end -->"

NOT_RUN = "–"
VERDICT = ["claim", "measured", "estimate", "low", "high", "verdict"]  # columns of claims.csv
OVERALL = "ToW, all algorithms"
#: (claim, what was measured, how the row is called)
PRIMARY = (
    ("refine-vanilla", OVERALL, "RUM^F − vanilla, ToW"),
    ("refine-vanilla", "ToW-MIA, all algorithms", "RUM^F − vanilla, ToW-MIA"),
    ("refine-repeat", OVERALL, "RUM^F − repeat, ToW"),
    ("refine-shuffle", OVERALL, "RUM^F − shuffle, ToW"),
    ("proxy-as-good", OVERALL, "a proxy's order − memorization's, ToW"),
)


def shown(pair: str) -> str | None:
    """The profile that stands for a pair: the first of its profiles with committed claims; None where there is none."""
    for name in PAIRS[pair]:
        if (_folder(name) / "claims.csv").is_file():
            return name
    return None


def block() -> str:
    """The table: questions down, the pairs that have committed results across.

    Returns:
        Markdown; every number is read from `claims.csv`, `table1_proxies.csv` and `table2_tow.csv` of the profiles. "–": a stage
        that has not run yet.
    """
    columns = {}
    for pair in PAIRS:
        name = shown(pair)
        if name is not None:
            columns[f"`{name}`"] = _answers(name)

    table = pd.DataFrame(columns).rename_axis("").reset_index()
    return markdown.grid(table)


def _folder(name: str) -> Path:
    return paths.readable()[-1] / name  # what is in git, not the reader's own run


def _answers(name: str) -> dict[str, str]:
    """One column."""
    profile, folder = load_profile(name), _folder(name)
    claims = written.table(folder / "claims.csv", VERDICT, keep_default_na=False).set_index(["claim", "measured"])
    costs = written.table(folder / "table1_proxies.csv", ["proxy", "spearman", "ci_low", "ci_high"]).set_index("proxy")

    pool = "imported scores" if profile.pool.scores else profile.pool.models
    counts = (pool, len(profile.seeds), len(profile.unlearning.algorithms))
    rows = {
        "network": f"{profile.model.arch.replace('_', '-')}, width {profile.model.width or 'as published'}",
        "networks of the pool, seeds, algorithms": ", ".join(map(str, counts)),
    }
    for proxy in ("confidence", "binary_accuracy"):
        own = costs.loc[proxy]
        rows[f"ρ of {label(proxy)} with memorization"] = f"{own.spearman:.3f} ± {(own.ci_high - own.ci_low) / 2:.3f}"

    for claim, measured, called in PRIMARY:
        rows[called] = _difference(claims, claim, measured)
    rows["ToW of not unlearning, of a second oracle (sets by memorization)"] = _ends(folder / "table2_tow.csv")
    return rows


def _difference(claims: pd.DataFrame, claim: str, measured: str) -> str:
    """A primary estimate with its interval and verdict; "–" while its stage has not run."""
    if (claim, measured) not in claims.index:
        return NOT_RUN

    case = claims.loc[claim, measured]
    half = (float(case.high) - float(case.low)) / 2
    return f"{float(case.estimate):+.3f} ± {half:.3f}: {case.verdict}".replace("-0.", "−0.")


def _ends(table: Path) -> str:
    """The floor and the ceiling."""
    if not table.is_file():
        return NOT_RUN
    tow = written.table(table, ["algorithm", "score", "tow"])
    ends = tow[tow.score == "memorization"].set_index("algorithm").tow
    return f"{ends[FLOOR]:.3f}, {ends[CEILING]:.3f}"
