"""Markdown pages from published results: the index of a profile's figures, and the results block in the top README.

Nothing is computed here and no number is typed: a page shows what the CSV tables and figures beside it say.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from mulnb.config import Profile
from mulnb.core import commands, paths
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import METRICS, label
from mulnb.results import captions, claims, compare, frame_file, markdown, pairs, written
from mulnb.results.here import ELSEWHERE

# file: what to look for
FIGURES = {
    "fig1_overview": "**Figure 1.** The method: score, refine into strata, unlearn stratum by stratum, compare with the oracle.",
    "memorization_profile": "**Memorization.** {memorized}; the three strata are marked.",
    "stratum_images": "**What is in a stratum.** Examples of low, medium and high memorization with their labels.",
    "convergence": "**Enough models?** Agreement of two disjoint pools, and the standard error, against the pool's size.",
    "table1_proxies": "**Table 1.** How well each proxy ranks the examples as memorization does, and what it costs.",
    "fidelity": "**What fidelity costs.** Proxies, pools of every size, and the mean of several trainings: fidelity by seconds.",
    "proxy_profiles": "**Proxy profiles.** Each proxy's distribution, and memorization along it.",
    "fig2_rum": "**Figure 2.** ToW and ToW-MIA; refinement helped where the filled marker lies above all others of its line.",
    "strategy_differences": "**Figure 2 as differences**, paired by seed: right of zero, RUM^F is better than the other.",
    "crossed": "**The same forget set in the order of each score**: what a proxy's order loses to memorization's.",
    "fig3_sequential": "**Figure 3.** Forget sets in a row: ToW and ToW-MIA, and their change since the first step.",
    "fig7_before_after": "**Figure 7.** The proxy before and after each step, for the forget set and for what is retained.",
    "audit_roc": "**Audits.** ROC of LiRA and RMIA: can the forget set be told from examples that were never seen?",
    "audit_examples": "**Who is still recognised?** The margins of every forgotten example, beside an oracle's.",
    "audit_agreement": "**Do the audits agree?** Kendall's τ between their rankings of the methods.",
    "common_mistakes": "**What would a mistake in the code have done?** ToW and the ranking with each (notebook 09).",
    "your_model": "**A model of your own** (notebook 07): what can be said about unlearning where nobody has an oracle.",
}
TABLES = {
    "table1_proxies": "Table 1: proxies",
    "table2_tow": "Tables 2-7: ToW and ToW-MIA",
    "table3_accuracies": "Tables 2-7: accuracies, MIA, runtime",
    "table_rum": "the full RUM against every other run",
    "table_crossed": "the same forget set in the order of each score",
    "table_audits": "audits beyond the paper, with the oracle's",
    "table_klom": "KLoM on S, R and T",
    "table_sequential": "Figure 3 as numbers",
    "claims": "the paper's claims, case by case",
    "tune": "the recorded hyper-parameter search",
}
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def write_index(profile: Profile) -> Path:
    """Write the index of a profile's results: what it shows, what it does not, every figure and every table that is there.

    Args:
        profile: a profile whose claims were published.

    Returns:
        The path of `README.md` in the profile's results.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = paths.results(profile.name)
    imported = getattr(profile.pool, "scores", None) is not None
    pool = "imported exact scores" if imported else f"{profile.pool.models} pool models"
    sizes = f"{len(profile.seeds)} seeds, {pool}, strata of {profile.forget.size}"

    scores, memorized = paths.find_result(profile.name, "data/memorization.parquet"), "The distribution of the scores"
    if scores.is_file():
        memorized = captions.memorized(frame_file.read(scores)["memorization"])

    parts = [
        f"# {profile.title}",
        f"Profile `{profile.name}`: {sizes}. {claims.standing(profile)}",
        "## What the paper claims, and what this profile shows of it",
        _verdicts(folder),
        "The cases behind each line, with their intervals, are in [claims.md](claims.md).",
        "## Figures",
    ]
    for name, text in FIGURES.items():
        if (folder / f"{name}.png").is_file():
            parts.append(f"{text.format(memorized=memorized)}\n\n![{name}]({name}.png)")

    parts += ["## Tables", "\n".join(_links(folder))]
    parts.append("Tidy frames behind everything: `data/*.parquet`; what ran: `run.json`.")
    return paths.write_text(folder / "README.md", "\n\n".join(parts) + "\n")


def readme_results(profile_name: str) -> str:
    """The results block of the top README.

    Args:
        profile_name: a profile with committed tables.

    Returns:
        Markdown: Table 1, ToW by strategy, and the claims.
    """
    folder = paths.readable()[-1] / profile_name  # the README shows what is in git, not the reader's own run
    costs = written.table(folder / "table1_proxies.csv", ["proxy", "spearman", "ci_low", "ci_high", "seconds", "share_of_exact"])
    tow = written.table(folder / "table2_tow.csv", ["algorithm", "strategy", "score", *METRICS])
    parts = [
        "Proxies against exact memorization (Spearman ρ, 95 % t interval over seeds) and their cost:",
        _proxy_rows(costs),
        f"ToW / ToW-MIA of forget sets chosen by {label('confidence')}{_scale(tow)}:",
        _tow_rows(tow[tow["score"] == "confidence"]),
        "The paper's claims: the primary verdicts, and how many of the cases behind them have which:",
        _verdicts(folder),
    ]
    return "\n\n".join(parts)


def update_readme(profile_name: str, readme: Path | None = None) -> Path:
    """Write `readme_results` and the table of the paper's pairs between their markers of the top README.

    Args:
        profile_name: a profile with committed tables.
        readme: the file; by default the checkout's README.

    Returns:
        The path of the file.

    Raises:
        UserError: the markers are missing, or the file cannot be written.
    """
    readme = readme or paths.CHECKOUT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for begin, end, content in ((BEGIN, END, readme_results(profile_name)), (pairs.BEGIN, pairs.END, pairs.block())):
        if text.count(begin) != 1 or text.count(end) != 1:
            raise UserError(f"{readme}: expected one '{begin}' and one '{end}' around the results")

        head, rest = text.split(begin)
        tail = rest.split(end)[1]
        text = f"{head}{begin}\n{content}\n{end}{tail}"

    return paths.write_text(readme, text)


def _verdicts(folder: Path) -> str:
    verdicts = written.table(folder / "claims.csv", ["claim", "kind", "verdict"], keep_default_na=False)
    return markdown.grid(claims.counts(verdicts))


def _scale(tow: pd.DataFrame) -> str:
    """The floor and the ceiling in words, where they were measured."""
    rows = tow[tow["score"] == "confidence"].set_index("algorithm")
    if compare.FLOOR not in rows.index or compare.CEILING not in rows.index:
        return " (1: the same as the oracle)"
    floor, ceiling = rows.loc[compare.FLOOR], rows.loc[compare.CEILING]
    return (
        f" (not unlearned: {floor['tow']:.2f} / {floor['tow_mia']:.2f}; a second oracle: {ceiling['tow']:.2f} / "
        f"{ceiling['tow_mia']:.2f})"
    )


def _links(folder: Path) -> list[str]:
    found = [(name, text) for name, text in TABLES.items() if (folder / f"{name}.md").is_file()]
    lines = [f"- {text}: [{name}.md]({name}.md), [{name}.csv]({name}.csv)" for name, text in found]

    for name, text in ELSEWHERE.items():
        if (folder / name).is_file():
            lines.append(f"- the primary verdicts {text}: [{name}]({name})")
    return lines


def _proxy_rows(costs: pd.DataFrame) -> str:
    """Table 1 in four columns."""
    rows = {
        "proxy": [label(name) for name in costs["proxy"]],
        "ρ": [f"{row.spearman:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]" for row in costs.itertuples()],
        "seconds": [f"{value:.2g}" for value in costs["seconds"]],
        "share of exact": [f"{100 * value:.2g} %" for value in costs["share_of_exact"]],
    }
    return markdown.grid(pd.DataFrame(rows))


def _tow_rows(tow: pd.DataFrame) -> str:
    """Algorithms down, strategies across; a cell is ToW / ToW-MIA with half its interval."""
    tow = compare.unlearned(tow)

    texts = []
    for row in tow.to_dict("records"):
        metrics = []
        for name in METRICS:
            half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
            metrics.append(f"{row[name]:.2f} ± {half:.2f}")
        mark = f" {markdown.UNFIT}" if row.get("unconverged", 0) else ""
        texts.append(" / ".join(metrics) + mark)

    cells = tow.assign(cell=texts).pivot(index="algorithm", columns="strategy", values="cell")
    cells = cells.loc[tow["algorithm"].unique(), tow["strategy"].unique()].fillna("")  # the full RUM has its own column only
    cells = cells.rename(index=label, columns=label).reset_index().rename(columns={"algorithm": ""})
    return markdown.grid(cells.rename_axis(columns=None))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(commands.exit_code(lambda: print(update_readme("digits"))))
