"""Markdown pages from published results: the index of a profile's figures, and the results block in the top README.

Nothing is computed here and no number is typed: a page shows what the CSV tables and figures beside it say.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mulnb.config import Profile
from mulnb.core import paths
from mulnb.core.errors import UserError
from mulnb.core.vocabulary import METRICS, label
from mulnb.results import claims, markdown

# file: what to look for
FIGURES = {
    "fig1_overview": "**Figure 1.** The method: score, refine into strata, unlearn stratum by stratum, compare with the oracle.",
    "memorization_profile": "**Memorization.** Most examples are hardly memorized, a tail is; the three strata are marked.",
    "stratum_images": "**What is in a stratum.** Examples of low, medium and high memorization with their labels.",
    "convergence": "**Enough models?** Agreement of two disjoint pools, and the standard error, against the pool's size.",
    "table1_proxies": "**Table 1.** How well each proxy ranks the examples as memorization does, and what it costs.",
    "proxy_profiles": "**Proxy profiles.** Each proxy's distribution, and memorization along it.",
    "fig2_rum": "**Figure 2.** ToW and ToW-MIA; a filled marker above its hollow neighbours means that refinement helped.",
    "strategy_differences": "**Figure 2 as differences**, paired by seed: right of zero is better than vanilla.",
    "fig3_sequential": "**Figure 3.** Five forget sets in a row: change of ToW and ToW-MIA since the first step.",
    "fig7_before_after": "**Figure 7.** The proxy before and after each step, for the forget set and for what is retained.",
    "your_model": "**A model of your own** (notebook 07): what can be said about unlearning where nobody has an oracle.",
}
TABLES = {
    "table1_proxies": "Table 1: proxies",
    "table2_tow": "Tables 2-7: ToW and ToW-MIA",
    "table3_accuracies": "Tables 2-7: accuracies, MIA, runtime",
    "table_rum": "the full RUM against every other run",
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
    parts = [
        f"# {profile.title}",
        _standing(profile),
        "## What the paper claims, and what this profile shows of it",
        _verdicts(folder),
        "The cases behind each line, with their intervals, are in [claims.md](claims.md).",
        "## Figures",
    ]
    for name, text in FIGURES.items():
        if (folder / f"{name}.png").is_file():
            parts.append(f"{text}\n\n![{name}]({name}.png)")

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
    folder = paths.results(profile_name)
    costs = pd.read_csv(folder / "table1_proxies.csv")
    tow = pd.read_csv(folder / "table2_tow.csv")
    parts = [
        "Proxies against exact memorization (Spearman ρ, 95 % t interval over seeds) and their cost:",
        _proxy_rows(costs),
        f"ToW / ToW-MIA of forget sets chosen by {label('confidence')} (1 = cannot be told from the oracle):",
        _tow_rows(tow[tow["score"] == "confidence"]),
        "The paper's claims, counted case by case:",
        _verdicts(folder),
    ]
    return "\n\n".join(parts)


def update_readme(profile_name: str, readme: Path | None = None) -> Path:
    """Write `readme_results` between the markers of the top README.

    Args:
        profile_name: a profile with committed tables.
        readme: the file; by default the checkout's README.

    Returns:
        The path of the file.

    Raises:
        UserError: the markers are missing, or the file cannot be written.
    """
    readme = readme or paths.CHECKOUT / "README.md"
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError(f"{readme}: expected one '{BEGIN}' and one '{END}' around the results")

    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return paths.write_text(readme, f"{head}{BEGIN}\n{readme_results(profile_name)}\n{END}{tail}")


def _standing(profile: Profile) -> str:
    return (
        f"Profile `{profile.name}`: {len(profile.seeds)} seeds, {profile.pool.models} pool models, "
        f"strata of {profile.forget.size}. {claims.standing(profile)}"
    )


def _verdicts(folder: Path) -> str:
    verdicts = pd.read_csv(folder / "claims.csv", keep_default_na=False)
    return markdown.grid(claims.counts(verdicts))


def _links(folder: Path) -> list[str]:
    found = [(name, text) for name, text in TABLES.items() if (folder / f"{name}.md").is_file()]
    return [f"- {text}: [{name}.md]({name}.md), [{name}.csv]({name}.csv)" for name, text in found]


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
    tow = tow[tow["algorithm"] != "retrain"]

    texts = []
    for row in tow.to_dict("records"):
        metrics = []
        for name in METRICS:
            half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
            metrics.append(f"{row[name]:.2f} ± {half:.2f}")
        texts.append(" / ".join(metrics))

    cells = tow.assign(cell=texts).pivot(index="algorithm", columns="strategy", values="cell")
    cells = cells.loc[tow["algorithm"].unique(), tow["strategy"].unique()].fillna("")  # the full RUM has its own column only
    cells = cells.rename(index=label, columns=label).reset_index().rename(columns={"algorithm": ""})
    return markdown.grid(cells.rename_axis(columns=None))


if __name__ == "__main__":
    print(update_readme("digits"))
